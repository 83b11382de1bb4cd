/* Numbers from a model: embeddings, which come as base64 of little-endian floats, so that no digit is lost and little is
 * parsed, and rankings. */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"

/* ---- Requests ---- */

static const char no_text[] = "the request cannot be sent: its text is not valid UTF-8, or memory is out";

/* A list of texts; NULL: out of memory, or one is not UTF-8. */
static json_t *make_texts(const char *const *texts, size_t n) {
        json_auto_t *list = json_array();
        for (size_t i = 0; i < n; i++)
                if (json_array_append_new(list, json_string(texts[i])) < 0)
                        return NULL;
        return TAKE(list);
}

/* What both requests have. */
typedef struct Common {
        const char *model, *key;
        const char *const *texts;
        size_t n;
        const double *timeout;
        const char *priority, *extra;
} Common;

/* Adds it to `root`, and last what the caller has beyond. */
static int fill_request(json_t *root, const Common *q, ZlError *e) {
        if (!q->model || !*q->model)
                return fail(e, -EINVAL, "the request names no model");
        int r = json_object_set_new(root, "model", json_string(q->model));
        if (q->n > 0)
                r |= json_object_set_new(root, q->key, make_texts(q->texts, q->n));
        if (q->timeout)
                r |= json_object_set_new(root, "timeout", json_real(*q->timeout));
        if (q->priority)
                r |= json_object_set_new(root, "priority", json_string(q->priority));
        if (r != 0)
                return fail(e, -EINVAL, "%s", no_text);
        return json_add_extra(root, q->extra, e);
}

/* ---- Embeddings ---- */

void zl_embeddings_free(ZlEmbeddings *embeddings) {
        if (embeddings)
                free((float *)embeddings->values);
        free(embeddings);
}
DEFINE_CLEANUP(ZlEmbeddings, zl_embeddings_free)

