/* Mixtures of experts: where rows go, and what comes of it, against the formula in double precision; each row's bits
 * whatever the others are. */
#include "cpu.h"

enum { COLS = 40, FF = 24, EXPERTS = 5, USED = 2, ROWS = 70 };

typedef struct Mixture {
        float *gate, *up, *down; /* [EXPERTS, FF or COLS, COLS or FF] */
        const void *each[3][EXPERTS];
        Experts gates, ups, downs;
} Mixture;

static Experts experts_of(const void **each, const float *data, uint32_t rows, uint32_t cols) {
        for (int e = 0; e < EXPERTS; e++)
                each[e] = data + (size_t)e * rows * cols;
        return (Experts){.each = each, .type = DTYPE_F32, .n = EXPERTS, .rows = rows, .cols = cols};
}

static void mixture_init(Mixture *m) {
        m->gate = random_floats(EXPERTS * FF * COLS);
        m->up = random_floats(EXPERTS * FF * COLS);
        m->down = random_floats(EXPERTS * COLS * FF);
        m->gates = experts_of(m->each[0], m->gate, FF, COLS);
        m->ups = experts_of(m->each[1], m->up, FF, COLS);
        m->downs = experts_of(m->each[2], m->down, COLS, FF);
}

static void mixture_deinit(Mixture *m) {
        free(m->gate), free(m->up), free(m->down);
}

/* x += what the experts make of it. */
static void ask(Rig *r, const Mixture *m, float *x, const float *logits, uint32_t n, bool normalise, Routing *route) {
        static float memory[6 * ROWS * USED + EXPERTS + 1], places[ROWS * USED * COLS], ff[ROWS * USED * FF];
        *route = routing_in(memory, n, EXPERTS, USED);
        r->ops->route(r->stream, route, logits, normalise);
        r->ops->gather(r->stream, places, x, route->row, n * USED, COLS);
        r->ops->glu_experts(r->stream, ff, &m->gates, &m->ups, route, places, GATE_SILU);
        r->ops->matmul_experts(r->stream, places, &m->downs, route, ff);
        r->ops->combine(r->stream, x, places, route, COLS);
        rig_run(r);
}

static double dot(const float *w, const float *x, int n) {
        double sum = 0;
        for (int i = 0; i < n; i++)
                sum += (double)w[i] * x[i];
        return sum;
}

static void add_expert(const Mixture *m, int e, double weight, const float *x, double *y) {
        float h[FF];
        for (int f = 0; f < FF; f++) {
                size_t at = ((size_t)e * FF + (size_t)f) * COLS;
                double g = dot(m->gate + at, x, COLS);
                h[f] = (float)(g / (1 + exp(-g)) * dot(m->up + at, x, COLS));
        }
        for (int c = 0; c < COLS; c++)
                y[c] += weight * dot(m->down + ((size_t)e * COLS + (size_t)c) * FF, h, FF);
}

/* All experts in the order of their logits; those behind the first USED count for nothing. */
static void want_row(const Mixture *m, const float *logits, bool normalise, const float *x, double *y) {
        bool taken[EXPERTS] = {false};
        double all = 0, sum = 0;
        int best[USED];
        for (int c = 0; c < USED; c++) {
                best[c] = -1;
                for (int e = 0; e < EXPERTS; e++)
                        if (!taken[e] && (best[c] < 0 || logits[e] > logits[best[c]]))
                                best[c] = e;
                taken[best[c]] = true;
                sum += exp((double)logits[best[c]]);
        }
        for (int e = 0; e < EXPERTS; e++)
                all += exp((double)logits[e]);
        for (int c = 0; c < COLS; c++)
                y[c] = x[c];
        for (int c = 0; c < USED; c++)
                add_expert(m, best[c], exp((double)logits[best[c]]) / (normalise ? sum : all), x, y);
}

static void check_places(const Routing *r) {
        uint32_t n = r->n_rows * r->n_used, seen = 0;
        assert_int_equal(r->starts[0], 0);
        assert_int_equal(r->starts[EXPERTS], n);
        for (int e = 0; e < EXPERTS; e++)
                for (int32_t p = r->starts[e]; p < r->starts[e + 1]; p++, seen++)
                        if (p > r->starts[e])
                                assert_true(r->row[p] > r->row[p - 1]);
        assert_int_equal(seen, n);
        for (uint32_t i = 0; i < n; i++)
                assert_int_equal(r->row[r->place[i]], i / r->n_used);
}

static void mixture(Rig *r) {
        Mixture m;
        mixture_init(&m);
        for (int normalise = 0; normalise < 2; normalise++) {
                float *x = random_floats(ROWS * COLS), *logits = random_floats(ROWS * EXPERTS), out[ROWS * COLS];
                Routing route;
                for (int i = 0; i < EXPERTS; i++) {
                        logits[i] = 1;                             /* equal ones: the first */
                        logits[EXPERTS + i] = i < 4 ? -1000 : 100; /* nothing is left for the second */
                }
                memcpy(out, x, sizeof(out));
                ask(r, &m, out, logits, ROWS, normalise, &route);
                check_places(&route);
                for (int i = 0; i < ROWS; i++) {
                        double want[COLS];
                        want_row(&m, logits + i * EXPERTS, normalise, x + i * COLS, want);
                        for (int c = 0; c < COLS; c++)
                                assert_close(out[i * COLS + c], want[c], 1e-4);
                        ask(r, &m, x + i * COLS, logits + i * EXPERTS, 1, normalise, &route);
                        assert_memory_equal(x + i * COLS, out + i * COLS, COLS * sizeof(float));
                }
                free(x), free(logits);
        }
        mixture_deinit(&m);
}

static void test_mixture(void **state) {
        on_every_rig(mixture);
}

/* Whatever the logits are, each row goes to different experts that exist. */
static void hostile(Rig *r) {
        static const float values[] = {NAN, INFINITY, -INFINITY, 0, 3e38f};
        float memory[6 * ROWS * USED + EXPERTS + 1], logits[ROWS * EXPERTS];
        for (int i = 0; i < ROWS * EXPERTS; i++)
                logits[i] = values[i < EXPERTS ? 0 : random_bits() % ARRAY_SIZE(values)];
        Routing route = routing_in(memory, ROWS, EXPERTS, USED);
        r->ops->route(r->stream, &route, logits, true);
        rig_run(r);
        check_places(&route);
}

static void test_hostile(void **state) {
        on_every_rig(hostile);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_mixture),
                cmocka_unit_test(test_hostile),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
