/* Attention within texts that are wholly at hand, as products of packed matrices.
 *
 * One piece of work is QUERIES rows of one text and a key/value head. The head's keys are packed as the features of a
 * matrix of head_dim inputs, its values as that of as many inputs as there are keys; F32 panels are float [k][panel].
 * Then, for CPU_GEMM_ROWS queries at a time and each query head that reads this one: all scores, which are made where
 * prepared rows are kept; the softmax over each row, in place; and the products with the values.
 *
 * Where a row sees only keys up to its own, the scores of the others are made, too, as far as the last of the rows that
 * are done together needs them, and count 0. Which rows those are follows from a row's place in its text. */
#include <math.h>
#include <string.h>

#include "device/cpu/cpu.h"

enum { QUERIES = 4 * CPU_GEMM_ROWS };

/* Some rows of a text and one key/value head, as a thread has them in its scratch. */
typedef struct Piece {
        const SelfAttention *a;
        float *out;
        const CpuKernels *kernels;
        uint32_t begin, end; /* the text */
        uint32_t kv_head;
        float *keys, *values; /* panels */
        char *queries, *scores; /* prepared rows */
} Piece;

static size_t panels_size(const CpuGemm *gemm, size_t features, size_t k) {
        return (features + gemm->panel - 1) / gemm->panel * gemm->panel_size(PRECISION_F32, k);
}

/* Bytes of each, in the order in which they lie in scratch memory. */
typedef struct Layout {
        size_t keys, values, queries, scores;
} Layout;

static Layout layout_of(const CpuGemm *gemm, const SelfAttention *a) {
        return (Layout){.keys = panels_size(gemm, a->texts.longest, a->head_dim),
                        .values = panels_size(gemm, a->head_dim, a->texts.longest),
                        .queries = gemm->rows_size(PRECISION_F32, a->head_dim),
                        .scores = gemm->rows_size(PRECISION_F32, a->texts.longest)};
}

static Piece piece_of(const SelfAttention *a, float *out, const CpuPart *part) {
        Layout l = layout_of(part->kernels->gemm, a);
        return (Piece){.a = a,
                       .out = out,
                       .kernels = part->kernels,
                       .keys = (float *)part->scratch,
                       .values = (float *)(part->scratch + l.keys),
                       .queries = part->scratch + l.keys + l.values,
                       .scores = part->scratch + l.keys + l.values + l.queries};
}

/* Keys and values of the first n rows. */
static void pack_keys(const Piece *p, uint32_t n) {
        const SelfAttention *a = p->a;
        const CpuGemm *gemm = p->kernels->gemm;
        uint32_t dim = a->head_dim, panel = gemm->panel;
        for (uint32_t i = 0; i < n; i++) {
                const float *k = a->k + (p->begin + i) * a->k_stride + (size_t)p->kv_head * dim;
                const float *v = a->v + (p->begin + i) * a->v_stride + (size_t)p->kv_head * dim;
                gemm->pack(PRECISION_F32, p->keys + (size_t)(i / panel) * dim * panel, i % panel, k, dim);
                for (uint32_t d = 0; d < dim; d += panel)
                        memcpy(p->values + (size_t)d * n + (size_t)i * panel, v + d,
                               MIN(dim - d, panel) * sizeof(float));
        }
}

/* The score of row and key `key`, and how many follow it in one piece. */
static float *score_at(const Piece *p, uint32_t row, uint32_t key) {
        size_t stride = CPU_GEMM_BLOCK * sizeof(float) + CPU_GEMM_PAD;
        return (float *)(p->scores + (key / CPU_GEMM_BLOCK * CPU_GEMM_ROWS + row) * stride) + key % CPU_GEMM_BLOCK;
}

static void make_scores(const Piece *p, uint32_t n_rows, uint32_t n_keys) {
        const CpuGemm *gemm = p->kernels->gemm;
        for (uint32_t key = 0; key < n_keys; key += gemm->panel)
                gemm->multiply(&(CpuProduct){
                        .precision = PRECISION_F32,
                        .panel = p->keys + (size_t)key * p->a->head_dim,
                        .rows = p->queries,
                        .k = p->a->head_dim,
                        .n_rows = n_rows,
                        .n_out = MIN(n_keys - key, gemm->panel),
                        .out = score_at(p, 0, key),
                        .out_stride = CPU_GEMM_BLOCK + CPU_GEMM_PAD / sizeof(float),
                });
}

/* The softmax of `row` over its first n_seen keys; others get nothing. Returns what the weights are still to be
 * multiplied with. */
