/* The model of a tokenizer.json: its vocabulary, merges or scores, and the added tokens.
 *
 * BPE and WordPiece have {text: id, …}, Unigram [[text, score], …] in the order of ids. Added tokens may be tokens of
 * the model as well. */
#include <errno.h>
#include <math.h>

#include "engine/vocab-hf-internal.h"

enum { BYTES = 256 };
#define UNK_PENALTY 10.0 /* how much less probable an unknown character is than any token (unigram_model.cc) */

static const json_t *model_of(const Reader *v) {
        return json_member(v->root, "model");
}

static bool merges(const Reader *v) {
        return v->spec.kind == TOKENIZER_SPM || v->spec.kind == TOKENIZER_BPE;
}

/* ---- tokens ---- */

int reader_reserve(Reader *v, size_t n) {
        v->cap = n;
        v->tokens = calloc(MAX(n, (size_t)1), sizeof(*v->tokens));
        v->types = calloc(MAX(n, (size_t)1), sizeof(*v->types));
        v->added = calloc(MAX(n, (size_t)1), sizeof(*v->added));
        v->log_probs = calloc(MAX(n, (size_t)1), sizeof(*v->log_probs));
        if (!v->tokens || !v->types || !v->added || !v->log_probs || map_init(&v->ids, n) < 0)
                return REFUSE(v, -ENOMEM, "not enough memory for a vocabulary of %zu tokens", n);
        v->spec.tokens = v->tokens;
        v->spec.types = v->types;
        v->spec.added = v->added;
        v->spec.log_probs = v->log_probs;
        return 0;
}

int reader_put_token(Reader *v, TokenText text, const json_t *number, TokenType type) {
        char name[SHOWN_MAX], other[SHOWN_MAX];
        json_int_t id = json_integer_value(number);
        file_text(name, sizeof(name), (FileText){text.data, text.len});
        if (!json_is_integer(number) || id < 0 || (size_t)id >= v->cap)
                return REFUSE(v, -EINVAL, "token '%s' has no id from 0 to %zu, which its number of tokens allows", name,
                              v->cap - 1);
        TokenText *t = &v->tokens[id];
        if (t->data && (t->len != text.len || memcmp(t->data, text.data, text.len) != 0))
                return REFUSE(v, -EINVAL, "tokens '%s' and '%s' have the same id %lld", name,
                              file_text(other, sizeof(other), (FileText){t->data, t->len}), (long long)id);
        *t = text;
        v->types[id] = type;
        v->spec.n_tokens = MAX(v->spec.n_tokens, (size_t)id + 1);
        if (map_set(&v->ids, text.data, text.len, (int32_t)id) < 0)
                return REFUSE(v, -ENOMEM, "not enough memory for a vocabulary of %zu tokens", v->cap);
        return 0;
}

int32_t reader_find_token(const Reader *v, const json_t *text) {
        int32_t id;
        return json_is_string(text) && map_get(&v->ids, json_string_value(text), json_string_length(text), &id) ? id
                                                                                                                : -1;
}

static bool is_byte_token(const char *text) {
        return strlen(text) == 6 && memcmp(text, "<0x", 3) == 0 && strspn(text + 3, "0123456789ABCDEF") == 2 &&
               text[5] == '>';
}

static TokenType text_type(const Reader *v, const char *text) {
        return v->byte_fallback && is_byte_token(text) ? TOKEN_BYTE : TOKEN_NORMAL;
}

static int read_ids(Reader *v, const json_t *vocab) {
        const char *text;
        json_t *id;
        json_object_foreach((json_t *)vocab, text, id) {
                int k = reader_put_token(v, (TokenText){text, strlen(text)}, id, text_type(v, text));
                if (k < 0)
                        return k;
        }
        return 0;
}

static int read_scores(Reader *v, const json_t *vocab) {
        size_t i;
        json_t *entry;
        double min = INFINITY;
        json_array_foreach(vocab, i, entry) {
                const json_t *text = json_array_get(entry, 0), *score = json_array_get(entry, 1);
                if (json_array_size(entry) != 2 || !json_is_string(text) || !json_is_number(score))
                        return REFUSE(v, -EINVAL, "token %zu of its vocab is not a text and a score", i);
                json_auto_t *id = json_integer((json_int_t)i);
                int k = reader_put_token(v, (TokenText){json_string_value(text), json_string_length(text)}, id,
                                         text_type(v, json_string_value(text)));
                if (k < 0)
                        return k;
                v->log_probs[i] = json_number_value(score);
                min = fmin(min, v->log_probs[i]);
        }
        v->spec.unk_log_prob = min - UNK_PENALTY;
        return 0;
}

