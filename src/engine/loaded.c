/* Loading a model; see loaded.h. */
#include <errno.h>
#include <string.h>

#include "engine/loaded.h"
#include "engine/sampler-defaults.h"
#include "engine/show.h"
#include "engine/vocab-hf.h"
#include "engine/vocab.h"
#include "text/harmony.h"
#include "text/split.h"
#include "util/checked.h"
#include "util/str.h"

enum {
        SLOTS_DEFAULT = 4, SLOTS_MAX = 4096,
        BATCH_DEFAULT = 512, BATCH_MAX = 16384,
        CONTEXT_USEFUL = 128, /* with less, better say so than load */
};

int loaded_template(const Model *m, bool for_tools, FileText *ret, Error *e) {
        if (model_hf(m))
                return hf_chat_template(model_hf(m), for_tools ? "tool_use" : "default", ret, e);
        int r = gguf_get_string(model_gguf(m), for_tools ? "tokenizer.chat_template.tool_use" : "tokenizer.chat_template", ret, e);
        if (r != -ENOENT || for_tools || strcmp(model_info(m)->architecture, "gptoss") != 0)
                return r;
        *ret = (FileText){harmony_template, strlen(harmony_template)};
        return 0;
}

static void open_template(Loaded *l, bool for_tools, ChatTemplate **ret, PrepChat *chat, Error *e) {
        FileText text;
        if (loaded_template(l->model, for_tools, &text, e) == 0 && chat_template_new(text.data, text.len, e, ret) == 0)
                *chat = (PrepChat){*ret, split_forms(text.data, text.len)};
}

static int open_text(Loaded *l, Error *e) {
        const HfModel *hf = model_hf(l->model);
        const Gguf *gguf = model_gguf(l->model);
        int r = hf ? vocab_hf_tokenizer_new(hf, &l->tokenizer, e) : vocab_tokenizer_new(gguf, &l->tokenizer, e);
        if (r < 0)
                return r;
        /* A template that is absent or broken is no reason to refuse the model: chats are told why. */
        open_template(l, false, &l->chat, &l->prep.chat, &l->chat_error);
        open_template(l, true, &l->tool_chat, &l->prep.tool_chat, NULL);
        return 0;
}

static int check_vocabulary(const Loaded *l, Error *e) {
        size_t n = tokenizer_n_tokens(l->tokenizer);
        uint32_t n_vocab = model_info(l->model)->n_vocab;
        if (n >= n_vocab)
                return n == n_vocab ? 0
                                    : error_set(e, -EINVAL, "%s: the vocabulary has %zu tokens, the weights are for %u",
                                                l->path, n, n_vocab);
        return 0; /* padded weights: the surplus ids have no text */
}

/* `details` is taken over. */
static int dump_details(Loaded *l, json_t *details, Error *e) {
        l->details = details ? json_dumps(details, JSON_COMPACT) : NULL;
        json_decref(details);
        return l->details ? 0 : error_set(e, -ENOMEM, "not enough memory to open %s", l->path);
}

int loaded_new(const LoadedSpec *spec, Loaded **ret) {
        _cleanup_(loaded_freep) Loaded *l = calloc(1, sizeof(*l));
        if (!l || !(l->name = strdup(spec->name)) || !(l->path = strdup(spec->path)))
                return -ENOMEM;
        l->tree = LAZY_TOKEN_TREE_NULL;
        l->test = loadtest_of_path(l->path);
        l->max_tokens = l->test ? LOADTEST_TOKENS_DEFAULT : -1;
        l->spec = (SchedSpec){
                .slots = spec->slots ? MIN(spec->slots, (uint32_t)SLOTS_MAX) : SLOTS_DEFAULT,
                .context = spec->context,
                .batch_tokens = spec->batch_tokens ? MIN(spec->batch_tokens, (uint32_t)BATCH_MAX) : BATCH_DEFAULT,
                .lookup_tokens = MIN(spec->lookup_tokens, (uint32_t)LOOKUP_MAX),
        };
        l->precision = spec->precision;
        l->batch_wait = spec->batch_wait;
        *ret = TAKE(l);
        return 0;
}

static int open_test(Loaded *l, Error *e) {
        int r = loadtest_tokenizer_new(&l->tokenizer, e);
        if (r >= 0)
                r = dump_details(l, loadtest_details(), e);
        return r;
}

static int open_model(Loaded *l, Error *e) {
        static const Precision precisions[] = {[IPC_FLOAT32] = PRECISION_F32, [IPC_INT16] = PRECISION_INT16, [IPC_INT8] = PRECISION_INT8};
        int r = model_open_for(l->path, l->spec.context, &l->model, e);
        if (r >= 0 && l->precision < ARRAY_SIZE(precisions))
                model_set_precision(l->model, precisions[l->precision]);
        if (r >= 0)
                r = open_text(l, e);
        if (r >= 0)
                r = check_vocabulary(l, e);
        if (r >= 0)
                r = sampler_defaults_read(l->model, &l->sampling, e);
        if (r >= 0)
                r = dump_details(l, show_details(l->model, l->tokenizer), e);
        return r;
}

int loaded_open(Loaded *l, Error *e) {
        int r = l->test ? open_test(l, e) : open_model(l, e);
        if (r < 0)
                return r;
        const EncoderInfo *encoder = l->test ? NULL : model_encoder(l->model);
        uint32_t trained = l->test ? LOADTEST_CONTEXT : encoder ? encoder->max_tokens : model_info(l->model)->context_length;
        l->spec.context = l->spec.context ? MIN(l->spec.context, trained) : trained;
        return 0;
}

