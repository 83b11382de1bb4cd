/* Attention within texts that are wholly at hand, on tensor cores; operands are three bfloat16 terms, as in linear.cu, so
 * that results are float32's.
 *
 * A block makes QUERIES rows of one text and a query head, a warp 16 of them. It goes through the text's keys KEYS at a
 * time, in order, with the online softmax: the scores of all warps by the same keys, which lie in shared memory CHUNK
 * dimensions at a time; then their products with the values, SLICE dimensions at a time. Where keys begin follows from
 * the text alone, and keys that a row does not see count 0, which changes no bit.
 *
 * Which blocks are there is known where the texts' starts are not: text t has the tiles from starts[t] / QUERIES + t on,
 * which leaves room for its ceil(length / QUERIES) at least, and a tile without rows does nothing. A block makes WIDTH
 * dimensions of the output; larger heads take several blocks, which make the same scores.
 *
 * Scores: A = queries (16 lines x 16 dimensions), B = keys (16 dimensions x 8 positions); a lane has eight contiguous
 * dimensions of both. Output: A = weights (16 lines x 16 positions), as the scores came out in the lanes, B = values (16
 * positions x 8 dimensions): pairs of positions that lie in shared memory by dimension, those of a lane together. */
#include <errno.h>

#include "cuda/softmax.h"

enum {
        SELF_WARPS = 4,
        SELF_THREADS = SELF_WARPS * WARP,
        QUERIES = SELF_WARPS * 16,
        KEYS = 64,
        CHUNK = GROUP,
        SLICE = 64,
        KEY_TILES = KEYS / 8,
        PAIRS = KEYS / 2,
        TERM_COUNT = 3,
};

typedef struct SelfArgs {
        float *out;
        SelfAttention a;
} SelfArgs;

typedef struct SelfShared {
        uint32_t keys[TERM_COUNT][KEYS][4][4];      /* [term, key, lane part, pair of dimensions] */
        uint32_t values[TERM_COUNT][SLICE][PAIRS]; /* [term, dimension, pair of keys]; see value_place() */
} SelfShared;

/* The text and the rows of it that a block makes. */
typedef struct SelfTile {
        uint32_t begin, length; /* of the text */
        uint32_t first;         /* row, counted from its begin */
        uint32_t n_keys;        /* that any of its rows sees */
        uint32_t head, kv_head;
        float slope; /* of ALiBi, or 0; the scale comes later */
} SelfTile;

/* The last text whose tiles begin no later than the block. */
DEVICE SelfTile find_tile(const SelfAttention *a) {
        const uint32_t *starts = a->texts.starts;
        uint32_t low = 0, high = a->texts.n;
        while (high - low > 1) {
                uint32_t middle = low + (high - low) / 2;
                if (starts[middle] / QUERIES + middle <= blockIdx.x)
                        low = middle;
                else
                        high = middle;
        }
        uint32_t first = (blockIdx.x - starts[low] / QUERIES - low) * QUERIES, length = starts[low + 1] - starts[low];
        SelfTile t = {starts[low], length, first, a->causal ? MIN(length, first + QUERIES) : length, blockIdx.y,
                      blockIdx.y / (a->n_heads / a->n_kv_heads),
                      a->alibi ? alibi_slope(blockIdx.y, a->n_heads) / a->scale : 0};
        return t;
}

/* Eight dimensions of row i of the text; zeros where `there` is false. */
DEVICE void head_values(const SelfAttention *a, const float *x, size_t stride, size_t row, uint32_t head, uint32_t d,
                        bool there, float v[EIGHT]) {
        const float *from = x + row * stride + (size_t)head * a->head_dim;
        UNROLL for (int j = 0; j < EIGHT; j++)
                v[j] = 0;
        if (there)
                plain_values(DTYPE_F32, from, d, a->head_dim, is_aligned(from), v);
}

typedef struct EightTerms {
        uint32_t w[TERM_COUNT][4];
} EightTerms;

DEVICE EightTerms eight_terms(const float v[EIGHT]) {
        EightTerms r;
        UNROLL for (int j = 0; j < 4; j++)
                three_terms(v[2 * j], v[2 * j + 1], &r.w[0][j], &r.w[1][j], &r.w[2][j]);
        return r;
}

/* d += a b by the six products that count; a: terms of four registers, b: of two. */
DEVICE void six_products(float acc[4], const uint32_t a[TERM_COUNT][4], const uint32_t b[TERM_COUNT][2]) {
        UNROLL for (int order = TERM_COUNT - 1; order >= 0; order--)
                UNROLL for (int i = 0; i <= order; i++)
                        mma(acc, a[order - i], b[i]);
}

/* ---- scores ---- */

DEVICE void stage_keys(const SelfAttention *a, const SelfTile *t, SelfShared *s, uint32_t key0, uint32_t d) {
        UNROLL for (uint32_t i = threadIdx.x; i < KEYS * 4; i += SELF_THREADS) {
                uint32_t key = key0 + i / 4;
                float v[EIGHT];
                head_values(a, a->k, a->k_stride, (size_t)t->begin + key, t->kv_head, d + i % 4 * EIGHT,
                            key < t->n_keys, v);
                EightTerms e = eight_terms(v);
                UNROLL for (int p = 0; p < TERM_COUNT; p++)
                        store_words(s->keys[p][i / 4][i % 4], e.w[p]);
        }
}

