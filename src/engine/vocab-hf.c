/* tokenizer.json → TokenizerSpec → Tokenizer.
 *
 * A tokenizer.json describes a pipeline: added tokens are found in the text; what is between them is normalised, cut
 * into words (pre_tokenizer), and each word made into tokens (model); then tokens are put around it (post_processor).
 * The way back is the decoder. Of all that can be said so, these pipelines are the Tokenizer's kinds, and are
 * recognised:
 *
 *   byte-level BPE (GPT-2, Llama 3, Qwen)    pre_tokenizer: ByteLevel, with a regex before it that we know, or Digits;
 *                                            any normalizer that we have; decoder: ByteLevel
 *   SentencePiece-style BPE (Llama 2,        normalizer: Prepend and Replace that make spaces U+2581, or pre_tokenizer:
 *   Mistral)                                 Metaspace, which does both; decoder: undoes it
 *   WordPiece (BERT)                         pre_tokenizer: BertPreTokenizer, Whitespace or WhitespaceSplit; any
 *                                            normalizer
 *   Unigram (XLM-R, T5)                      pre_tokenizer: Metaspace, with WhitespaceSplit before it or not; any
 *                                            normalizer
 *
 * with a template of tokens that stand around the text, or two (TemplateProcessing, BertProcessing, RobertaProcessing).
 * Anything else would give other ids than the model was trained with, and is refused by its name. An added token of a
 * model with merges that says "normalized" is looked for in the text as it was written, as transformers' slow
 * tokenizers do. Truncation and padding, which the file may ask for too, are the caller's.
 *
 * Where there is no tokenizer.json, SentencePiece's own file is read (vocab-sp.c), or what vocab.txt, or vocab.json and
 * merges.txt say is brought into a tokenizer.json's form (vocab-hf-plain.c). */
#include <errno.h>

#include "engine/vocab-hf-internal.h"

#define FILE_NAME "tokenizer.json"

static void reader_deinit(Reader *v) {
        json_decref(v->root);
        model_file_close(&v->model_file);
        map_deinit(&v->ids);
        free(v->tokens);
        free(v->merges);
        free(v->types);
        free(v->added);
        free(v->scores);
        free(v->log_probs);
        buf_deinit(&v->texts);
        buf_deinit(&v->charsmap);
}

/* ---- JSON ---- */

const json_t *json_member(const json_t *object, const char *key) {
        const json_t *value = json_object_get(object, key);
        return json_is_null(value) ? NULL : value;
}

bool json_is(const json_t *value, const char *text) {
        return json_is_string(value) && json_string_length(value) == strlen(text) &&
               memcmp(json_string_value(value), text, strlen(text)) == 0;
}

bool json_has(const json_t *object, const char *key, const char *text) {
        return json_is(json_member(object, key), text);
}

bool json_has_type(const json_t *part, const char *type) {
        return json_has(part, "type", type);
}

bool json_flag(const json_t *object, const char *key, bool otherwise) {
        const json_t *value = json_member(object, key);
        return value ? json_is_true(value) : otherwise;
}

char *json_shown(char *buf, const json_t *text) {
        return file_text(buf, SHOWN_MAX,
                         json_is_string(text) ? (FileText){json_string_value(text), json_string_length(text)}
                                              : (FileText){"?", 1});
}

int reader_refuse_part(const Reader *v, const char *where, const json_t *part) {
        char text[SHOWN_MAX];
        return REFUSE(v, -EOPNOTSUPP, "the %s '%s', as it is used here, is not supported", where,
                      json_shown(text, json_member(part, "type")));
}

int reader_stage(const Reader *v, const char *name, const char *list, Stage *ret) {
        const json_t *stage = json_member(v->root, name), *parts = json_member(stage, list);
        *ret = (Stage){.name = name};
        if (!stage)
                return 0;
        if (!json_has_type(stage, "Sequence")) {
                ret->parts[ret->n++] = stage;
                return 0;
        }
        if (!json_is_array(parts) || json_array_size(parts) > PARTS_MAX)
                return REFUSE(v, -EOPNOTSUPP, "its %s is not a list of at most %d parts", name, PARTS_MAX);
        for (; ret->n < json_array_size(parts); ret->n++)
                ret->parts[ret->n] = json_array_get(parts, ret->n);
        return 0;
}

/* ---- special tokens ---- */

