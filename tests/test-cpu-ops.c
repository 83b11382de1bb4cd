/* Embedding, normalisation, rotary embedding and the elementwise operations against their formulas in double
 * precision. */
#include "cpu.h"

static void embed(Rig *r) {
        static const Dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_Q8_0, DTYPE_Q4_0};
        enum { VOCAB = 11, CONTEXT = 8, N = 5 };
        int32_t tokens[2 * CONTEXT], slot[N] = {0, 1, 1, 0, 1}, position[N] = {3, 0, 7, 0, 2};
        for (int i = 0; i < 2 * CONTEXT; i++)
                tokens[i] = (i * 7) % VOCAB;
        Rows rows = {N, slot, position, tokens, CONTEXT};
        for (size_t t = 0; t < 5; t++) {
                uint32_t cols = dtype_info(types[t])->block == 1 ? 45 : 96;
                char *table = random_rows(types[t], VOCAB, cols);
                float *out = poisoned_floats(N * cols);
                r->ops->embed(r->stream, out, &(Matrix){table, types[t], VOCAB, cols}, &rows);
                rig_run(r);
                for (uint32_t i = 0; i < N; i++) {
                        int32_t token = tokens[slot[i] * CONTEXT + position[i]];
                        for (uint32_t c = 0; c < cols; c++) {
                                const char *row = table + (size_t)token * dtype_row_size(types[t], cols);
                                assert_true(out[i * cols + c] == row_value(types[t], row, c));
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
        r.ops->embed(r.stream, out, &(Matrix){table, DTYPE_F32, 2, 1}, &(Rows){3, slot, position, tokens, 3});
        rig_run(&r);
        for (int i = 0; i < 3; i++)
                assert_true(out[i] == 0);
        rig_deinit(&r);
}

static void check_rmsnorm(Rig *r, uint32_t n, uint32_t cols, bool in_place) {
        float *x = random_floats((size_t)n * cols), *weight = random_floats(cols);
        float *out = poisoned_floats((size_t)n * cols);
        if (in_place)
                memcpy(out, x, (size_t)n * cols * sizeof(float));
        r->ops->rmsnorm(r->stream, out, in_place ? out : x, weight, n, cols, 1e-5f);
        rig_run(r);
        for (uint32_t i = 0; i < n; i++) {
                double sum = 0;
                for (uint32_t c = 0; c < cols; c++)
                        sum += (double)x[i * cols + c] * x[i * cols + c];
                for (uint32_t c = 0; c < cols; c++)
                        assert_close(out[i * cols + c],
                                     x[i * cols + c] / sqrt(sum / cols + 1e-5f) * weight[c], 2e-6);
        }
        free(x), free(weight), free(out);
}

static void rmsnorm(Rig *r) {
        check_rmsnorm(r, 1, 1, false);
        check_rmsnorm(r, 5, 67, false);
        check_rmsnorm(r, 2, 2048, true);
        check_rmsnorm(r, 7, 64, true);
        check_rmsnorm(r, 4, 13, true);
}

static void test_rmsnorm(void **state) {
        on_every_rig(rmsnorm);
}

static void check_rope(Rig *r, Rope rope, uint32_t n_heads, uint32_t head_dim) {
        enum { N = 3 };
        int32_t slot[N] = {0}, position[N] = {0, 17, 120003};
        Rows rows = {N, slot, position, NULL, 0};
        size_t n = (size_t)N * n_heads * head_dim;
        float *x = random_floats(n), *out = malloc(n * sizeof(float));
        memcpy(out, x, n * sizeof(float));
        r->ops->rope(r->stream, out, &rows, n_heads, head_dim, &rope);
        rig_run(r);
        for (uint32_t head = 0; head < N * n_heads; head++) {
                float *from = x + head * head_dim, *to = out + head * head_dim;
                for (uint32_t i = 0; i < rope.n_rot / 2; i++) {
                        double angle = (double)position[head / n_heads] * rope.scale *
                                       pow(rope.base, -2.0 * i / rope.n_rot) / (rope.factors ? rope.factors[i] : 1);
                        uint32_t a = rope.style == ROPE_NORMAL ? 2 * i : i;
                        uint32_t b = rope.style == ROPE_NORMAL ? 2 * i + 1 : i + rope.n_rot / 2;
                        assert_close(to[a], from[a] * cos(angle) - from[b] * sin(angle), 1e-6);
                        assert_close(to[b], from[a] * sin(angle) + from[b] * cos(angle), 1e-6);
                }
                assert_memory_equal(to + rope.n_rot, from + rope.n_rot, (head_dim - rope.n_rot) * sizeof(float));
        }
        free(x), free(out);
}

static void rope(Rig *r) {
        float factors[64];
        for (int i = 0; i < 64; i++)
                factors[i] = 1 + (float)i / 8;
        check_rope(r, (Rope){ROPE_NORMAL, 64, 10000, 1, NULL}, 4, 64);
        check_rope(r, (Rope){ROPE_NEOX, 128, 1000000, 1, NULL}, 3, 128);
        check_rope(r, (Rope){ROPE_NEOX, 16, 10000, 0.25f, NULL}, 2, 20);
        check_rope(r, (Rope){ROPE_NORMAL, 6, 10000, 1, NULL}, 1, 10);
        check_rope(r, (Rope){ROPE_NORMAL, 128, 500000, 1, factors}, 2, 128);
        check_rope(r, (Rope){ROPE_NEOX, 256, 10000, 1, NULL}, 1, 256);
}

static void test_rope(void **state) {
        on_every_rig(rope);
}

/* Operations in one batch on the same rows, whose positions are replaced between them. */
static void rope_again(Rig *r) {
        enum { N = 2, DIM = 8, STEPS = 4 };
        static const Rope kinds[2] = {{ROPE_NORMAL, DIM, 10000, 1, NULL}, {ROPE_NEOX, DIM, 500000, 0.5f, NULL}};
        int32_t slot[N] = {0}, position[N];
        float in[STEPS][2][N * DIM], out[STEPS][2][N * DIM];
        Rows rows = {N, slot, position, NULL, 0};
        for (int i = 0; i < STEPS; i++) {
                int32_t next[N] = {5 * i, 100 - i};
                r->ops->upload(r->stream, position, next, sizeof(next));
                for (int k = 0; k < 2; k++) {
                        for (int j = 0; j < N * DIM; j++)
                                out[i][k][j] = in[i][k][j] = random_float();
                        r->ops->rope(r->stream, out[i][k], &rows, 1, DIM, &kinds[i % 3 == 0 ? k : 0]);
                }
        }
        rig_run(r);
        for (int i = 0; i < STEPS; i++) {
                int32_t alone[N] = {5 * i, 100 - i};
                for (int k = 0; k < 2; k++) {
                        r->ops->rope(r->stream, in[i][k], &(Rows){N, slot, alone, NULL, 0}, 1, DIM,
                                     &kinds[i % 3 == 0 ? k : 0]);
                        rig_run(r);
                        assert_memory_equal(in[i][k], out[i][k], sizeof(in[i][k]));
                }
        }
}

static void test_rope_again(void **state) {
        on_every_rig(rope_again);
}

static void check_swiglu(Rig *r, size_t n, float reach) {
        float *gate = random_floats(n), *up = random_floats(n), *out = poisoned_floats(n);
        for (size_t i = 0; i < n; i++)
                gate[i] *= reach;
        r->ops->swiglu(r->stream, out, gate, up, n);
        rig_run(r);
        for (size_t i = 0; i < n; i++) {
                double want = gate[i] / (1 + exp(-(double)gate[i])) * up[i];
                assert_close(out[i], want, 1e-6 * fabs(want) + 1e-36);
        }
        r->ops->swiglu(r->stream, gate, gate, up, n);
        rig_run(r);
        assert_memory_equal(gate, out, n * sizeof(float));
        free(gate), free(up), free(out);
}

static void swiglu(Rig *r) {
        check_swiglu(r, 1, 3);
        check_swiglu(r, 3001, 3);
        check_swiglu(r, 4096, 200);
        float gate[4] = {INFINITY, -INFINITY, NAN, -104}, up[4] = {2, 1, 1, 1};
        r->ops->swiglu(r->stream, gate, gate, up, 4);
        rig_run(r);
        assert_true(gate[0] == INFINITY);
        assert_true(isnan(gate[2]));
        assert_close(gate[3], 0, 1e-35);
}

static void test_swiglu(void **state) {
        on_every_rig(swiglu);
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
                cmocka_unit_test(test_swiglu),  cmocka_unit_test(test_gather),
                cmocka_unit_test(test_rope_again),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
