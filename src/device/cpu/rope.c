/* Rotary position embedding (Su et al. 2021): the pair i of every head is turned by position * frequency of i. Besides
 * what stands before and behind it: heads are normalised, and keys and values go into the cache.
 *
 * Angles are made in double precision: at position 100000 the first pair's angle, as a float, would be off by some
 * thousandths already. Their cosines and sines cost more than the turning, and are the same for queries and keys and
 * in every layer; so they are an operation of their own, recorded once and found again by all of the same rows. */
#include <math.h>
#include <string.h>

#include "device/cpu/cpu.h"

enum { PAIRS_EACH = 16 }; /* a cache line of cosines */

typedef struct Turns {
        const struct Turns *before; /* of other rows, or by another rotation; NULL: none in this batch */
        const int32_t *position;
        uint32_t n;
        Rope rope;
        float *table; /* [n, 2, n_rot/2]: cosines and sines; behind this structure */
} Turns;

static size_t turns_row(const Rope *rope) {
        return (size_t)rope->n_rot / 2 * 2;
}

static double pair_frequency(const Rope *rope, size_t pair) {
        double frequency = rope->scale * pow(rope->base, -2.0 * (double)pair / rope->n_rot);
        return rope->factors ? frequency / rope->factors[pair] : frequency;
}

static void turns_run(const void *args, const CpuPart *part) {
        const Turns *a = args;
        size_t pairs = a->rope.n_rot / 2;
        CpuShare mine = cpu_share(part, pairs, PAIRS_EACH);
        for (size_t pair = mine.begin; pair < mine.end; pair++) {
                double frequency = pair_frequency(&a->rope, pair), magnitude = a->rope.magnitude > 0 ? a->rope.magnitude : 1;
                for (uint32_t i = 0; i < a->n; i++) {
                        float *row = a->table + i * turns_row(&a->rope);
                        row[pair] = (float)(magnitude * cos(a->position[i] * frequency));
                        row[pairs + pair] = (float)(magnitude * sin(a->position[i] * frequency));
                }
        }
}

static uint64_t turns_work(const void *args) {
        const Turns *a = args;
        return a->n * turns_row(&a->rope) * 256;
}

static bool turns_are_for(const Turns *t, const Rows *rows, const Rope *rope) {
        return t->position == rows->position && t->n == rows->n && t->rope.n_rot == rope->n_rot &&
               t->rope.base == rope->base && t->rope.scale == rope->scale && t->rope.magnitude == rope->magnitude &&
               t->rope.factors == rope->factors;
}

/* Those that an earlier rotation had, else new ones: layers may rotate in two ways by turns. NULL without memory. */
static const Turns *turns_for(Stream *s, const Rows *rows, const Rope *rope) {
        size_t size = rows->n * turns_row(rope) * sizeof(float);
        const Turns *last = stream_kept(s);
        for (const Turns *t = last; t; t = t->before)
                if (turns_are_for(t, rows, rope))
                        return t;
        Turns *t = stream_op(s, turns_run, turns_work, sizeof(Turns) + size, 0);
        if (!t)
                return NULL;
        *t = (Turns){.before = last, .position = rows->position, .n = rows->n, .rope = *rope, .table = (float *)(t + 1)};
        stream_keep(s, t);
        return t;
}

typedef struct RopeOp {
        Qkv heads;
        const Turns *turns;
        const int32_t *slot;
        KvLayer kv; /* kv.k NULL: nothing is stored */
} RopeOp;

static void turn(float *head, const Rope *rope, const float *turns) {
        uint32_t step = rope->style == ROPE_NORMAL ? 2 : 1, other = rope->style == ROPE_NORMAL ? 1 : rope->n_rot / 2;
        const float *cosines = turns, *sines = turns + rope->n_rot / 2;
        for (size_t i = 0; i < rope->n_rot / 2; i++) {
                float *p = head + i * step;
                float a = p[0], b = p[other];
                p[0] = a * cosines[i] - b * sines[i];
                p[other] = a * sines[i] + b * cosines[i];
        }
}

static void store_head(const KvLayer *kv, void *cache, size_t at, const float *x, const CpuPart *part) {
        if (kv->type == DTYPE_F16)
                part->kernels->to_f16(x, (uint16_t *)cache + at, kv->head_dim);
        else
                memcpy((float *)cache + at, x, kv->head_dim * sizeof(float));
}

static void head_run(const RopeOp *a, size_t row, uint32_t head, const CpuPart *part) {
        const Qkv *h = &a->heads;
        const Rope *rope = &a->turns->rope;
        bool is_key = head >= h->n_heads;
        uint32_t kv_head = head - h->n_heads;
        size_t from = (is_key ? row * h->n_kv_heads + kv_head : row * h->n_heads + head) * h->head_dim;
        float *x = (is_key ? h->k : h->q) + from;
        const float *norm = is_key ? h->k_norm : h->q_norm;
        if (norm)
                part->kernels->rmsnorm(x, x, norm, h->head_dim, h->eps, UPDATE_SET);
        turn(x, rope, a->turns->table + row * turns_row(rope));
        if (is_key && a->kv.k) {
                size_t at = cpu_kv_offset(&a->kv, a->slot[row], (uint32_t)a->turns->position[row]) + kv_head * h->head_dim;
                store_head(&a->kv, a->kv.k, at, x, part);
                store_head(&a->kv, a->kv.v, at, h->v + from, part);
        }
}

/* Each part takes some of the heads of all rows. */
static void rope_run(const void *args, const CpuPart *part) {
        const RopeOp *a = args;
        uint32_t n_heads = a->heads.n_heads + a->heads.n_kv_heads;
        CpuShare mine = cpu_share(part, (size_t)a->turns->n * n_heads, 1);
        for (size_t i = mine.begin; i < mine.end; i++)
                head_run(a, i / n_heads, (uint32_t)(i % n_heads), part);
}

static uint64_t rope_work(const void *args) {
        const RopeOp *a = args;
        const Qkv *h = &a->heads;
        uint64_t each = a->turns->rope.n_rot * 8 + (h->q_norm ? h->head_dim * 4 : 0);
        return a->turns->n * ((h->n_heads + h->n_kv_heads) * each + (a->kv.k ? cpu_kv_width(&a->kv) * 4 : 0));
}

void cpu_rope(Stream *s, const Qkv *heads, const Rows *rows, const Rope *rope, const KvLayer *kv) {
        const Turns *turns = turns_for(s, rows, rope);
        if (turns)
                stream_record(s, rope_run, rope_work,
                              &(RopeOp){*heads, turns, rows->slot, kv ? *kv : (KvLayer){0}}, sizeof(RopeOp));
}
