/* tokenizer.json → TokenizerSpec → Tokenizer.
 *
 * A tokenizer.json describes a pipeline: added tokens are found in the text; what is between them is normalised, cut
 * into words (pre_tokenizer), and each word made into tokens (model); then tokens are put around it (post_processor).
 * The way back is the decoder. Of all that can be said so, two pipelines are the Tokenizer's kinds, and are recognised:
 *
 *   byte-level BPE (GPT-2, Llama 3, Qwen)    normalizer: none or NFC; pre_tokenizer: ByteLevel, with a regex before it
 *                                            that we know, or Digits; decoder: ByteLevel
 *   SentencePiece-style BPE (Llama 2,        normalizer: Prepend and Replace that make spaces U+2581, or pre_tokenizer:
 *   Mistral)                                 Metaspace, which does both; decoder: undoes it
 *
 * with a template of tokens that stand around the text, or two (TemplateProcessing, BertProcessing, RobertaProcessing).
 * Anything else would give other ids than
 * the model was trained with, and is refused by its name. An added token that says "normalized" is looked for in the
 * text as it was written, as transformers' slow tokenizers do. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/vocab-hf.h"
#include "text/pretokenizer.h"
#include "util/buf.h"

#define FILE_NAME "tokenizer.json"
#define SPACE_MARK "\xe2\x96\x81" /* U+2581 */

enum { PARTS_MAX = 8, SHOWN_MAX = 80, ENDS_MAX = 64, BYTES = 256 };

#define REFUSE(v, code, fmt, ...) HF_REFUSE((v)->h, (v)->e, code, FILE_NAME ": " fmt, ##__VA_ARGS__)

typedef struct Reader {
        const HfModel *h;
        Error *e;
        json_t *root;
        const json_t *vocab;
        TokenizerSpec spec;
        TokenText *tokens, *merges; /* in root, or in merge_text */
        int32_t *types;
        size_t cap;
        bool byte_fallback;
        Buf merge_text;
        char pre[32];
        int32_t ends[ENDS_MAX];
} Reader;

static void reader_deinit(Reader *v) {
        json_decref(v->root);
        free(v->tokens);
        free(v->merges);
        free(v->types);
        buf_deinit(&v->merge_text);
}

/* ---- JSON ---- */

static const json_t *get(const json_t *object, const char *key) {
        const json_t *value = json_object_get(object, key);
        return json_is_null(value) ? NULL : value;
}

static bool is_text(const json_t *value, const char *text) {
        return json_is_string(value) && json_string_length(value) == strlen(text) &&
               memcmp(json_string_value(value), text, strlen(text)) == 0;
}

static bool has_text(const json_t *object, const char *key, const char *text) {
        return is_text(get(object, key), text);
}

static bool has_type(const json_t *part, const char *type) {
        return has_text(part, "type", type);
}

/* Where the key is absent, `otherwise`. */
static bool flag(const json_t *object, const char *key, bool otherwise) {
        const json_t *value = get(object, key);
        return value ? json_is_true(value) : otherwise;
}

static char *shown(char *buf, const json_t *text) {
        return file_text(buf, SHOWN_MAX,
                         json_is_string(text) ? (FileText){json_string_value(text), json_string_length(text)}
                                              : (FileText){"?", 1});
}

/* Refuses a part of the pipeline by its type. */
static int refuse_part(const Reader *v, const char *where, const json_t *part) {
        char text[SHOWN_MAX];
        return REFUSE(v, -EOPNOTSUPP, "the %s '%s', as it is used here, is not supported", where,
                      shown(text, get(part, "type")));
}

/* The parts of a stage of the pipeline: none, one, or a Sequence's. */
typedef struct Stage {
        const char *name;
        const json_t *parts[PARTS_MAX];
        size_t n;
} Stage;

static int read_stage(const Reader *v, const char *name, const char *list, Stage *ret) {
        const json_t *stage = get(v->root, name), *parts = get(stage, list);
        *ret = (Stage){.name = name};
        if (!stage)
                return 0;
        if (!has_type(stage, "Sequence")) {
                ret->parts[ret->n++] = stage;
                return 0;
        }
        if (!json_is_array(parts) || json_array_size(parts) > PARTS_MAX)
                return REFUSE(v, -EOPNOTSUPP, "its %s is not a list of at most %d parts", name, PARTS_MAX);
        for (; ret->n < json_array_size(parts); ret->n++)
                ret->parts[ret->n] = json_array_get(parts, ret->n);
        return 0;
}

