/* The paged cache and attention against a softmax in double precision over a plain array, for pages in any order,
 * windows, shared KV heads and both formats; and that a row's result is its own. */
#include "cpu.h"

typedef struct Case {
        Dtype type;
        uint32_t page_size, n_kv_heads, n_heads, head_dim, window;
        uint32_t length[2]; /* of the sequences in slots 0 and 1 */
        float cap;
        bool sinks;
} Case;

/* The cache, and beside it what was stored, plainly. */
typedef struct Cache {
        const Case *c;
        KvLayer kv;
        float *k[2], *v[2]; /* [length, n_kv_heads, head_dim] */
} Cache;

static void cache_init(Cache *cache, const Case *c) {
        uint32_t longest = c->length[0] > c->length[1] ? c->length[0] : c->length[1];
        uint32_t max_pages = (longest + c->page_size - 1) / c->page_size, n_pages = 2 * max_pages;
        size_t page = (size_t)c->page_size * c->n_kv_heads * c->head_dim * (c->type == DTYPE_F16 ? 2 : 4);
        int32_t *tables = malloc(n_pages * sizeof(*tables));
        for (uint32_t i = 0; i < n_pages; i++) /* the two sequences' pages in turn, backwards */
                tables[i] = (int32_t)(n_pages - 1 - (i % max_pages * 2 + i / max_pages));
        *cache = (Cache){.c = c,
                         .kv = {.k = malloc(n_pages * page),
                                .v = malloc(n_pages * page),
                                .type = c->type,
                                .page_size = c->page_size,
                                .n_kv_heads = c->n_kv_heads,
                                .head_dim = c->head_dim,
                                .block_tables = tables,
                                .max_pages = max_pages}};
        memset(cache->kv.k, 0xff, n_pages * page); /* NaN */
        memset(cache->kv.v, 0xff, n_pages * page);
}

static void cache_deinit(Cache *cache) {
        for (int s = 0; s < 2; s++)
                free(cache->k[s]), free(cache->v[s]);
        free(cache->kv.k), free(cache->kv.v), free((void *)cache->kv.block_tables);
}

/* Keys and values as they are. */
static void store(Rig *r, const KvLayer *kv, const Rows *rows, float *k, const float *v) {
        Qkv h = {.k = k, .v = v, .n_kv_heads = kv->n_kv_heads, .head_dim = kv->head_dim};
        r->ops->rope(r->stream, &h, rows, &(Rope){0}, kv);
}

static void cache_fill(Rig *r, Cache *cache) {
        const Case *c = cache->c;
        for (int s = 0; s < 2; s++) {
                size_t width = c->n_kv_heads * c->head_dim;
                cache->k[s] = random_floats(c->length[s] * width);
                cache->v[s] = random_floats(c->length[s] * width);
                int32_t *slot = malloc(c->length[s] * sizeof(int32_t)), *position = malloc(c->length[s] * 4);
                for (uint32_t i = 0; i < c->length[s]; i++) {
                        slot[i] = s;
                        position[i] = (int32_t)i;
                }
                Rows rows = {c->length[s], slot, position, NULL, 0};
                store(r, &cache->kv, &rows, cache->k[s], cache->v[s]);
                rig_run(r);
                free(slot), free(position);
        }
}

/* Stored as F16 a value is off by half of its last place. */
static void check_row(const Cache *cache, const float *q, const float *out, int slot, uint32_t position, const Attending *how) {
        const Case *c = cache->c;
        uint32_t begin = c->window > 0 && position + 1 > c->window ? position + 1 - c->window : 0;
        double *p = malloc((position + 1) * sizeof(double));
        for (uint32_t h = 0; h < c->n_heads; h++) {
                uint32_t kv_head = h / (c->n_heads / c->n_kv_heads);
                double sum = how->sinks ? exp((double)how->sinks[h]) : 0, scale = how->scale;
                for (uint32_t j = begin; j <= position; j++) {
                        double s = 0;
                        for (uint32_t d = 0; d < c->head_dim; d++)
                                s += (double)q[h * c->head_dim + d] *
                                     cache->k[slot][((size_t)j * c->n_kv_heads + kv_head) * c->head_dim + d];
                        sum += p[j] = exp(c->cap > 0 ? (double)c->cap * tanh(s * scale / (double)c->cap) : s * scale);
                }
                for (uint32_t d = 0; d < c->head_dim; d++) {
                        double want = 0;
                        for (uint32_t j = begin; j <= position; j++)
                                want += p[j] / sum *
                                        cache->v[slot][((size_t)j * c->n_kv_heads + kv_head) * c->head_dim + d];
                        assert_close(out[h * c->head_dim + d], want, c->type == DTYPE_F16 ? 2e-3 : 3e-6);
                }
        }
        free(p);
}

