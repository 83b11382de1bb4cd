/* Rotary position embedding (Su et al. 2021): the pair i of every head is turned by position * frequency of i.
 *
 * Angles are made in double precision: at position 100000 the first pair's angle, as a float, would be off by some
 * thousandths already. Their cosines and sines cost more than the turning, and are the same for queries and keys and
 * in every layer; so they are an operation of their own, recorded once and found again by all of the same rows. */
#include <math.h>

#include "device/cpu/cpu.h"

enum { PAIRS_EACH = 16 }; /* a cache line of cosines */

typedef struct Turns {
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
                double frequency = pair_frequency(&a->rope, pair);
                for (uint32_t i = 0; i < a->n; i++) {
                        float *row = a->table + i * turns_row(&a->rope);
                        row[pair] = (float)cos(a->position[i] * frequency);
                        row[pairs + pair] = (float)sin(a->position[i] * frequency);
                }
        }
}

static uint64_t turns_work(const void *args) {
        const Turns *a = args;
        return a->n * turns_row(&a->rope) * 256;
}

static bool turns_are_for(const Turns *t, const Rows *rows, const Rope *rope) {
        return t && t->position == rows->position && t->n == rows->n && t->rope.n_rot == rope->n_rot &&
               t->rope.base == rope->base && t->rope.scale == rope->scale && t->rope.factors == rope->factors;
}

/* Those of the last rotation if they fit, else new ones. NULL without memory. */
static const Turns *turns_for(Stream *s, const Rows *rows, const Rope *rope) {
        size_t size = rows->n * turns_row(rope) * sizeof(float);
        const Turns *last = stream_kept(s);
        if (turns_are_for(last, rows, rope))
                return last;
        Turns *t = stream_op(s, turns_run, turns_work, sizeof(Turns) + size, 0);
        if (!t)
                return NULL;
        *t = (Turns){.position = rows->position, .n = rows->n, .rope = *rope, .table = (float *)(t + 1)};
        stream_keep(s, t);
        return t;
}

typedef struct RopeOp {
        float *x;
        const Turns *turns;
        uint32_t n_heads, head_dim;
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

/* Each part takes some of the heads of all rows. */
static void rope_run(const void *args, const CpuPart *part) {
        const RopeOp *a = args;
        const Rope *rope = &a->turns->rope;
        CpuShare mine = cpu_share(part, (size_t)a->turns->n * a->n_heads, 1);
        for (size_t head = mine.begin; head < mine.end; head++)
                turn(a->x + head * a->head_dim, rope, a->turns->table + head / a->n_heads * turns_row(rope));
}

static uint64_t rope_work(const void *args) {
        const RopeOp *a = args;
        return a->turns->n * (uint64_t)a->n_heads * a->turns->rope.n_rot * 8;
}

void cpu_rope(Stream *s, float *x, const Rows *rows, uint32_t n_heads, uint32_t head_dim, const Rope *rope) {
        const Turns *turns = turns_for(s, rows, rope);
        if (turns)
                stream_record(s, rope_run, rope_work, &(RopeOp){x, turns, n_heads, head_dim}, sizeof(RopeOp));
}