static int value_of(char c) {
        if (c >= 'A' && c <= 'Z')
                return c - 'A';
        if (c >= 'a' && c <= 'z')
                return c - 'a' + 26;
        if (c >= '0' && c <= '9')
                return c - '0' + 52;
        return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* `n` numbers; false when the text is something else. */
static bool decode_floats(const char *text, size_t len, float *out, size_t n) {
        uint32_t bits = 0;
        unsigned have = 0;
        size_t done = 0;
        unsigned char bytes[4];
        while (len > 0 && text[len - 1] == '=')
                len--;
        if (len != (n * 4 * 8 + 5) / 6)
                return false;
        for (size_t i = 0; i < len; i++) {
                int v = value_of(text[i]);
                if (v < 0)
                        return false;
                bits = bits << 6 | (uint32_t)v;
                have += 6;
                if (have < 8)
                        continue;
                have -= 8;
                bytes[done % 4] = (unsigned char)(bits >> have);
                if (++done % 4 == 0) {
                        uint32_t word;
                        memcpy(&word, bytes, sizeof(word));
                        word = le32toh(word);
                        memcpy(&out[done / 4 - 1], &word, sizeof(word));
                }
        }
        return done == n * 4;
}

/* How many numbers a text in base64 has. */
static size_t floats_in(const char *text, size_t len) {
        while (len > 0 && text[len - 1] == '=')
                len--;
        return len * 6 / 8 / sizeof(float);
}

/* One vector, which is as long as the first. */
static bool read_vector(const json_t *item, size_t i, size_t n, float *out) {
        const json_t *text = json_object_get(item, "embedding");
        return json_count(item, "index") == i && json_is_string(text) &&
               decode_floats(json_string_value(text), json_string_length(text), out, n);
}

static size_t first_length(const json_t *data) {
        const json_t *text = json_object_get(json_array_get(data, 0), "embedding");
        return json_is_string(text) ? floats_in(json_string_value(text), json_string_length(text)) : 0;
}

static int read_embeddings(const json_t *root, ZlEmbeddings **ret, ZlError *e) {
        const json_t *data = json_object_get(root, "data"), *item;
        size_t n = json_array_size(data), width = first_length(data), i;
        _cleanup_(zl_embeddings_freep) ZlEmbeddings *z = calloc(1, sizeof(*z));
        float *values = z ? malloc(n * width * sizeof(float) + 1) : NULL; /* the text of them is in memory */
        if (!values)
                return fail_memory(e);
        *z = (ZlEmbeddings){values, n, width, json_count(json_object_get(root, "usage"), "prompt_tokens")};
        json_array_foreach(data, i, item)
                if (!read_vector(item, i, width, values + i * width))
                        return fail(e, -EPROTO, "the daemon's answer has no embedding in place %zu", i);
        *ret = TAKE(z);
        return 0;
}

int zl_embed(ZlClient *c, const ZlEmbedRequest *q, ZlEmbeddings **ret, ZlError *e) {
        ZlError unused;
        if (!e)
                e = &unused;
        *e = (ZlError){.retry_after_ms = -1};
        json_auto_t *body = json_pack("{s:s}", "encoding_format", "base64"), *root = NULL;
        if (q->dimensions)
                json_object_set_new(body, "dimensions", json_integer(q->dimensions));
        if (q->truncate)
                json_object_set_new(body, "truncate", json_true());
        Common common = {q->model, "input", q->inputs, q->n_inputs, q->timeout, q->priority, q->extra};
        int r = fill_request(body, &common, e);
        if (r == 0)
                r = fetch(c, "POST", "/v1/embeddings", TAKE(body), limit_of(q->timeout), &root, NULL, e);
        return r < 0 ? r : read_embeddings(root, ret, e);
}

/* ---- Rankings ---- */

void zl_ranking_free(ZlRanking *ranking) {
        if (!ranking)
                return;
        free((ZlRank *)ranking->ranks);
        free((char *)ranking->json);
        free(ranking);
}
DEFINE_CLEANUP(ZlRanking, zl_ranking_free)

static int read_ranking(const json_t *root, char *json, ZlRanking **ret, ZlError *e) {
        const json_t *results = json_object_get(root, "results"), *item;
        size_t n = json_array_size(results), i;
        _cleanup_(zl_ranking_freep) ZlRanking *z = calloc(1, sizeof(*z));
        ZlRank *ranks = z ? calloc(n + 1, sizeof(*ranks)) : NULL;
        if (!ranks) {
                free(json);
                return fail_memory(e);
        }
        *z = (ZlRanking){ranks, n, json_count(json_object_get(root, "usage"), "prompt_tokens"), json};
        json_array_foreach(results, i, item) {
                const json_t *score = json_object_get(item, "relevance_score");
                if (!json_is_number(score) || !json_is_integer(json_object_get(item, "index")))
                        return fail(e, -EPROTO, "the daemon's answer has no score in place %zu", i);
                ranks[i] = (ZlRank){(size_t)json_count(item, "index"), json_number_value(score)};
        }
        *ret = TAKE(z);
        return 0;
}

int zl_rerank(ZlClient *c, const ZlRerankRequest *q, ZlRanking **ret, ZlError *e) {
        ZlError unused;
        char *json = NULL;
        if (!e)
                e = &unused;
        *e = (ZlError){.retry_after_ms = -1};
        json_auto_t *body = json_object(), *root = NULL;
        if (q->query && json_object_set_new(body, "query", json_string(q->query)) < 0)
                return fail(e, -EINVAL, "%s", no_text);
        if (q->top_n)
                json_object_set_new(body, "top_n", json_integer(q->top_n));
        if (q->truncate)
                json_object_set_new(body, "truncate", json_true());
        if (q->raw_scores)
                json_object_set_new(body, "raw_scores", json_true());
        Common common = {q->model, "documents", q->documents, q->n_documents, q->timeout, q->priority, q->extra};
        int r = fill_request(body, &common, e);
        if (r == 0)
                r = fetch(c, "POST", "/v1/rerank", TAKE(body), limit_of(q->timeout), &root, &json, e);
        return r < 0 ? r : read_ranking(root, json, ret, e);
}
