/* Embedding, normalisation, rotary embedding and the elementwise operations against their formulas in double
 * precision. */
#include "cpu.h"

static void embed(Rig *r) {
        static const Dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_Q8_0, DTYPE_Q4_0,
                                      DTYPE_Q4_1, DTYPE_Q5_0, DTYPE_Q5_1, DTYPE_Q2_K, DTYPE_Q3_K,
                                      DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K, DTYPE_IQ4_NL, DTYPE_IQ4_XS, DTYPE_MXFP4};
        enum { VOCAB = 11, CONTEXT = 8, N = 5 };
        int32_t tokens[2 * CONTEXT], slot[N] = {0, 1, 1, 0, 1}, position[N] = {3, 0, 7, 0, 2};
        for (int i = 0; i < 2 * CONTEXT; i++)
                tokens[i] = (i * 7) % VOCAB;
        Rows rows = {N, slot, position, tokens, CONTEXT};
        for (size_t t = 0; t < ARRAY_SIZE(types); t++) {
                uint32_t cols = dtype_info(types[t])->block == 1 ? 45 : 3 * dtype_info(types[t])->block;
                char *table = random_rows(types[t], VOCAB, cols);
                float *out = poisoned_floats(N * cols);
                float scale = t % 2 ? 3 : 1; /* a power of two would hide a rounding too many */
                r->ops->embed(r->stream, out, &(Matrix){table, types[t], VOCAB, cols}, &rows, scale);
                rig_run(r);
                for (uint32_t i = 0; i < N; i++) {
                        int32_t token = tokens[slot[i] * CONTEXT + position[i]];
                        for (uint32_t c = 0; c < cols; c++) {
                                const char *row = table + (size_t)token * dtype_row_size(types[t], cols);
                                assert_true(out[i * cols + c] == (float)row_value(types[t], row, c) * scale);
                        }
                }
                free(table), free(out);
        }
}

static void test_embed(void **state) {
        on_every_rig(embed);
}

/* An id outside the table reads nothing outside it. */
static void test_embed_bad_token(void **state) {
        Rig r;
        float table[2] = {1, 2}, out[6] = {NAN, NAN, NAN, NAN, NAN, NAN};
        int32_t tokens[3] = {-1, 2, INT32_MAX}, slot[3] = {0}, position[3] = {0, 1, 2};
        assert_true(rig_init(&r, "generic", 1));
        r.ops->embed(r.stream, out, &(Matrix){table, DTYPE_F32, 2, 1}, &(Rows){3, slot, position, tokens, 3}, 1);
        rig_run(&r);
        for (int i = 0; i < 3; i++)
                assert_true(out[i] == 0);
        rig_deinit(&r);
}

static void check_rmsnorm(Rig *r, uint32_t n, uint32_t cols, bool in_place, Update update) {
        float *x = random_floats((size_t)n * cols), *weight = random_floats(cols);
        float *out = poisoned_floats((size_t)n * cols), *before = random_floats((size_t)n * cols);
        if (in_place || update == UPDATE_ADD)
                memcpy(out, in_place ? x : before, (size_t)n * cols * sizeof(float));
        r->ops->rmsnorm(r->stream, out, in_place ? out : x, weight, n, cols, 1e-5f, update);
        rig_run(r);
        for (uint32_t i = 0; i < n; i++) {
                double sum = 0;
                for (uint32_t c = 0; c < cols; c++)
                        sum += (double)x[i * cols + c] * x[i * cols + c];
                for (uint32_t c = 0; c < cols; c++)
                        assert_close(out[i * cols + c],
                                     x[i * cols + c] / sqrt(sum / cols + 1e-5f) * weight[c] +
                                             (update == UPDATE_ADD ? (double)(in_place ? x : before)[i * cols + c] : 0),
                                     2e-6);
        }
        free(x), free(weight), free(out), free(before);
}

static void rmsnorm(Rig *r) {
        check_rmsnorm(r, 1, 1, false, UPDATE_SET);
        check_rmsnorm(r, 5, 67, false, UPDATE_SET);
        check_rmsnorm(r, 2, 2048, true, UPDATE_SET);
        check_rmsnorm(r, 7, 64, true, UPDATE_SET);
        check_rmsnorm(r, 5, 67, false, UPDATE_ADD);
        check_rmsnorm(r, 3, 64, true, UPDATE_ADD);
        check_rmsnorm(r, 4, 13, true, UPDATE_SET);
}