/* Of a lane's lines, with dimensions from d on. */
DEVICE void add_scores(const SelfAttention *a, const SelfTile *t, const SelfShared *s, uint32_t d,
                       float score[KEY_TILES][4]) {
        uint32_t g = threadIdx.x % WARP / 4, part = threadIdx.x % 4, row = t->first + threadIdx.x / WARP * 16 + g;
        EightTerms q[2];
        UNROLL for (uint32_t half = 0; half < 2; half++) {
                float v[EIGHT];
                uint32_t line = row + 8 * half;
                head_values(a, a->q, a->q_stride, (size_t)t->begin + line, t->head, d + part * EIGHT,
                            line < t->length, v);
                q[half] = eight_terms(v);
        }
        UNROLL for (int tile = 0; tile < KEY_TILES; tile++) {
                Words k[TERM_COUNT];
                UNROLL for (int p = 0; p < TERM_COUNT; p++)
                        k[p] = load_words(s->keys[p][(uint32_t)tile * 8 + g][part]);
                UNROLL for (int i = 0; i < 4; i += 2) {
                        uint32_t lines[TERM_COUNT][4], keys[TERM_COUNT][2];
                        UNROLL for (int p = 0; p < TERM_COUNT; p++) {
                                lines[p][0] = q[0].w[p][i];
                                lines[p][1] = q[1].w[p][i];
                                lines[p][2] = q[0].w[p][i + 1];
                                lines[p][3] = q[1].w[p][i + 1];
                                keys[p][0] = k[p].w[i];
                                keys[p][1] = k[p].w[i + 1];
                        }
                        six_products(score[tile], lines, keys);
                }
        }
}

/* ALiBi's. */
DEVICE void take_bias(const SelfTile *t, uint32_t key0, float score[KEY_TILES][4]) {
        uint32_t line = t->first + threadIdx.x / WARP * 16 + threadIdx.x % WARP / 4, part = threadIdx.x % 4;
        UNROLL for (uint32_t tile = 0; tile < KEY_TILES; tile++)
                UNROLL for (uint32_t i = 0; i < 4; i++) {
                        float query = (float)(line + i / 2 * 8), key = (float)(key0 + tile * 8 + part * 2 + i % 2);
                        score[tile][i] -= t->slope * fabsf(query - key);
                }
}

DEVICE void make_scores(const SelfAttention *a, const SelfTile *t, SelfShared *s, uint32_t key0,
                        float score[KEY_TILES][4]) {
        UNROLL for (int tile = 0; tile < KEY_TILES; tile++)
                UNROLL for (int i = 0; i < 4; i++)
                        score[tile][i] = 0;
        NO_UNROLL for (uint32_t d = 0; d < a->head_dim; d += CHUNK) {
                __syncthreads(); /* all are done with the keys before */
                stage_keys(a, t, s, key0, d);
                __syncthreads();
                add_scores(a, t, s, d, score);
        }
        if (t->slope > 0)
                take_bias(t, key0, score);
}

/* ---- output ---- */

/* Where the pair of keys 16m + 8h + 2t and the next lies: a lane reads four words for m = 0, 1 and four for m = 2, 3.
 * Odd dimensions have the two exchanged, so that neighbours are in different banks. */
DEVICE uint32_t value_place(uint32_t dimension, uint32_t m, uint32_t h, uint32_t t) {
        return (m / 2 ^ dimension % 2) * 16 + t * 4 + m % 2 * 2 + h;
}

DEVICE void stage_values(const SelfAttention *a, const SelfTile *t, SelfShared *s, uint32_t key0, uint32_t d0) {
        UNROLL for (uint32_t i = threadIdx.x; i < PAIRS * SLICE / EIGHT; i += SELF_THREADS) {
                uint32_t pair = i % PAIRS, d = i / PAIRS * EIGHT, key = key0 + 2 * pair;
                float v[2][EIGHT];
                UNROLL for (uint32_t k = 0; k < 2; k++)
                        head_values(a, a->v, a->v_stride, (size_t)t->begin + key + k, t->kv_head, d0 + d,
                                    key + k < t->n_keys, v[k]);
                UNROLL for (uint32_t j = 0; j < EIGHT; j++) {
                        uint32_t at = value_place(d + j, pair / 8, pair / 4 % 2, pair % 4);
                        three_terms(v[0][j], v[1][j], &s->values[0][d + j][at], &s->values[1][d + j][at],
                                    &s->values[2][d + j][at]);
                }
        }
}

/* The weights of 16 keys, as the lines of a product. */
DEVICE void weight_terms(float (*weight)[4], uint32_t lines[TERM_COUNT][4]) {
        UNROLL for (int i = 0; i < 4; i++) /* line g and g + 8 of the first 8 keys, then of the others */
                three_terms(weight[i / 2][i % 2 * 2], weight[i / 2][i % 2 * 2 + 1], &lines[0][i], &lines[1][i],
                            &lines[2][i]);
}

