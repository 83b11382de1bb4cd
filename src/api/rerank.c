/* Reranking: /v1/rerank, /v2/rerank and /rerank in the shape that Jina and Cohere gave it; and on /rerank, where a request
 * has `texts` for documents, that of Hugging Face's text-embeddings-inference. A score is the sigmoid of the model's
 * logit, whatever the model's own library does with it: clients expect numbers from 0 to 1. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "api/api-private.h"
#include "util/str.h"

static float score_of(const Vectors *v, uint32_t input) {
        float logit = v->values[(size_t)input * v->width];
        return v->options.raw_scores ? logit : 1 / (1 + expf(-logit));
}

static void put_score(const Vectors *v, uint32_t input, const char *key, Buf *out) {
        buf_puts(out, "{\"index\":");
        buf_putu(out, input);
        buf_puts(out, key);
        json_put_float(out, score_of(v, input));
}

/* ---- Jina's and Cohere's ---- */

static void begin(const Vectors *v, Buf *out) {
        buf_puts(out, "{\"model\":");
        json_put_string(out, v->model_name, strlen(v->model_name));
        buf_puts(out, ",\"results\":[");
}

static void item(const Vectors *v, uint32_t i, Buf *out) {
        uint32_t input = v->order[i];
        put_score(v, input, ",\"relevance_score\":", out);
        if (v->documents) {
                buf_puts(out, ",\"document\":{\"text\":");
                json_put_string(out, v->documents[input].data, v->documents[input].len);
                buf_putc(out, '}');
        }
        buf_putc(out, '}');
}

static void end(const Vectors *v, Buf *out) {
        buf_printf(out, "],\"usage\":{\"prompt_tokens\":%" PRIu64 ",\"total_tokens\":%" PRIu64 "}}\n", v->tokens, v->tokens);
}

static const VectorDialect dialect = {begin, item, end};

/* ---- text-embeddings-inference's ---- */

static void tei_begin(const Vectors *v _unused_, Buf *out) {
        buf_putc(out, '[');
}

static void tei_item(const Vectors *v, uint32_t i, Buf *out) {
        uint32_t input = v->order[i];
        put_score(v, input, ",\"score\":", out);
        if (v->documents) {
                buf_puts(out, ",\"text\":");
                json_put_string(out, v->documents[input].data, v->documents[input].len);
        }
        buf_putc(out, '}');
}

static void tei_end(const Vectors *v _unused_, Buf *out) {
        buf_puts(out, "]\n");
}

static const VectorDialect tei_dialect = {tei_begin, tei_item, tei_end};

/* ---- reading ---- */

static const char *documents_key(const Args *a) {
        return !arg_get(a, "documents") && arg_get(a, "texts") ? "texts" : "documents";
}

static void *documents(Args *a) {
        return arg_inputs(a, documents_key(a), true);
}

static void rerank(Api *api) {
        Args a = api_args(api);
        _cleanup_(spec_deinit) Spec s;
        spec_init(&s);
        ModelEntry *m = arg_model(&a, api->d);
        const char *query = m ? arg_string(&a, "query", NULL) : NULL;
        if (!m)
                return;
        if (!query)
                arg_fail(&a, "query", "is missing");
        bool tei = strcmp(documents_key(&a), "texts") == 0;
        VectorOptions options = {
                .with_documents = arg_bool(&a, tei ? "return_text" : "return_documents", false),
                .raw_scores = arg_bool(&a, "raw_scores", false),
                .top_n = (uint32_t)arg_int(&a, "top_n", 1, INT32_MAX, 0),
        };
        s.job.kind = IPC_PROMPT_RANK;
        s.job.prompt = arg_bytes(&a, "query");
        s.job.truncate = arg_bool(&a, "truncate", false);
        spec_read_service(&s, &a);
        _cleanup_free_ InputList *inputs = arg_failed(&a) ? NULL : api_context(api, &a, documents);
        if (inputs && !arg_failed(&a))
                vectors_post(api, &s, m, inputs, tei ? &tei_dialect : &dialect, options);
}

const Route rerank_routes[] = {
        {"POST", "/v1/rerank", rerank, NULL, documents},
        {"POST", "/v2/rerank", rerank, NULL, documents},
        {"POST", "/rerank", rerank, NULL, documents},
        {0},
};