static uint32_t pages_for(uint32_t context) {
        return context / SCHED_PAGE_SIZE + (context % SCHED_PAGE_SIZE > 0);
}

static int out_of_memory(const Loaded *l, size_t weights_size, size_t other, size_t page, size_t available, Error *e) {
        char weights[32], context[32], rest[32], have[32];
        size_t kv = page * pages_for(l->spec.context);
        return error_set(e, -ENOMEM,
                         "model %s needs %s for its weights, %s for a context of %u tokens and %s of working memory; "
                         "there is %s",
                         l->name, format_size(weights, sizeof(weights), weights_size),
                         format_size(context, sizeof(context), kv), l->spec.context,
                         format_size(rest, sizeof(rest), other), format_size(have, sizeof(have), available));
}

static EmbedSpec embed_spec(const Loaded *l) {
        return (EmbedSpec){.batch_tokens = l->spec.batch_tokens, .max_tokens = l->spec.context, .batch_wait = l->batch_wait};
}

/* An encoder keeps nothing of a text when its batch is done. */
static int plan_encoder(Loaded *l, const Device *d, size_t available, Error *e) {
        EmbedSpec spec = embed_spec(l);
        size_t weights = model_load_size(l->model, d), other = embed_size(l->model, &spec), all;
        if (!checked_add(weights, other, &all) || all > available)
                return out_of_memory(l, weights, other, 0, available, e);
        l->weights = weights;
        l->other = other;
        return 0;
}

int loaded_plan(Loaded *l, const Device *d, size_t available, bool shrink, Error *e) {
        if (l->test)
                return 0;
        if (model_encoder(l->model))
                return plan_encoder(l, d, available, e);
        size_t weights = model_info(l->model)->weights_size, other = sched_size(l->model, &l->spec), fixed;
        size_t page = model_kv_page_size(l->model, model_kv_type(l->model), SCHED_PAGE_SIZE);
        uint32_t context = l->spec.context, useful = MIN(context, (uint32_t)CONTEXT_USEFUL);
        if (!checked_add(weights, other, &fixed) || fixed > available || page == 0)
                return out_of_memory(l, weights, other, page, available, e);
        size_t fits = (available - fixed) / page, usable = (size_t)pages_for(context) * l->spec.slots;
        if (fits < pages_for(shrink ? useful : context))
                return out_of_memory(l, weights, other, page, available, e);
        l->spec.context = (uint32_t)MIN((size_t)context, fits * SCHED_PAGE_SIZE);
        l->spec.n_pages = (uint32_t)MIN(MIN(fits, usable), (size_t)INT32_MAX);
        l->weights = weights;
        l->other = other;
        l->kv = l->spec.n_pages * page;
        return 0;
}

static bool on_progress(float done, void *arg) {
        Loaded *l = arg;
        atomic_store(&l->progress, (uint32_t)(done * 1000));
        return true;
}

static int load_model(Loaded *l, Lane *lane, Error *e) {
        int r = model_load(l->model, lane->device, on_progress, l, e);
        if (r < 0)
                return r;
        EmbedSpec embed = embed_spec(l);
        return model_encoder(l->model) ? embed_new(lane, l->model, &embed, &l->runner, e)
                                       : sched_new(lane, l->model, &l->spec, &l->runner, e);
}

/* Whether vectors may be cut, as models trained for that say in their config.json. */
static void read_matryoshka(Loaded *l) {
        const HfModel *hf = model_hf(l->model);
        const json_t *config = hf ? hf_config(hf) : NULL, *sizes = json_object_get(config, "matryoshka_dimensions"), *v;
        size_t i;
        l->prep.matryoshka = json_is_true(json_object_get(config, "is_matryoshka")) || json_array_size(sizes) > 0;
        json_array_foreach(sizes, i, v)
                if (json_integer_value(v) > 0 && l->prep.n_matryoshka < ARRAY_SIZE(l->prep.matryoshka_dimensions))
                        l->prep.matryoshka_dimensions[l->prep.n_matryoshka++] = (uint32_t)json_integer_value(v);
}

int loaded_load(Loaded *l, Lane *lane, Error *e) {
        int r = l->test ? loadtest_new(l->test, l->spec.slots, &l->runner, e) : load_model(l, lane, e);
        if (r < 0)
                return r;
        l->prep = (PrepModel){
                .name = l->name, .tokenizer = l->tokenizer, .chat = l->prep.chat, .tool_chat = l->prep.tool_chat,
                .takes_last = l->test,
                .chat_error = l->chat_error.code == -ENOENT || l->chat_error.code == 0 ? NULL : l->chat_error.text,
                .n_vocab = l->test ? (uint32_t)tokenizer_n_tokens(l->tokenizer) : model_info(l->model)->n_vocab,
                .context = l->spec.context,
                .lookup_tokens = l->test ? 0 : l->spec.lookup_tokens,
                .sampling = l->sampling,
                .tree = &l->tree,
                .encoder = l->test ? NULL : model_encoder(l->model),
        };
        if (l->prep.encoder)
                read_matryoshka(l);
        return 0;
}

void loaded_free(Loaded *l) {
        if (!l)
                return;
        if (l->runner)
                l->runner->ops->free(l->runner);
        if (l->model)
                model_free(l->model);
        token_tree_free(l->tree.tree);
        if (l->tokenizer)
                tokenizer_free(l->tokenizer);
        chat_template_free(l->chat);
        chat_template_free(l->tool_chat);
        free(l->details);
        free(l->name);
        free(l->path);
        free(l);
}