/* ---- pre-tokenizer and normalizer ---- */

static int set_rule(Reader *v, const PretokenizerRule *rule) {
        v->spec.kind = TOKENIZER_BPE;
        snprintf(v->pre, sizeof(v->pre), "%.*s", (int)strcspn(rule->names, " "), rule->names);
        v->spec.pre = v->pre;
        return 0;
}

static int read_split(Reader *v, const json_t *split) {
        const json_t *regex = get(get(split, "pattern"), "Regex");
        const PretokenizerRule *rule =
                json_is_string(regex) ? pretokenizer_rule_published(json_string_value(regex)) : NULL;
        char text[SHOWN_MAX];
        if (regex && !rule)
                return REFUSE(v, -EOPNOTSUPP, "the pre_tokenizer's regex '%s' is none that is known",
                              shown(text, regex));
        if (!rule || !has_text(split, "behavior", "Isolated") || flag(split, "invert", false))
                return refuse_part(v, "pre_tokenizer", split);
        return set_rule(v, rule);
}

/* [Split or Digits,] ByteLevel: the latter cuts by GPT-2's regex itself, unless told not to. */
static int read_byte_level(Reader *v, const Stage *s) {
        const json_t *last = s->parts[s->n - 1], *first = s->n == 2 ? s->parts[0] : NULL;
        bool use_regex = flag(last, "use_regex", true), digits = first && has_type(first, "Digits");
        if (s->n > 2)
                return refuse_part(v, s->name, s->parts[0]);
        if (flag(last, "add_prefix_space", true) || (first && !digits && use_regex) || (!first && !use_regex))
                return refuse_part(v, s->name, last);
        if (!first)
                return set_rule(v, pretokenizer_rule("gpt-2"));
        if (digits && use_regex && flag(first, "individual_digits", false))
                return set_rule(v, pretokenizer_rule("smollm"));
        return has_type(first, "Split") ? read_split(v, first) : refuse_part(v, s->name, first);
}

/* Spaces become U+2581, and one may be put in front. */
static int read_metaspace(Reader *v, const json_t *part) {
        const json_t *scheme = get(part, "prepend_scheme");
        if (!has_text(part, "replacement", SPACE_MARK) || flag(part, "split", true))
                return refuse_part(v, "pre_tokenizer", part);
        if (is_text(scheme, "first"))
                v->spec.space_prefix = SPACE_PREFIX_FIRST_MISSING;
        else if (scheme ? is_text(scheme, "always") : flag(part, "add_prefix_space", true))
                v->spec.space_prefix = SPACE_PREFIX_ALWAYS_MISSING;
        else if (scheme && !is_text(scheme, "never"))
                return refuse_part(v, "pre_tokenizer", part);
        return 0;
}

static bool replaces(const json_t *part, const char *from, const char *to) {
        return has_type(part, "Replace") && has_text(get(part, "pattern"), "String", from) &&
               has_text(part, "content", to);
}

/* [Prepend U+2581,] Replace " " by U+2581 */
static int read_spm_normalizer(Reader *v, const Stage *s) {
        size_t i = 0;
        if (i < s->n && has_type(s->parts[i], "Prepend") && has_text(s->parts[i], "prepend", SPACE_MARK)) {
                v->spec.space_prefix = SPACE_PREFIX_ALWAYS;
                i++;
        }
        if (i == s->n)
                return REFUSE(v, -EOPNOTSUPP,
                              "neither its normalizer nor its pre_tokenizer says how spaces are written");
        if (replaces(s->parts[i], " ", SPACE_MARK))
                i++;
        return i < s->n ? refuse_part(v, s->name, s->parts[i]) : 0;
}

static int read_bpe_normalizer(Reader *v, const Stage *s) {
        for (size_t i = 0; i < s->n; i++)
                if (!has_type(s->parts[i], "NFC"))
                        return refuse_part(v, s->name, s->parts[i]);
        static const NormalizerStep nfc = {.kind = NORMALIZE_NFC};
        v->spec.normalizer = &nfc;
        v->spec.n_normalizer = s->n > 0;
        return 0;
}