/* Adds the staged slice to out[0..SLICE/8): 32 keys are summed from 0, since tensor cores cut off what they add, which
 * over a long text would come to more than float32's rounding. */
DEVICE void add_slice(const SelfShared *s, float weight[KEY_TILES][4], float (*out)[4]) {
        uint32_t g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
        UNROLL for (uint32_t m = 0; m < KEYS / 16; m += 2) {
                uint32_t lines[2][TERM_COUNT][4];
                weight_terms(weight + 2 * m, lines[0]);
                weight_terms(weight + 2 * m + 2, lines[1]);
                UNROLL for (uint32_t j = 0; j < SLICE / 8; j++) {
                        Words v[TERM_COUNT];
                        UNROLL for (int p = 0; p < TERM_COUNT; p++)
                                v[p] = load_words(&s->values[p][j * 8 + g][value_place(j * 8 + g, m, 0, t)]);
                        float sum[4] = {0, 0, 0, 0};
                        UNROLL for (int i = 0; i < 2; i++) {
                                uint32_t values[TERM_COUNT][2];
                                UNROLL for (int p = 0; p < TERM_COUNT; p++) {
                                        values[p][0] = v[p].w[2 * i];
                                        values[p][1] = v[p].w[2 * i + 1];
                                }
                                six_products(sum, lines[i], values);
                        }
                        UNROLL for (int i = 0; i < 4; i++)
                                out[j][i] += sum[i];
                }
        }
}

DEVICE void write_lines(int width, const SelfArgs *args, const SelfTile *t, const Strand *strand, uint32_t d0) {
        const SelfAttention *a = &args->a;
        uint32_t g = threadIdx.x % WARP / 4, part = threadIdx.x % 4;
        UNROLL for (uint32_t half = 0; half < 2; half++) {
                uint32_t line = t->first + threadIdx.x / WARP * 16 + g + 8 * half;
                if (line >= t->length)
                        continue;
                float *to = args->out + ((size_t)t->begin + line) * a->out_stride + (size_t)t->head * a->head_dim;
                UNROLL for (uint32_t j = 0; j < (uint32_t)width / 8; j++)
                        UNROLL for (uint32_t i = 0; i < 2; i++) {
                                uint32_t d = d0 + j * 8 + part * 2 + i;
                                if (d < a->head_dim)
                                        to[d] = strand->out[j][half * 2 + i] / strand->sum[half];
                        }
        }
}

DEVICE void self_attention_tile(int width, const SelfArgs *args) {
        const SelfAttention *a = &args->a;
        SelfShared *s = (SelfShared *)shared_memory;
        SelfTile t = find_tile(a);
        Strand strand;
        if (t.first >= t.length) /* the whole block */
                return;
        UNROLL for (uint32_t half = 0; half < 2; half++) {
                uint32_t line = t.first + threadIdx.x / WARP * 16 + threadIdx.x % WARP / 4 + 8 * half;
                strand.begin[half] = 0;
                strand.end[half] = line >= t.length ? 0 : a->causal ? line + 1 : t.length;
                strand.max[half] = NOTHING;
                strand.sum[half] = 0;
        }
        UNROLL for (int j = 0; j < width / 8; j++)
                UNROLL for (int i = 0; i < 4; i++)
                        strand.out[j][i] = 0;
        NO_UNROLL for (uint32_t key0 = 0; key0 < t.n_keys; key0 += KEYS) {
                float score[KEY_TILES][4];
                make_scores(a, &t, s, key0, score);
                weigh(width, KEY_TILES, a->scale, 0, &strand, key0, score);
                UNROLL for (uint32_t slice = 0; slice < (uint32_t)width / SLICE; slice++) {
                        __syncthreads(); /* all are done with the values before */
                        stage_values(a, &t, s, key0, blockIdx.z * (uint32_t)width + slice * SLICE);
                        __syncthreads();
                        add_slice(s, score, strand.out + slice * (SLICE / 8));
                }
        }
        write_lines(width, args, &t, &strand, blockIdx.z * (uint32_t)width);
}

KERNEL(self_attention_64, SelfArgs, SELF_THREADS) {
        self_attention_tile(64, &a);
}

KERNEL(self_attention_128, SelfArgs, SELF_THREADS) {
        self_attention_tile(128, &a);
}

HOST void cuda_self_attention(Stream *s, float *out, const SelfAttention *a) {
        SelfArgs args = {out, *a};
        bool narrow = a->head_dim <= 64;
        StreamLaunch l = {narrow ? (const void *)self_attention_64 : (const void *)self_attention_128,
                          {a->texts.n_rows / QUERIES + a->texts.n, a->n_heads, ceil_div(a->head_dim, narrow ? 64 : 128)},
                          SELF_THREADS, sizeof(SelfShared)};
        stream_launch(s, &l, &args);
}