static void test_rmsnorm(void **state) {
        on_every_rig(rmsnorm);
}

/* A head as it should be: normalised, and turned by its position. */
static void turned(const Rope *rope, const float *x, const float *norm, uint32_t dim, int32_t position, double *ret) {
        double sum = 0;
        for (uint32_t i = 0; i < dim; i++)
                sum += (double)x[i] * x[i];
        for (uint32_t i = 0; i < dim; i++)
                ret[i] = norm ? x[i] / sqrt(sum / dim + 1e-5f) * norm[i] : x[i];
        for (uint32_t i = 0; i < rope->n_rot / 2; i++) {
                double angle = (double)position * rope->scale * pow(rope->base, -2.0 * i / rope->n_rot) /
                               (rope->factors ? rope->factors[i] : 1);
                uint32_t a = rope->style == ROPE_NORMAL ? 2 * i : i;
                uint32_t b = rope->style == ROPE_NORMAL ? a + 1 : i + rope->n_rot / 2;
                double magnitude = rope->magnitude > 0 ? rope->magnitude : 1, u = magnitude * ret[a], v = magnitude * ret[b];
                ret[a] = u * cos(angle) - v * sin(angle);
                ret[b] = u * sin(angle) + v * cos(angle);
        }
}

typedef struct RopeCase {
        Rope rope;
        uint32_t n_heads, n_kv_heads, dim;
        bool normed, stored;
        Dtype type; /* of the cache */
} RopeCase;

enum { ROPE_ROWS = 3, ROPE_PAGE = 2, ROPE_PAGES = 4 };

/* NaN: nothing was written there. */
static double cached(const KvLayer *kv, const void *cache, size_t at) {
        if (kv->type == DTYPE_F32)
                return ((const float *)cache)[at];
        uint16_t half = ((const uint16_t *)cache)[at];
        return half == 0xffff ? NAN : half_value(half);
}

/* Keys and values of the rows, in two sequences whose pages lie in any order; nothing else was written. */
static void check_stored(const RopeCase *c, const KvLayer *kv, const int32_t *slot, const int32_t *position,
                         const float *k, const float *v, const float *norm) {
        size_t width = (size_t)c->n_kv_heads * c->dim, written = 0;
        double tolerance = c->type == DTYPE_F16 ? 2e-3 : 2e-6, want[256];
        for (int i = 0; i < ROPE_ROWS; i++)
                for (uint32_t h = 0; h < c->n_kv_heads; h++) {
                        size_t from = i * width + h * c->dim;
                        int32_t page = kv->block_tables[slot[i] * 2 + position[i] / ROPE_PAGE];
                        size_t at = (size_t)(page * ROPE_PAGE + position[i] % ROPE_PAGE) * width + h * c->dim;
                        turned(&c->rope, k + from, norm, c->dim, position[i], want);
                        for (uint32_t d = 0; d < c->dim; d++) {
                                assert_close((float)cached(kv, kv->k, at + d), want[d], tolerance);
                                assert_close((float)cached(kv, kv->v, at + d), v[from + d], tolerance);
                        }
                }
        for (size_t at = 0; at < ROPE_PAGES * ROPE_PAGE * width; at++)
                written += !isnan(cached(kv, kv->k, at)) + !isnan(cached(kv, kv->v, at));
        assert_int_equal(written, 2 * ROPE_ROWS * width);
}