static int read_front(Reader *v) {
        Stage words, normalizer;
        int k = read_stage(v, "pre_tokenizer", "pretokenizers", &words);
        if (k < 0 || (k = read_stage(v, "normalizer", "normalizers", &normalizer)) < 0)
                return k;
        v->spec.kind = TOKENIZER_SPM;
        if (words.n == 0)
                return read_spm_normalizer(v, &normalizer);
        if (words.n == 1 && has_type(words.parts[0], "Metaspace")) {
                k = read_metaspace(v, words.parts[0]);
                return k < 0 || normalizer.n == 0 ? k : refuse_part(v, normalizer.name, normalizer.parts[0]);
        }
        if (!has_type(words.parts[words.n - 1], "ByteLevel"))
                return refuse_part(v, words.name, words.parts[words.n - 1]);
        k = read_byte_level(v, &words);
        return k < 0 ? k : read_bpe_normalizer(v, &normalizer);
}

static bool decodes(const Reader *v, const json_t *part) {
        if (v->spec.kind == TOKENIZER_BPE)
                return has_type(part, "ByteLevel");
        return has_type(part, "ByteFallback") || has_type(part, "Fuse") || replaces(part, SPACE_MARK, " ") ||
               (has_type(part, "Metaspace") && has_text(part, "replacement", SPACE_MARK)) ||
               (has_type(part, "Strip") && has_text(part, "content", " ") &&
                json_integer_value(get(part, "start")) == 1 && json_integer_value(get(part, "stop")) == 0);
}

static int check_decoder(const Reader *v) {
        Stage s;
        int k = read_stage(v, "decoder", "decoders", &s);
        for (size_t i = 0; i < s.n && k == 0; i++)
                if (!decodes(v, s.parts[i]))
                        k = refuse_part(v, s.name, s.parts[i]);
        return k;
}

/* ---- model ---- */

/* Parts of the model that would change the result, and are not computed here. */
static int check_options(const Reader *v, const json_t *model) {
        static const char *const marks[] = {"continuing_subword_prefix", "end_of_word_suffix"};
        bool spm = v->spec.kind == TOKENIZER_SPM;
        for (size_t i = 0; i < ARRAY_SIZE(marks); i++)
                if (get(model, marks[i]) && !has_text(model, marks[i], ""))
                        return REFUSE(v, -EOPNOTSUPP, "its model's %s is not supported", marks[i]);
        if (json_number_value(get(model, "dropout")) != 0)
                return REFUSE(v, -EOPNOTSUPP, "its model's dropout is not supported");
        if (!spm && v->byte_fallback)
                return REFUSE(v, -EOPNOTSUPP, "byte_fallback beside a ByteLevel pre_tokenizer is not supported");
        if (spm && v->spec.ignore_merges)
                return REFUSE(v, -EOPNOTSUPP, "ignore_merges without a ByteLevel pre_tokenizer is not supported");
        if (spm && !v->byte_fallback && !flag(model, "fuse_unk", false))
                return REFUSE(v, -EOPNOTSUPP, "a model with neither byte_fallback nor fuse_unk is not supported");
        return 0;
}

/* Old files leave the type out; of those that do, BPE is the one with merges. */
static int check_type(const Reader *v, const json_t *model) {
        char text[SHOWN_MAX];
        if (!json_is_object(model))
                return REFUSE(v, -EINVAL, "has no model");
        if (get(model, "type") && !has_type(model, "BPE"))
                return REFUSE(v, -EOPNOTSUPP, "its model '%s' is not supported; BPE is",
                              shown(text, get(model, "type")));
        if (!get(model, "merges"))
                return REFUSE(v, -EOPNOTSUPP, "its model has no merges, so it is not BPE, which alone is supported");
        return 0;
}

static int read_model(Reader *v, const json_t *model) {
        v->vocab = get(model, "vocab");
        if (json_object_size(v->vocab) == 0)
                return REFUSE(v, -EINVAL, "its model has no vocab");
        v->byte_fallback = flag(model, "byte_fallback", false);
        v->spec.ignore_merges = flag(model, "ignore_merges", false);
        return check_options(v, model);
}

/* Enters a token; the same one may come twice, from the vocabulary and as an added token. */
static int put_token(Reader *v, const char *text, size_t len, const json_t *number, TokenType type) {
        char name[SHOWN_MAX], other[SHOWN_MAX];
        json_int_t id = json_integer_value(number);
        file_text(name, sizeof(name), (FileText){text, len});
        if (!json_is_integer(number) || id < 0 || (size_t)id >= v->cap)
                return REFUSE(v, -EINVAL, "token '%s' has no id from 0 to %zu, which its number of tokens allows", name,
                              v->cap - 1);
        TokenText *t = &v->tokens[id];
        if (t->data && (t->len != len || memcmp(t->data, text, len) != 0))
                return REFUSE(v, -EINVAL, "tokens '%s' and '%s' have the same id %lld", name,
                              file_text(other, sizeof(other), (FileText){t->data, t->len}), (long long)id);
        *t = (TokenText){text, len};
        v->types[id] = type;
        v->spec.n_tokens = MAX(v->spec.n_tokens, (size_t)id + 1);
        return 0;
}