static int check_bytes(const Reader *v) {
        size_t n = 0;
        for (size_t i = 0; i < v->spec.n_tokens; i++)
                n += v->types[i] == TOKEN_BYTE;
        if (!v->byte_fallback || n == BYTES)
                return 0;
        return REFUSE(v, -EOPNOTSUPP, "byte_fallback with %zu of the %d byte tokens <0x00>…<0xFF> is not supported", n,
                      BYTES);
}

static unsigned added_flags(const json_t *t) {
        return (json_flag(t, "lstrip", false) ? ADDED_LSTRIP : 0) | (json_flag(t, "rstrip", false) ? ADDED_RSTRIP : 0) |
               (json_flag(t, "single_word", false) ? ADDED_SINGLE_WORD : 0) |
               (json_flag(t, "normalized", !json_flag(t, "special", false)) ? ADDED_NORMALIZED : 0);
}

static int read_added_token(Reader *v, const json_t *t) {
        const json_t *content = json_member(t, "content"), *id = json_member(t, "id");
        char text[SHOWN_MAX];
        if (!json_is_string(content) || json_string_length(content) == 0)
                return REFUSE(v, -EINVAL, "has an added token without content");
        int32_t known = reader_find_token(v, content);
        if (known >= 0 && (!json_is_integer(id) || json_integer_value(id) != known))
                return REFUSE(v, -EINVAL, "its added token '%s' has another id in the vocabulary",
                              json_shown(text, content));
        int k = reader_put_token(v, (TokenText){json_string_value(content), json_string_length(content)}, id,
                                 json_flag(t, "special", false) ? TOKEN_CONTROL : TOKEN_USER_DEFINED);
        if (k == 0)
                v->added[json_integer_value(id)] = (uint8_t)(added_flags(t) | (known < 0 ? ADDED_ONLY : 0));
        return k;
}

static int read_tokens(Reader *v, const json_t *vocab) {
        size_t i;
        json_t *t;
        const json_t *added = json_member(v->root, "added_tokens");
        int k = reader_reserve(v, json_object_size(vocab) + json_array_size(vocab) + json_array_size(added));
        if (k == 0)
                k = v->spec.kind == TOKENIZER_UNIGRAM ? read_scores(v, vocab) : read_ids(v, vocab);
        if (k == 0)
                k = check_bytes(v);
        json_array_foreach(added, i, t)
                if (k == 0)
                        k = read_added_token(v, t);
        for (i = 0; i < v->spec.n_tokens && k == 0; i++)
                if (!v->tokens[i].data)
                        k = REFUSE(v, -EINVAL, "its vocabulary has a gap: no token has the id %zu", i);
        return k;
}

/* ---- merges ---- */

/* "left right", or in newer files ["left", "right"], of which the text is made in texts. */
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
        size_t start = v->texts.len;
        buf_put(&v->texts, json_string_value(left), json_string_length(left));
        buf_putc(&v->texts, ' ');
        buf_put(&v->texts, json_string_value(right), json_string_length(right));
        v->merges[i].len = v->texts.len - start; /* where it is, is known when all are there */
        return v->texts.failed ? REFUSE(v, -ENOMEM, "not enough memory for its merges") : 0;
}

static int read_merges(Reader *v, const json_t *list) {
        size_t i;
        json_t *merge;
        if (!json_is_array(list))
                return REFUSE(v, -EINVAL, "its model's merges are not a list");
        v->spec.n_merges = json_array_size(list);
        v->merges = calloc(MAX(v->spec.n_merges, (size_t)1), sizeof(*v->merges));
        if (!v->merges)
                return REFUSE(v, -ENOMEM, "not enough memory for its merges");
        json_array_foreach(list, i, merge) {
                int k = read_merge(v, i, merge);
                if (k < 0)
                        return k;
        }
        const char *at = v->texts.data;
        for (i = 0; i < v->spec.n_merges; i++)
                if (!v->merges[i].data) {
                        v->merges[i].data = at;
                        at += v->merges[i].len;
                }
        v->spec.merges = v->merges;
        return 0;
}

/* ---- the model's own options ---- */

