/* Attention over the paged KV cache.
 *
 * A row and a KV head make one piece of work, which no other row or KV head has a part in. Its positions are taken in
 * chunks of CHUNK, cut at multiples of CHUNK of the position itself, with the running maximum and sum of the online
 * softmax (Milakov and Gimelshein 2018):
 *
 *      m' = max(m, max_j s_j);   out, sum *= e^(m - m');   out += e^(s_j - m') v_j;   sum += e^(s_j - m')
 *
 * and out / sum at the end. So the order of summation is a matter of the row's position and window only. The query
 * heads that share the KV head are done together, up to GROUP at a time, so that keys and values are read once. */
#include <math.h>
#include <string.h>

#include "device/cpu/cpu.h"

enum { CHUNK = 128, GROUP = 8 };

typedef struct Attention {
        float *out;
        const float *q;
        KvLayer kv;
        Rows rows;
        Attending how;
} Attention;

/* Up to GROUP query heads of one row that read the same KV head. */
typedef struct Group {
        const Attention *a;
        const CpuKernels *kernels;
        int32_t slot;
        uint32_t kv_head, first, n; /* the first query head, and how many */
        const float *q;
        float *out;
        float max[GROUP], sum[GROUP];
        float scores[GROUP][CHUNK]; /* then their exponentials */
} Group;

/* Positions from `begin` on that lie in one page, before `end`. */
static uint32_t page_run(const KvLayer *kv, uint32_t begin, uint32_t end) {
        return MIN(end - begin, kv->page_size - begin % kv->page_size);
}

static const void *kv_at(const Group *g, const void *cache, uint32_t position) {
        const KvLayer *kv = &g->a->kv;
        size_t at = cpu_kv_offset(kv, g->slot, position) + (size_t)g->kv_head * kv->head_dim;
        return (const char *)cache + at * (kv->type == DTYPE_F16 ? 2 : 4);
}

static void chunk_scores(Group *g, uint32_t begin, uint32_t end) {
        const KvLayer *kv = &g->a->kv;
        memset(g->scores, 0, g->n * sizeof(g->scores[0]));
        for (uint32_t p = begin, n; p < end; p += n) {
                n = page_run(kv, p, end);
                g->kernels->dots(&(CpuDots){
                        .type = kv->type,
                        .w = kv_at(g, kv->k, p),
                        .w_stride = dtype_row_size(kv->type, cpu_kv_width(kv)),
                        .n_w = n,
                        .x = g->q,
                        .x_stride = kv->head_dim,
                        .n_x = g->n,
                        .out = &g->scores[0][p - begin],
                        .out_stride = CHUNK,
                        .k = kv->head_dim,
                });
        }
}

/* Scores to exponentials; what is summed so far is brought to the new maximum. */
static void chunk_softmax(Group *g, uint32_t n) {
        const KvLayer *kv = &g->a->kv;
        for (uint32_t h = 0; h < g->n; h++) {
                float *scores = g->scores[h];
                if (g->a->how.cap > 0)
                        g->kernels->softcap(scores, n, g->a->how.scale, g->a->how.cap);
                else
                        g->kernels->scale(scores, n, g->a->how.scale);
                float most = MAX(g->max[h], g->kernels->max(scores, n));
                if (most > g->max[h]) {
                        float shrink = expf(g->max[h] - most);
                        g->sum[h] *= shrink;
                        g->kernels->scale(g->out + (size_t)h * kv->head_dim, kv->head_dim, shrink);
                        g->max[h] = most;
                }
                g->sum[h] += g->kernels->exp_sum(scores, scores, n, most, 1);
        }
}

static void chunk_values(Group *g, uint32_t begin, uint32_t end) {
        const KvLayer *kv = &g->a->kv;
        for (uint32_t p = begin, n; p < end; p += n) {
                n = page_run(kv, p, end);
                g->kernels->mix(&(CpuMix){
                        .type = kv->type,
                        .w = kv_at(g, kv->v, p),
                        .w_stride = dtype_row_size(kv->type, cpu_kv_width(kv)),
                        .n_w = n,
                        .p = &g->scores[0][p - begin],
                        .p_stride = CHUNK,
                        .n_p = g->n,
                        .out = g->out,
                        .out_stride = kv->head_dim,
                        .dim = kv->head_dim,
                });
        }
}

static void group_run(Group *g, uint32_t begin, uint32_t end) {
        size_t dim = g->a->kv.head_dim;
        memset(g->out, 0, g->n * dim * sizeof(float));
        for (uint32_t h = 0; h < g->n; h++) {
                const float *sinks = g->a->how.sinks;
                g->max[h] = sinks ? sinks[g->first + h] : -INFINITY;
                g->sum[h] = sinks ? 1 : 0;
        }
        for (uint32_t p = begin, next; p < end; p = next) {
                next = MIN(end, (p / CHUNK + 1) * CHUNK);
                chunk_scores(g, p, next);
                chunk_softmax(g, next - p);
                chunk_values(g, p, next);
        }
        for (uint32_t h = 0; h < g->n; h++)
                g->kernels->scale(g->out + h * dim, dim, 1 / g->sum[h]);
}

/* The first position that a row sees whose own is end - 1. */
static uint32_t first_seen(const Attention *a, uint32_t end) {
        return a->how.window > 0 && end > a->how.window ? end - a->how.window : 0;
}

static void kv_head_run(const Attention *a, uint32_t row, uint32_t kv_head, const CpuPart *part) {
        uint32_t end = (uint32_t)a->rows.position[row] + 1, per_kv = a->how.n_heads / a->kv.n_kv_heads;
        uint32_t begin = first_seen(a, end);
        Group g; /* the scores are not worth clearing */
        g.a = a;
        g.kernels = part->kernels;
        g.slot = a->rows.slot[row];
        g.kv_head = kv_head;
        for (uint32_t h = 0; h < per_kv; h += GROUP) {
                g.first = kv_head * per_kv + h;
                size_t at = ((size_t)row * a->how.n_heads + g.first) * a->kv.head_dim;
                g.n = MIN(per_kv - h, (uint32_t)GROUP);
                g.q = a->q + at;
                g.out = a->out + at;
                group_run(&g, begin, end);
        }
}

/* Later rows of a prompt see more: dealing the pieces out in turn gives every part some of each. */
static void attention_run(const void *args, const CpuPart *part) {
        const Attention *a = args;
        size_t n = (size_t)a->rows.n * a->kv.n_kv_heads;
        for (size_t i = part->index; i < n; i += part->n)
                kv_head_run(a, (uint32_t)(i / a->kv.n_kv_heads), (uint32_t)(i % a->kv.n_kv_heads), part);
}

/* Two products and an exponential for each position that a head sees. */
static uint64_t attention_work(const void *args) {
        const Attention *a = args;
        uint64_t seen = 0;
        for (uint32_t i = 0; i < a->rows.n; i++) {
                uint32_t end = (uint32_t)a->rows.position[i] + 1;
                seen += end - first_seen(a, end);
        }
        return a->rows.n * a->kv.n_kv_heads > 1 ? seen * a->how.n_heads * (2 * a->kv.head_dim + 16) : 0;
}

void cpu_attention(Stream *s, float *out, const float *q, const KvLayer *kv, const Rows *rows, const Attending *how) {
        stream_record(s, attention_run, attention_work, &(Attention){.out = out, .q = q, .kv = *kv, .rows = *rows, .how = *how},
                      sizeof(Attention));
}
