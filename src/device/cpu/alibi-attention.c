/* Attention with linear biases (Press et al. 2022), in both directions: what a row sees of another counts the less the
 * farther away it is.
 *
 * One piece of work is QUERIES rows of one text and one head: their scores over all keys, from which the bias is taken,
 * the softmax over each row, and the sums of values. */
#include <math.h>
#include <string.h>

#include "device/cpu/cpu.h"

enum { QUERIES = 16 };

typedef struct Alibi {
        SelfAttention a;
        float *out;
} Alibi;

/* Of a power of two heads a geometric series from 2^(-8/n) on; of others, as many of the greatest power of two below, and
 * then every other of the one above. */
static float slope_of(uint32_t head, uint32_t n_heads) {
        uint32_t below = 1;
        while (below * 2 <= n_heads)
                below *= 2;
        if (head < below)
                return exp2f(-8.0f / (float)below * (float)(head + 1));
        return exp2f(-4.0f / (float)below * (float)(2 * (head - below) + 1));
}

/* Row `i` of `n`; scores are multiplied by the scale later. */
static void take_bias(float *scores, uint32_t i, uint32_t n, float slope) {
        for (uint32_t j = 0; j < n; j++)
                scores[j] -= slope * (float)(j < i ? i - j : j - i);
}

/* Rows [first, end) of the text that begins at `begin` and has n. */
static void attend(const Alibi *op, const CpuPart *part, uint32_t begin, uint32_t n, uint32_t first, uint32_t head) {
        const SelfAttention *a = &op->a;
        float *scores = (float *)part->scratch;
        uint32_t end = MIN(n, first + QUERIES), rows = end - first, kv = head / (a->n_heads / a->n_kv_heads);
        size_t at = (size_t)kv * a->head_dim;
        float slope = slope_of(head, a->n_heads) / a->scale;
        float *out = op->out + (begin + first) * a->out_stride + (size_t)head * a->head_dim;
        memset(scores, 0, (size_t)rows * n * sizeof(float));
        part->kernels->dots(&(CpuDots){.type = DTYPE_F32, .w = a->k + begin * a->k_stride + at,
                                       .w_stride = a->k_stride * sizeof(float),
                                       .x = a->q + (begin + first) * a->q_stride + (size_t)head * a->head_dim,
                                       .x_stride = a->q_stride, .out = scores, .out_stride = n, .n_w = n, .n_x = rows,
                                       .k = a->head_dim});
        float sums[QUERIES];
        for (uint32_t r = 0; r < rows; r++) {
                float *row = scores + (size_t)r * n;
                take_bias(row, first + r, n, slope);
                sums[r] = part->kernels->exp_sum(row, row, n, part->kernels->max(row, n), a->scale);
                memset(out + r * a->out_stride, 0, a->head_dim * sizeof(float));
        }
        part->kernels->mix(&(CpuMix){.type = DTYPE_F32, .w = a->v + begin * a->v_stride + at,
                                     .w_stride = a->v_stride * sizeof(float), .p = scores, .p_stride = n, .out = out,
                                     .out_stride = a->out_stride, .n_w = n, .n_p = rows, .dim = a->head_dim});
        for (uint32_t r = 0; r < rows; r++)
                part->kernels->scale(out + r * a->out_stride, a->head_dim, 1 / sums[r]);
}

static void alibi_run(const void *args, const CpuPart *part) {
        const Alibi *op = args;
        size_t piece = 0;
        for (uint32_t t = 0; t < op->a.texts.n; t++) {
                uint32_t begin = op->a.texts.starts[t], n = op->a.texts.starts[t + 1] - begin;
                for (uint32_t first = 0; first < n; first += QUERIES)
                        for (uint32_t head = 0; head < op->a.n_heads; head++)
                                if (piece++ % part->n == part->index)
                                        attend(op, part, begin, n, first, head);
        }
}

static uint64_t alibi_work(const void *args) {
        const Alibi *op = args;
        uint64_t pairs = 0;
        for (uint32_t t = 0; t < op->a.texts.n; t++) {
                uint64_t n = op->a.texts.starts[t + 1] - op->a.texts.starts[t];
                pairs += n * n;
        }
        return pairs * op->a.n_heads * (4 * op->a.head_dim + 32);
}

void cpu_alibi_attention(Stream *s, float *out, const SelfAttention *a) {
        Alibi *op = stream_op(s, alibi_run, alibi_work, sizeof(*op), (size_t)QUERIES * a->texts.longest * sizeof(float));
        if (op)
                *op = (Alibi){*a, out};
}