/* Parts of a model with merges that would change the result, and are not computed here. */
static int check_merges_options(const Reader *v, const json_t *model) {
        static const char *const marks[] = {"continuing_subword_prefix", "end_of_word_suffix"};
        bool spm = v->spec.kind == TOKENIZER_SPM;
        for (size_t i = 0; i < ARRAY_SIZE(marks); i++)
                if (json_member(model, marks[i]) && !json_has(model, marks[i], ""))
                        return REFUSE(v, -EOPNOTSUPP, "its model's %s is not supported", marks[i]);
        if (json_number_value(json_member(model, "dropout")) != 0)
                return REFUSE(v, -EOPNOTSUPP, "its model's dropout is not supported");
        if (!spm && v->byte_fallback)
                return REFUSE(v, -EOPNOTSUPP, "byte_fallback beside a ByteLevel pre_tokenizer is not supported");
        if (spm && v->spec.ignore_merges)
                return REFUSE(v, -EOPNOTSUPP, "ignore_merges without a ByteLevel pre_tokenizer is not supported");
        if (spm && !v->byte_fallback && !json_flag(model, "fuse_unk", false))
                return REFUSE(v, -EOPNOTSUPP, "a model with neither byte_fallback nor fuse_unk is not supported");
        return 0;
}

static int read_wordpiece_options(Reader *v, const json_t *model) {
        const json_t *mark = json_member(model, "continuing_subword_prefix"),
                     *max = json_member(model, "max_input_chars_per_word");
        if ((mark && !json_is_string(mark)) || (max && (!json_is_integer(max) || json_integer_value(max) < 0)))
                return REFUSE(v, -EINVAL,
                              "its model's continuing_subword_prefix or max_input_chars_per_word is of the wrong kind");
        v->spec.subword = mark ? (TokenText){json_string_value(mark), json_string_length(mark)} : (TokenText){"##", 2};
        v->spec.max_word = max ? (size_t)json_integer_value(max) : 100;
        return 0;
}

static int read_options(Reader *v, const json_t *model) {
        v->byte_fallback = json_flag(model, "byte_fallback", false);
        v->spec.ignore_merges = json_flag(model, "ignore_merges", false);
        if (v->spec.kind == TOKENIZER_UNIGRAM)
                return 0;
        return v->spec.kind == TOKENIZER_WORDPIECE ? read_wordpiece_options(v, model) : check_merges_options(v, model);
}

/* Old files leave the type out, but what a vocabulary is like tells it. */
int reader_model_kind(Reader *v) {
        const json_t *model = model_of(v), *type = json_member(model, "type");
        char text[SHOWN_MAX];
        if (!json_is_object(model))
                return REFUSE(v, -EINVAL, "has no model");
        if (type ? json_is(type, "Unigram") : json_is_array(json_member(model, "vocab")))
                v->spec.kind = TOKENIZER_UNIGRAM;
        else if (type ? json_is(type, "WordPiece") : !!json_member(model, "max_input_chars_per_word"))
                v->spec.kind = TOKENIZER_WORDPIECE;
        else if (type && !json_is(type, "BPE"))
                return REFUSE(v, -EOPNOTSUPP, "its model '%s' is not supported; BPE, WordPiece and Unigram are",
                              json_shown(text, type));
        else if (!json_member(model, "merges"))
                return REFUSE(v, -EOPNOTSUPP, "its model has no merges, so it is not BPE, and no other that is known");
        return 0;
}

/* The unknown token is not text, even where nobody listed it as added. Its name, written out in a text, then stands for
 * it only in models with merges, whose vocabulary has it like any other. */
static int read_unknown(Reader *v, const json_t *model) {
        const json_t *unk = json_member(model, "unk_token"), *id = json_member(model, "unk_id");
        char text[SHOWN_MAX];
        bool by_id = v->spec.kind == TOKENIZER_UNIGRAM;
        if (by_id ? !id : !unk)
                return 0;
        if (!by_id)
                v->spec.unk = reader_find_token(v, unk);
        else if (json_is_integer(id) && json_integer_value(id) >= 0 &&
                 (size_t)json_integer_value(id) < v->spec.n_tokens)
                v->spec.unk = (int32_t)json_integer_value(id);
        if (v->spec.unk < 0)
                return by_id ? REFUSE(v, -EINVAL, "its unk_id is no token")
                             : REFUSE(v, -EINVAL, "its unk_token '%s' is no token", json_shown(text, unk));
        if (v->types[v->spec.unk] == TOKEN_NORMAL)
                v->types[v->spec.unk] = merges(v) ? TOKEN_UNKNOWN : TOKEN_UNUSED;
        return 0;
}

int reader_model(Reader *v) {
        const json_t *model = model_of(v), *vocab = json_member(model, "vocab");
        if (v->spec.kind == TOKENIZER_UNIGRAM ? json_array_size(vocab) == 0 : json_object_size(vocab) == 0)
                return REFUSE(v, -EINVAL, "its model has no vocab");
        int k = read_options(v, model);
        if (k < 0 || (k = read_tokens(v, vocab)) < 0 || (k = read_unknown(v, model)) < 0)
                return k;
        return merges(v) ? read_merges(v, json_member(model, "merges")) : 0;
}