static void check_rope(Rig *r, const RopeCase *c) {
        int32_t slot[ROPE_ROWS] = {0, 1, 0}, position[ROPE_ROWS] = {0, 2, 3}, far[ROPE_ROWS] = {0, 17, 120003};
        int32_t tables[4] = {3, 1, 0, 2}, *at = c->stored ? position : far;
        Rows rows = {ROPE_ROWS, slot, at, NULL, 0};
        size_t nq = (size_t)ROPE_ROWS * c->n_heads * c->dim, nk = (size_t)ROPE_ROWS * c->n_kv_heads * c->dim;
        size_t cache = (size_t)ROPE_PAGES * ROPE_PAGE * c->n_kv_heads * c->dim * (c->type == DTYPE_F16 ? 2 : 4);
        float *q = random_floats(nq), *k = random_floats(nk), *v = random_floats(nk), *q_norm = random_floats(c->dim);
        float *k_norm = random_floats(c->dim), *out_q = malloc(nq * 4), *out_k = malloc(nk * 4);
        KvLayer kv = {malloc(cache), malloc(cache), c->type, ROPE_PAGE, c->n_kv_heads, c->dim, tables, 2};
        Qkv h = {out_q, out_k, c->stored ? v : NULL, c->n_heads, c->n_kv_heads, c->dim, c->normed ? q_norm : NULL,
                   c->normed ? k_norm : NULL, 1e-5f};
        double want[256];
        memcpy(out_q, q, nq * 4), memcpy(out_k, k, nk * 4);
        memset(kv.k, 0xff, cache), memset(kv.v, 0xff, cache);
        r->ops->rope(r->stream, &h, &rows, &c->rope, c->stored ? &kv : NULL);
        rig_run(r);
        for (uint32_t head = 0; head < ROPE_ROWS * c->n_heads; head++) {
                turned(&c->rope, q + head * c->dim, h.q_norm, c->dim, at[head / c->n_heads], want);
                for (uint32_t d = 0; d < c->dim; d++)
                        assert_close(out_q[head * c->dim + d], want[d], 2e-6);
        }
        for (uint32_t head = 0; head < ROPE_ROWS * c->n_kv_heads && !c->stored; head++) {
                turned(&c->rope, k + head * c->dim, h.k_norm, c->dim, at[head / c->n_kv_heads], want);
                for (uint32_t d = 0; d < c->dim; d++)
                        assert_close(out_k[head * c->dim + d], want[d], 2e-6);
        }
        if (c->stored)
                check_stored(c, &kv, slot, position, k, v, h.k_norm);
        free(q), free(k), free(v), free(q_norm), free(k_norm), free(out_q), free(out_k), free(kv.k), free(kv.v);
}

static void rope(Rig *r) {
        float factors[64];
        for (int i = 0; i < 64; i++)
                factors[i] = 1 + (float)i / 8;
        const RopeCase cases[] = {
                {{ROPE_NORMAL, 64, 10000, 1, NULL}, 4, 2, 64, false, false, DTYPE_F32},
                {{ROPE_NEOX, 128, 1000000, 1, NULL}, 3, 1, 128, true, false, DTYPE_F32},
                {{ROPE_NEOX, 16, 10000, 0.25f, NULL}, 2, 2, 20, true, true, DTYPE_F16},
                {{ROPE_NORMAL, 6, 10000, 1, NULL}, 1, 1, 10, false, true, DTYPE_F32},
                {{ROPE_NORMAL, 128, 500000, 1, factors}, 2, 1, 128, false, true, DTYPE_F16},
                {{ROPE_NEOX, 256, 10000, 1, NULL}, 1, 1, 256, true, true, DTYPE_F32},
                {{ROPE_NEOX, 0, 0, 0, NULL}, 2, 1, 7, true, true, DTYPE_F32},
                {{ROPE_NEOX, 12, 10000, 1, factors, 1.25f}, 2, 1, 16, false, true, DTYPE_F32},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                check_rope(r, &cases[i]);
}

static void test_rope(void **state) {
        on_every_rig(rope);
}

/* One head for each row. */
static void rotate(Rig *r, float *x, const Rows *rows, const Rope *rope) {
        r->ops->rope(r->stream, &(Qkv){.q = x, .n_heads = 1, .head_dim = rope->n_rot}, rows, rope, NULL);
}

/* Operations in one batch on the same rows, whose positions are replaced between them. */
static void rope_again(Rig *r) {
        enum { N = 2, DIM = 8, STEPS = 4, TIMES = 6 };
        static const Rope kinds[3] = {{ROPE_NORMAL, DIM, 10000, 1, NULL}, {ROPE_NEOX, DIM, 500000, 0.5f, NULL},
                                      {ROPE_NORMAL, DIM, 10000, 1, NULL, 1.5f}};
        int32_t slot[N] = {0}, position[N];
        float in[STEPS][TIMES][N * DIM], out[STEPS][TIMES][N * DIM];
        Rows rows = {N, slot, position, NULL, 0};
        for (int i = 0; i < STEPS; i++) {
                int32_t next[N] = {5 * i, 100 - i};
                r->ops->upload(r->stream, position, next, sizeof(next));
                for (int k = 0; k < TIMES; k++) {
                        for (int j = 0; j < N * DIM; j++)
                                out[i][k][j] = in[i][k][j] = random_float();
                        rotate(r, out[i][k], &rows, &kinds[i % 3 == 0 ? k % 3 : 0]);
                }
        }
        rig_run(r);
        for (int i = 0; i < STEPS; i++) {
                int32_t alone[N] = {5 * i, 100 - i};
                for (int k = 0; k < TIMES; k++) {
                        rotate(r, in[i][k], &(Rows){N, slot, alone, NULL, 0}, &kinds[i % 3 == 0 ? k % 3 : 0]);
                        rig_run(r);
                        assert_memory_equal(in[i][k], out[i][k], sizeof(in[i][k]));
                }
        }
}

static void test_rope_again(void **state) {
        on_every_rig(rope_again);
}

/* Of matrices of one column, so that values are multiplied as they are. */
static void gate(Rig *r, float *out, float *gates, float *ups, uint32_t n, Gate unit) {
        static const float one = 1;
        r->ops->glu(r->stream, out, &(Matrix){gates, DTYPE_F32, n, 1}, &(Matrix){ups, DTYPE_F32, n, 1},
                    &(Activations){.x = &one, .n_rows = 1}, unit);
        rig_run(r);
}

static double gated(Gate unit, double x, double up) {
        if (unit == GATE_SILU)
                return x / (1 + exp(-x)) * up;
        if (unit == GATE_GELU_TANH)
                return x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))) * up;
        x = x > 7 ? 7 : x;
        up = up > 7 ? 7 : up < -7 ? -7 : up;
        return x / (1 + exp(-1.702 * x)) * (up + 1);
}