static float weigh(const Piece *p, uint32_t row, uint32_t n_seen, uint32_t n_keys) {
        float most = -INFINITY, sum = 0;
        for (uint32_t key = 0; key < n_seen; key += CPU_GEMM_BLOCK) {
                float here = p->kernels->max(score_at(p, row, key), MIN(n_seen - key, (uint32_t)CPU_GEMM_BLOCK));
                most = MAX(most, here);
        }
        for (uint32_t key = 0; key < n_seen; key += CPU_GEMM_BLOCK) {
                float *scores = score_at(p, row, key);
                sum += p->kernels->exp_sum(scores, scores, MIN(n_seen - key, (uint32_t)CPU_GEMM_BLOCK), most,
                                           p->a->scale);
        }
        for (uint32_t key = n_seen; key < n_keys; key++)
                *score_at(p, row, key) = 0;
        return 1 / sum;
}

static void mix_values(const Piece *p, float *out, uint32_t n_rows, uint32_t n_keys, uint32_t stride) {
        const CpuGemm *gemm = p->kernels->gemm;
        uint32_t dim = p->a->head_dim;
        for (uint32_t d = 0; d < dim; d += gemm->panel)
                gemm->multiply(&(CpuProduct){
                        .precision = PRECISION_F32,
                        .panel = p->values + (size_t)d * stride,
                        .rows = p->scores,
                        .k = n_keys,
                        .n_rows = n_rows,
                        .n_out = MIN(dim - d, gemm->panel),
                        .out = out + d,
                        .out_stride = p->a->out_stride,
                });
}

/* Rows [first, first + n) of the text, counted from its begin, and one query head; `stride` keys are packed. */
static void attend(const Piece *p, uint32_t first, uint32_t n, uint32_t head, uint32_t stride) {
        const SelfAttention *a = p->a;
        size_t at = (size_t)head * a->head_dim;
        uint32_t length = p->end - p->begin, n_keys = a->causal ? first + n : length;
        float *out = p->out + (p->begin + first) * a->out_stride + at;
        for (uint32_t i = 0; i < n; i++)
                p->kernels->gemm->prepare(PRECISION_F32, p->queries, i,
                                          a->q + (p->begin + first + i) * a->q_stride + at, a->head_dim);
        make_scores(p, n, n_keys);
        float scale[CPU_GEMM_ROWS];
        for (uint32_t i = 0; i < n; i++)
                scale[i] = weigh(p, i, a->causal ? first + i + 1 : length, n_keys);
        mix_values(p, out, n, n_keys, stride);
        for (uint32_t i = 0; i < n; i++)
                p->kernels->scale(out + i * a->out_stride, a->head_dim, scale[i]);
}

/* The queries from `first` on. */
static void piece_run(const Piece *p, uint32_t first) {
        uint32_t length = p->end - p->begin, end = MIN(length, first + QUERIES);
        uint32_t n_keys = p->a->causal ? end : length, per_kv = p->a->n_heads / p->a->n_kv_heads;
        pack_keys(p, n_keys);
        for (uint32_t head = p->kv_head * per_kv; head < (p->kv_head + 1) * per_kv; head++)
                for (uint32_t i = first; i < end; i += CPU_GEMM_ROWS)
                        attend(p, i, MIN(end - i, (uint32_t)CPU_GEMM_ROWS), head, n_keys);
}

typedef struct SelfAttentionOp {
        SelfAttention a;
        float *out;
} SelfAttentionOp;

/* Pieces are dealt out in turn, which gives every part some of each text. */
static void self_attention_run(const void *args, const CpuPart *part) {
        const SelfAttentionOp *op = args;
        Piece p = piece_of(&op->a, op->out, part);
        size_t n = 0;
        for (uint32_t t = 0; t < op->a.texts.n; t++) {
                p.begin = op->a.texts.starts[t];
                p.end = op->a.texts.starts[t + 1];
                for (uint32_t first = 0; first < p.end - p.begin; first += QUERIES)
                        for (p.kv_head = 0; p.kv_head < op->a.n_kv_heads; p.kv_head++)
                                if (n++ % part->n == part->index)
                                        piece_run(&p, first);
        }
}

/* Two products and an exponential for each pair of rows and head. */
static uint64_t self_attention_work(const void *args) {
        const SelfAttention *a = &((const SelfAttentionOp *)args)->a;
        uint64_t pairs = 0;
        for (uint32_t t = 0; t < a->texts.n; t++) {
                uint64_t length = a->texts.starts[t + 1] - a->texts.starts[t];
                pairs += length * length;
        }
        return pairs * a->n_heads * (2 * a->head_dim + 16);
}

void cpu_self_attention(Stream *s, float *out, const SelfAttention *a) {
        Layout l = layout_of(stream_kernels(s)->gemm, a);
        SelfAttentionOp *op = stream_op(s, self_attention_run, self_attention_work, sizeof(*op),
                                        l.keys + l.values + l.queries + l.scores);
        if (op)
                *op = (SelfAttentionOp){*a, out};
}