/* tokenizer_config.json's "bos_token" is a text, or an object with it, or null. */
static int read_named(const Reader *v, const char *key, int32_t *ret) {
        const json_t *name = json_member(hf_tokenizer_config(v->h), key);
        char text[SHOWN_MAX];
        if (json_is_object(name))
                name = json_member(name, "content");
        if (!name)
                return 0;
        *ret = reader_find_token(v, name);
        return *ret >= 0 ? 0
                         : HF_REFUSE(v->h, v->e, -EINVAL, "tokenizer_config.json: its %s '%s' is no token of %s", key,
                                     json_shown(text, name), v->file);
}

static bool is_id(const Reader *v, const json_t *id) {
        return json_is_integer(id) && json_integer_value(id) >= 0 && (size_t)json_integer_value(id) < v->spec.n_tokens;
}

static int add_end(Reader *v, const char *file, const json_t *id) {
        if (!is_id(v, id))
                return HF_REFUSE(v->h, v->e, -EINVAL, "%s: its eos_token_id is no token of %s", file, v->file);
        if (v->spec.n_ends == ENDS_MAX)
                return HF_REFUSE(v->h, v->e, -EOPNOTSUPP, "%s: more than %d eos_token_id are not supported", file,
                                 ENDS_MAX);
        v->ends[v->spec.n_ends++] = (int32_t)json_integer_value(id);
        return 0;
}

/* eos_token_id: one, several or none. */
static int read_ends(Reader *v, const char *file, const json_t *config) {
        const json_t *ids = json_member(config, "eos_token_id");
        size_t i;
        json_t *id;
        int k = ids && !json_is_array(ids) ? add_end(v, file, ids) : 0;
        json_array_foreach(ids, i, id)
                if (k == 0)
                        k = add_end(v, file, id);
        v->spec.ends = v->ends;
        return k;
}

/* Room for one more part. */
static bool put_part(Template *t, int32_t id, json_int_t type) {
        if (t->n == TEMPLATE_MAX || type < 0 || type > UINT8_MAX)
                return false;
        t->parts[t->n++] = (TemplatePart){id, (uint8_t)type};
        return true;
}

/* The tokens that a template names by one name. */
static int read_template_token(const Reader *v, const json_t *processor, const json_t *item, Template *ret) {
        const json_t *name = json_member(item, "id"), *tokens = json_member(processor, "special_tokens"), *ids, *id;
        size_t i;
        ids = json_is_string(name) ? json_member(json_member(tokens, json_string_value(name)), "ids") : NULL;
        if (json_array_size(ids) == 0)
                return REFUSE(v, -EINVAL, "its post_processor names a special token that it does not define");
        json_array_foreach(ids, i, id) {
                if (!is_id(v, id))
                        return REFUSE(v, -EINVAL, "its post_processor names a special token that has no id");
                if (!put_part(ret, (int32_t)json_integer_value(id), json_integer_value(json_member(item, "type_id"))))
                        return reader_refuse_part(v, "post_processor", processor);
        }
        return 0;
}

/* [{"SpecialToken": {"id": name, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, …] */
static int read_template(const Reader *v, const json_t *processor, const char *key, Template *ret) {
        const json_t *list = json_member(processor, key);
        ret->n = 0;
        for (size_t i = 0; i < json_array_size(list); i++) {
                const json_t *item = json_array_get(list, i), *special = json_member(item, "SpecialToken"),
                             *text = json_member(item, "Sequence");
                int32_t place = json_has(text, "id", "A") ? TEMPLATE_FIRST : TEMPLATE_SECOND;
                int k = special ? read_template_token(v, processor, special, ret) : 0;
                if (k < 0)
                        return k;
                if (!special && ((place == TEMPLATE_SECOND && !json_has(text, "id", "B")) ||
                                 !put_part(ret, place, json_integer_value(json_member(text, "type_id")))))
                        return reader_refuse_part(v, "post_processor", processor);
        }
        return ret->n > 0 ? 0 : reader_refuse_part(v, "post_processor", processor);
}

static int read_cls_sep(Reader *v, const json_t *processor, bool roberta) {
        const json_t *cls = json_array_get(json_member(processor, "cls"), 1),
                     *sep = json_array_get(json_member(processor, "sep"), 1);
        if (!is_id(v, cls) || !is_id(v, sep))
                return REFUSE(v, -EINVAL, "its post_processor's cls or sep is no token with its id");
        int32_t first = (int32_t)json_integer_value(cls), last = (int32_t)json_integer_value(sep);
        v->spec.single = template_bos_eos(first, last, 1);
        v->spec.pair = roberta ? template_pair_roberta(first, last) : template_pair_bert(first, last);
        return 0;
}