static void check_glu(Rig *r, uint32_t n, float reach, Gate unit) {
        float *gates = random_floats(n), *ups = random_floats(n), *out = poisoned_floats(n);
        for (size_t i = 0; i < n; i++)
                gates[i] *= reach, ups[i] *= reach;
        gate(r, out, gates, ups, n, unit);
        for (size_t i = 0; i < n; i++) {
                double want = gated(unit, gates[i], ups[i]);
                assert_close(out[i], want, 1e-6 * fabs(want) + (unit == GATE_SILU ? 1e-34 : 2e-6));
        }
        free(gates), free(ups), free(out);
}

static void glu(Rig *r) {
        for (Gate unit = GATE_SILU; unit <= GATE_CLAMPED; unit++) {
                check_glu(r, 1, 3, unit);
                check_glu(r, 3001, 3, unit);
                check_glu(r, 4096, 200, unit);
                float gates[4] = {INFINITY, -INFINITY, NAN, -104}, ups[4] = {2, 1, 1, 1}, out[4];
                gate(r, out, gates, ups, 4, unit);
                assert_true(unit == GATE_CLAMPED ? out[0] > 20 && out[0] < 22 : out[0] == INFINITY);
                assert_true(isnan(out[2]));
                assert_close(out[3], 0, 1e-35);
        }
}

static void test_glu(void **state) {
        on_every_rig(glu);
}

static void softcap(Rig *r) {
        enum { N = 1003 };
        float *x = random_floats(N), capped[N];
        for (int i = 0; i < N; i++)
                capped[i] = x[i] *= i % 3 ? 10 : 1000;
        r->ops->softcap(r->stream, capped, N, 30);
        rig_run(r);
        for (int i = 0; i < N; i++)
                assert_close(capped[i], 30 * tanh((double)x[i] / 30), 1e-5);
        free(x);
}

static void test_softcap(void **state) {
        on_every_rig(softcap);
}

static void gather(Rig *r) {
        float *x = random_floats(7 * 5), out[4 * 5];
        int32_t index[4] = {6, 0, 3, 3};
        r->ops->gather(r->stream, out, x, index, 4, 5);
        rig_run(r);
        for (int i = 0; i < 4; i++)
                assert_memory_equal(out + i * 5, x + index[i] * 5, 5 * sizeof(float));
        free(x);
}

static void test_gather(void **state) {
        on_every_rig(gather);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_embed),   cmocka_unit_test(test_embed_bad_token),
                cmocka_unit_test(test_rmsnorm), cmocka_unit_test(test_rope),
                cmocka_unit_test(test_glu), cmocka_unit_test(test_softcap),  cmocka_unit_test(test_gather),
                cmocka_unit_test(test_rope_again),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