static bool is_byte_token(const char *text) {
        return strlen(text) == 6 && memcmp(text, "<0x", 3) == 0 && strspn(text + 3, "0123456789ABCDEF") == 2 &&
               text[5] == '>';
}

static int read_vocab(Reader *v) {
        const char *text;
        json_t *id;
        size_t bytes = 0;
        json_object_foreach((json_t *)v->vocab, text, id) {
                bool byte = v->byte_fallback && is_byte_token(text);
                int k = put_token(v, text, strlen(text), id, byte ? TOKEN_BYTE : TOKEN_NORMAL);
                if (k < 0)
                        return k;
                bytes += byte;
        }
        if (v->byte_fallback && bytes != BYTES)
                return REFUSE(v, -EOPNOTSUPP,
                              "byte_fallback with %zu of the %d byte tokens <0x00>…<0xFF> is not supported", bytes,
                              BYTES);
        return 0;
}

static int read_added_token(Reader *v, const json_t *t) {
        static const char *const options[] = {"single_word", "lstrip", "rstrip"};
        const json_t *content = get(t, "content"), *in_vocab;
        char text[SHOWN_MAX];
        if (!json_is_string(content) || json_string_length(content) == 0)
                return REFUSE(v, -EINVAL, "has an added token without content");
        shown(text, content);
        for (size_t i = 0; i < ARRAY_SIZE(options); i++)
                if (flag(t, options[i], false))
                        return REFUSE(v, -EOPNOTSUPP, "its added token '%s' has %s, which is not supported", text,
                                      options[i]);
        in_vocab = json_object_get(v->vocab, json_string_value(content));
        if (in_vocab && !json_equal(in_vocab, get(t, "id")))
                return REFUSE(v, -EINVAL, "its added token '%s' has another id in the vocabulary", text);
        return put_token(v, json_string_value(content), json_string_length(content), get(t, "id"),
                         flag(t, "special", false) ? TOKEN_CONTROL : TOKEN_USER_DEFINED);
}

static int read_tokens(Reader *v) {
        size_t i;
        json_t *t;
        const json_t *added = get(v->root, "added_tokens");
        v->cap = json_object_size(v->vocab) + json_array_size(added);
        v->tokens = calloc(v->cap, sizeof(*v->tokens));
        v->types = calloc(v->cap, sizeof(*v->types));
        if (!v->tokens || !v->types)
                return REFUSE(v, -ENOMEM, "not enough memory for a vocabulary of %zu tokens", v->cap);
        int k = read_vocab(v);
        json_array_foreach(added, i, t)
                if (k == 0)
                        k = read_added_token(v, t);
        for (i = 0; i < v->spec.n_tokens && k == 0; i++)
                if (!v->tokens[i].data)
                        k = REFUSE(v, -EINVAL, "its vocabulary has a gap: no token has the id %zu", i);
        v->spec.tokens = v->tokens;
        v->spec.types = v->types;
        return k;
}

/* "left right", or in newer files ["left", "right"], of which the text is made in merge_text. */
static int read_merge(Reader *v, size_t i, const json_t *merge) {
        const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
        if (json_is_string(merge)) {
                v->merges[i] = (TokenText){json_string_value(merge), json_string_length(merge)};
                return 0;
        }
        if (json_array_size(merge) != 2 || !json_is_string(left) || !json_is_string(right))
                return REFUSE(v, -EINVAL, "merge %zu is not two texts", i);
        if (strchr(json_string_value(left), ' ') || strchr(json_string_value(right), ' '))
                return REFUSE(v, -EOPNOTSUPP, "merge %zu has a space in it, which is not supported", i);
        size_t start = v->merge_text.len;
        buf_put(&v->merge_text, json_string_value(left), json_string_length(left));
        buf_putc(&v->merge_text, ' ');
        buf_put(&v->merge_text, json_string_value(right), json_string_length(right));
        v->merges[i].len = v->merge_text.len - start; /* where it is, is known when all are there */
        return v->merge_text.failed ? REFUSE(v, -ENOMEM, "not enough memory for its merges") : 0;
}