/* Rows from both sequences in one call, among them first and last positions; then each by itself. */
static void check(Rig *r, const Case *c) {
        enum { N = 7 };
        int32_t slot[N] = {0, 1, 0, 1, 1, 0, 0}, position[N];
        Cache cache;
        cache_init(&cache, c);
        cache_fill(r, &cache);
        for (int i = 0; i < N; i++)
                position[i] = (int32_t)(random_bits() % c->length[slot[i]]);
        position[0] = (int32_t)c->length[0] - 1;
        position[1] = (int32_t)c->length[1] - 1;
        position[2] = 0;
        size_t width = c->n_heads * c->head_dim;
        float scale = 2 / sqrtf((float)c->head_dim);
        float *sinks = random_floats(c->n_heads);
        Attending how = {c->n_heads, c->window, scale, c->cap, c->sinks ? sinks : NULL};
        float *q = random_floats(N * width), *out = poisoned_floats(N * width), *alone = poisoned_floats(width);
        r->ops->attention(r->stream, out, q, &cache.kv, &(Rows){N, slot, position, NULL, 0}, &how);
        rig_run(r);
        for (int i = 0; i < N; i++) {
                check_row(&cache, q + i * width, out + i * width, slot[i], (uint32_t)position[i], &how);
                r->ops->attention(r->stream, alone, q + i * width, &cache.kv,
                                  &(Rows){1, slot + i, position + i, NULL, 0}, &how);
                rig_run(r);
                assert_memory_equal(alone, out + i * width, width * sizeof(float));
        }
        free(q), free(out), free(alone), free(sinks);
        cache_deinit(&cache);
}

static void every_case(Rig *r) {
        static const Case cases[] = {
                {DTYPE_F32, 16, 2, 4, 16, 0, {40, 7}},
                {DTYPE_F16, 16, 4, 8, 64, 0, {300, 129}},
                {DTYPE_F32, 7, 1, 11, 20, 0, {150, 128}},
                {DTYPE_F16, 1, 3, 3, 10, 0, {5, 131}},
                {DTYPE_F32, 32, 2, 2, 33, 5, {140, 3}},
                {DTYPE_F16, 64, 1, 4, 128, 130, {400, 256}},
                {DTYPE_F32, 256, 1, 1, 8, 1, {1, 2}},
                {DTYPE_F32, 16, 2, 4, 24, 0, {150, 9}, 0.5f},
                {DTYPE_F32, 16, 2, 8, 24, 5, {150, 9}, 0, true},
                {DTYPE_F16, 16, 1, 11, 16, 0, {150, 9}, 0, true},
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                check(r, &cases[i]);
}

static void test_attention(void **state) {
        on_every_rig(every_case);
}

/* Scores far apart, in either order: the running maximum must carry. */
static void far_apart(Rig *r) {
        enum { LENGTH = 200 };
        float k[LENGTH], v[LENGTH], q = 1, out = NAN;
        int32_t table = 0, slot[LENGTH] = {0}, position[LENGTH], last = LENGTH - 1;
        float cache_k[LENGTH], cache_v[LENGTH];
        KvLayer kv = {cache_k, cache_v, DTYPE_F32, LENGTH, 1, 1, &table, 1};
        for (int rising = 0; rising < 2; rising++) {
                for (int i = 0; i < LENGTH; i++) {
                        position[i] = i;
                        k[i] = rising ? (float)i * 100 : (float)-i * 100;
                        v[i] = (float)i;
                }
                store(r, &kv, &(Rows){LENGTH, slot, position, NULL, 0}, k, v);
                r->ops->attention(r->stream, &out, &q, &kv, &(Rows){1, slot, &last, NULL, 0}, &(Attending){.n_heads = 1, .scale = 1});
                rig_run(r);
                assert_close(out, rising ? LENGTH - 1 : 0, 1e-6);
        }
}

static void test_far_apart(void **state) {
        on_every_rig(far_apart);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_attention), cmocka_unit_test(test_far_apart)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