static int read_processor(Reader *v, const json_t *part) {
        if (json_has_type(part, "ByteLevel")) /* which is about offsets */
                return 0;
        if (v->spec.single.n > 0)
                return reader_refuse_part(v, "post_processor", part);
        if (json_has_type(part, "BertProcessing") || json_has_type(part, "RobertaProcessing"))
                return read_cls_sep(v, part, json_has_type(part, "RobertaProcessing"));
        if (!json_has_type(part, "TemplateProcessing"))
                return reader_refuse_part(v, "post_processor", part);
        int k = read_template(v, part, "single", &v->spec.single);
        return k < 0 || !json_member(part, "pair") ? k : read_template(v, part, "pair", &v->spec.pair);
}

static int read_post_processor(Reader *v) {
        Stage s;
        int k = reader_stage(v, "post_processor", "processors", &s);
        for (size_t i = 0; i < s.n && k == 0; i++)
                k = read_processor(v, s.parts[i]);
        if (k < 0)
                return k;
        const Template *t = &v->spec.single;
        if (t->n > 0 && t->parts[0].id >= 0)
                v->spec.bos = t->parts[0].id;
        if (t->n > 0 && t->parts[t->n - 1].id >= 0)
                v->spec.eos = t->parts[t->n - 1].id;
        return 0;
}

/* As transformers: the configuration's wish goes before the post-processor's. */
static int apply_wish(Reader *v) {
        const json_t *config = hf_tokenizer_config(v->h), *bos = json_member(config, "add_bos_token"),
                     *eos = json_member(config, "add_eos_token");
        const Template *t = &v->spec.single;
        if (!bos && !eos)
                return 0;
        bool add_bos = json_flag(config, "add_bos_token", t->n > 0 && t->parts[0].id >= 0),
             add_eos = json_flag(config, "add_eos_token", t->n > 0 && t->parts[t->n - 1].id >= 0);
        if ((add_bos && v->spec.bos < 0) || (add_eos && v->spec.eos < 0))
                return HF_REFUSE(v->h, v->e, -EINVAL,
                                 "tokenizer_config.json: wants a token added that it does not name");
        v->spec.single = template_bos_eos(add_bos ? v->spec.bos : -1, add_eos ? v->spec.eos : -1, 1);
        v->spec.pair = template_bos_eos(add_bos ? v->spec.bos : -1, add_eos ? v->spec.eos : -1, 2);
        return 0;
}

static int read_special(Reader *v) {
        int k;
        if ((k = read_named(v, "bos_token", &v->spec.bos)) < 0 || (k = read_named(v, "eos_token", &v->spec.eos)) < 0 ||
            (k = read_post_processor(v)) < 0 || (k = apply_wish(v)) < 0 ||
            (k = read_ends(v, "generation_config.json", hf_generation_config(v->h))) < 0)
                return k;
        return read_ends(v, "config.json", hf_config(v->h));
}

/* ---- all of it ---- */

/* Finds the files; a JSON, or SentencePiece's straight into the spec. */
static int read_files(Reader *v) {
        int k = hf_read_json(v->h, FILE_NAME, &v->root, v->e);
        if (k == -ENOENT)
                k = reader_sentencepiece(v);
        if (k == -ENOENT)
                k = reader_plain(v);
        if (k == -ENOENT)
                return HF_REFUSE(v->h, v->e, k, "has no " FILE_NAME ", nor a tokenizer.model, sentencepiece.bpe.model, "
                                               "spiece.model, vocab.txt or vocab.json");
        return k;
}

static int read_all(Reader *v) {
        int k = read_files(v);
        if (k == 0 && v->root)
                k = reader_model_kind(v);
        if (k == 0 && v->root)
                k = reader_front(v);
        if (k == 0 && v->root)
                k = reader_model(v);
        return k < 0 ? k : read_special(v);
}

int vocab_hf_tokenizer_new(const HfModel *h, Tokenizer **ret, Error *e) {
        _cleanup_(reader_deinit) Reader v = {.h = h, .e = e, .file = FILE_NAME};
        v.spec.bos = v.spec.eos = v.spec.eot = v.spec.unk = -1;
        int k = read_all(&v);
        if (k < 0)
                return k;
        k = tokenizer_new(&v.spec, ret, e);
        if (k < 0)
                error_prefix(e, "%s: %s", hf_label(h), v.file);
        return k;
}