static int read_merges(Reader *v, const json_t *merges) {
        size_t i;
        json_t *merge;
        if (!json_is_array(merges))
                return REFUSE(v, -EINVAL, "its model's merges are not a list");
        v->spec.n_merges = json_array_size(merges);
        v->merges = calloc(MAX(v->spec.n_merges, (size_t)1), sizeof(*v->merges));
        if (!v->merges)
                return REFUSE(v, -ENOMEM, "not enough memory for its merges");
        json_array_foreach(merges, i, merge) {
                int k = read_merge(v, i, merge);
                if (k < 0)
                        return k;
        }
        const char *at = v->merge_text.data;
        for (i = 0; i < v->spec.n_merges; i++)
                if (!v->merges[i].data) {
                        v->merges[i].data = at;
                        at += v->merges[i].len;
                }
        v->spec.merges = v->merges;
        return 0;
}

/* ---- special tokens ---- */

/* The id of a token by its text, or -1. For the few special ones. */
static int32_t find_token(const Reader *v, const json_t *text) {
        for (size_t i = 0; i < v->spec.n_tokens && json_is_string(text); i++)
                if (v->tokens[i].len == json_string_length(text) &&
                    memcmp(v->tokens[i].data, json_string_value(text), v->tokens[i].len) == 0)
                        return (int32_t)i;
        return -1;
}

/* tokenizer_config.json's "bos_token" is a text, or an object with it, or null. */
static int read_named(const Reader *v, const char *key, int32_t *ret) {
        const json_t *name = get(hf_tokenizer_config(v->h), key);
        char text[SHOWN_MAX];
        if (json_is_object(name))
                name = get(name, "content");
        if (!name)
                return 0;
        *ret = find_token(v, name);
        return *ret >= 0
                       ? 0
                       : HF_REFUSE(v->h, v->e, -EINVAL, "tokenizer_config.json: its %s '%s' is no token of " FILE_NAME,
                                   key, shown(text, name));
}

static bool is_id(const Reader *v, const json_t *id) {
        return json_is_integer(id) && json_integer_value(id) >= 0 &&
               (size_t)json_integer_value(id) < v->spec.n_tokens;
}

static int add_end(Reader *v, const char *file, const json_t *id) {
        if (!is_id(v, id))
                return HF_REFUSE(v->h, v->e, -EINVAL, "%s: its eos_token_id is no token of " FILE_NAME, file);
        if (v->spec.n_ends == ENDS_MAX)
                return HF_REFUSE(v->h, v->e, -EOPNOTSUPP, "%s: more than %d eos_token_id are not supported", file,
                                 ENDS_MAX);
        v->ends[v->spec.n_ends++] = (int32_t)json_integer_value(id);
        return 0;
}

/* eos_token_id: one, several or none. */
static int read_ends(Reader *v, const char *file, const json_t *config) {
        const json_t *ids = get(config, "eos_token_id");
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
        const json_t *name = get(item, "id"), *ids, *id;
        size_t i;
        ids = json_is_string(name) ? get(get(get(processor, "special_tokens"), json_string_value(name)), "ids") : NULL;
        if (json_array_size(ids) == 0)
                return REFUSE(v, -EINVAL, "its post_processor names a special token that it does not define");
        json_array_foreach(ids, i, id) {
                if (!is_id(v, id))
                        return REFUSE(v, -EINVAL, "its post_processor names a special token that has no id");
                if (!put_part(ret, (int32_t)json_integer_value(id), json_integer_value(get(item, "type_id"))))
                        return refuse_part(v, "post_processor", processor);
        }
        return 0;
}

/* [{"SpecialToken": {"id": name, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, …] */
static int read_template(const Reader *v, const json_t *processor, const char *key, Template *ret) {
        const json_t *list = get(processor, key);
        ret->n = 0;
        for (size_t i = 0; i < json_array_size(list); i++) {
                const json_t *item = json_array_get(list, i), *special = get(item, "SpecialToken"),
                             *text = get(item, "Sequence");
                int32_t place = has_text(text, "id", "A") ? TEMPLATE_FIRST : TEMPLATE_SECOND;
                int k = special ? read_template_token(v, processor, special, ret) : 0;
                if (k < 0)
                        return k;
                if (!special && ((place == TEMPLATE_SECOND && !has_text(text, "id", "B")) ||
                                 !put_part(ret, place, json_integer_value(get(text, "type_id")))))
                        return refuse_part(v, "post_processor", processor);
        }
        return ret->n > 0 ? 0 : refuse_part(v, "post_processor", processor);
}

/* Bert: [CLS] A [SEP], and B [SEP] of type 1. Roberta: <s> A </s>, and </s> B </s>, all of type 0. */
static int read_cls_sep(Reader *v, const json_t *processor, bool roberta) {
        const json_t *cls = json_array_get(get(processor, "cls"), 1), *sep = json_array_get(get(processor, "sep"), 1);
        if (!is_id(v, cls) || !is_id(v, sep))
                return REFUSE(v, -EINVAL, "its post_processor's cls or sep is no token with its id");
        int32_t first = (int32_t)json_integer_value(cls), last = (int32_t)json_integer_value(sep);
        v->spec.single = template_bos_eos(first, last, 1);
        v->spec.pair = v->spec.single;
        if (roberta)
                put_part(&v->spec.pair, last, 0);
        put_part(&v->spec.pair, TEMPLATE_SECOND, !roberta);
        put_part(&v->spec.pair, last, !roberta);
        return 0;
}

static int read_processor(Reader *v, const json_t *part) {
        if (has_type(part, "ByteLevel")) /* which is about offsets */
                return 0;
        if (v->spec.single.n > 0)
                return refuse_part(v, "post_processor", part);
        if (has_type(part, "BertProcessing") || has_type(part, "RobertaProcessing"))
                return read_cls_sep(v, part, has_type(part, "RobertaProcessing"));
        if (!has_type(part, "TemplateProcessing"))
                return refuse_part(v, "post_processor", part);
        int k = read_template(v, part, "single", &v->spec.single);
        return k < 0 || !get(part, "pair") ? k : read_template(v, part, "pair", &v->spec.pair);
}

static int read_post_processor(Reader *v) {
        Stage s;
        int k = read_stage(v, "post_processor", "processors", &s);
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
        const json_t *config = hf_tokenizer_config(v->h), *bos = get(config, "add_bos_token"),
                     *eos = get(config, "add_eos_token");
        const Template *t = &v->spec.single;
        if (!bos && !eos)
                return 0;
        bool add_bos = flag(config, "add_bos_token", t->n > 0 && t->parts[0].id >= 0),
             add_eos = flag(config, "add_eos_token", t->n > 0 && t->parts[t->n - 1].id >= 0);
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

/* The unknown token is not text, even where nobody listed it as added. */
static int read_unknown(Reader *v, const json_t *model) {
        const json_t *unk = get(model, "unk_token");
        char text[SHOWN_MAX];
        if (!unk)
                return 0;
        v->spec.unk = find_token(v, unk);
        if (v->spec.unk < 0)
                return REFUSE(v, -EINVAL, "its unk_token '%s' is no token", shown(text, unk));
        if (v->types[v->spec.unk] == TOKEN_NORMAL)
                v->types[v->spec.unk] = TOKEN_UNKNOWN;
        return 0;
}

/* ---- all of it ---- */

static int read_all(Reader *v) {
        int k = hf_read_json(v->h, FILE_NAME, &v->root, v->e);
        if (k == -ENOENT)
                return HF_REFUSE(v->h, v->e, k,
                                 "has no " FILE_NAME
                                 "; AutoTokenizer.save_pretrained() of transformers makes one of other vocabularies");
        const json_t *model = get(v->root, "model");
        if (k < 0 || (k = check_type(v, model)) < 0 || (k = read_front(v)) < 0 || (k = read_model(v, model)) < 0 ||
            (k = check_decoder(v)) < 0 || (k = read_tokens(v)) < 0 || (k = read_unknown(v, model)) < 0 ||
            (k = read_merges(v, get(model, "merges"))) < 0)
                return k;
        return read_special(v);
}

int vocab_hf_tokenizer_new(const HfModel *h, Tokenizer **ret, Error *e) {
        _cleanup_(reader_deinit) Reader v = {.h = h, .e = e, .spec = {.bos = -1, .eos = -1, .eot = -1, .unk = -1}};
        int k = read_all(&v);
        if (k < 0)
                return k;
        k = tokenizer_new(&v.spec, ret, e);
        if (k < 0)
                error_prefix(e, "%s: " FILE_NAME, hf_label(h));
        return k;
}
