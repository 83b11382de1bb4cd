/* tokenizer.ggml.* of a GGUF file → TokenizerSpec → Tokenizer.
 *
 * Keys and defaults are those of ggml's docs/gguf.md and of the readers in the field: a "llama" (SentencePiece)
 * vocabulary starts texts with a BOS, and words with a space, unless it says otherwise; a "gpt2" one adds a BOS only
 * where it says so or where its pre-tokenizer is Llama 3's. What the file says is checked here as far as it is GGUF
 * (types and counts); whether it makes a tokenizer is tokenizer_new()'s to say.
 *
 * Encoders' vocabularies are "bert", WordPiece with U+2581 before the tokens that begin words instead of "##" before the
 * others, and around texts [CLS] and [SEP]; "t5", SentencePiece's Unigram, as XLM-RoBERTa has it; or "gpt2", as RoBERTa.
 * A file does not say whether BERT's text is lowercased: it is, unless there are capital letters in the vocabulary, which
 * then were in the text that it was made from. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "engine/vocab.h"
#include "text/pretokenizer.h"
#include "util/str.h"

#define KEY(name) "tokenizer.ggml." name

/* error_set() that says which file is at fault, as gguf.h's own messages do. */
#define refuse(g, e, code, fmt, ...) error_set(e, code, "%s: " fmt, gguf_file(g)->label, ##__VA_ARGS__)

typedef struct Vocab {
        TokenizerSpec spec;
        size_t n_listed; /* tokens, of which the weights may be for fewer */
        FileText architecture;
        FillTokens fill;
        FileText *tokens, *merges;
        float *scores;
        double *log_probs;
        int32_t *types;
        uint8_t *added;
        NormalizerStep steps[SENTENCEPIECE_STEPS];
        Buf texts; /* tokens as WordPiece has them */
        bool add_bos, add_eos;
        char model[16], pre[64];
} Vocab;

static void vocab_deinit(Vocab *v) {
        free(v->tokens);
        free(v->merges);
        free(v->scores);
        free(v->log_probs);
        free(v->types);
        free(v->added);
        buf_deinit(&v->texts);
}

/* The readers below return 0 with `ret` untouched when the key is absent. */
static int read_name(const Gguf *g, const char *key, char *ret, size_t size, Error *e) {
        FileText s;
        int r = gguf_get_string(g, key, &s, e);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return r;
        if (s.len >= size || memchr(s.data, 0, s.len))
                return refuse(g, e, -EOPNOTSUPP, "%s: '%.*s' is not supported", key, (int)MIN(s.len, size), s.data);
        memcpy(ret, s.data, s.len);
        ret[s.len] = 0;
        return 0;
}

static int read_bool(const Gguf *g, const char *key, bool *ret, Error *e) {
        int r = gguf_get_bool(g, key, ret, e);
        return r == -ENOENT ? 0 : r;
}

static int read_id(const Gguf *g, const char *key, int32_t *ret, Error *e) {
        uint64_t id;
        int r = gguf_get_u64(g, key, &id, e);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return r;
        if (id >= INT32_MAX)
                return refuse(g, e, -EINVAL, "%s: %llu is no token id", key, (unsigned long long)id);
        *ret = (int32_t)id;
        return 0;
}

/* An array of 32-bit numbers, one for each token, as a copy (the file's may be unaligned). */
static int read_per_token(const Gguf *g, const char *key, GgufType type, size_t n_tokens, void **ret, Error *e) {
        const void *data;
        size_t n;
        int r = gguf_get_array_data(g, key, type, &data, &n, e);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return r;
        if (n != n_tokens)
                return refuse(g, e, -EINVAL, "%s has %zu elements for %zu tokens", key, n, n_tokens);
        void *copy = calloc(n, 4);
        if (!copy)
                return refuse(g, e, -ENOMEM, "not enough memory for a vocabulary of %zu tokens", n);
        memcpy(copy, data, n * 4);
        *ret = copy;
        return 0;
}

static bool is_architecture(const Vocab *v, const char *name) {
        return bytes_are(v->architecture.data, v->architecture.len, name);
}

/* Ollama's gemma3 list some for images, for which there are no weights. */
static size_t count_useful(const Gguf *g, const Vocab *v) {
        const Tensor *t = gguf_tensor(g, "token_embd.weight");
        return t && is_architecture(v, "gemma3") ? (size_t)MIN(v->n_listed, t->dims[1]) : v->n_listed;
}

static int read_tokens(const Gguf *g, Vocab *v, Error *e) {
        _Static_assert(sizeof(TokenText) == sizeof(FileText), "both are a pointer and a length");
        int r = gguf_get_strings(g, KEY("tokens"), &v->tokens, &v->n_listed, e);
        if (r == -ENOENT)
                return refuse(g, e, -ENOENT, KEY("tokens") " is missing: the file has no vocabulary");
        v->spec.n_tokens = count_useful(g, v);
        if (r == 0)
                r = read_per_token(g, KEY("token_type"), GGUF_I32, v->n_listed, (void **)&v->types, e);
        v->spec.tokens = (const TokenText *)v->tokens;
        v->spec.types = v->types;
        return r;
}

/* Which tokens mark the texts of a prompt whose middle is to be filled in; older files have the shorter names. */
static int read_fill(const Gguf *g, Vocab *v, Error *e) {
        const struct {
                const char *key;
                int32_t *id;
        } keys[] = {
                {KEY("prefix_token_id"), &v->fill.prefix},  {KEY("suffix_token_id"), &v->fill.suffix},
                {KEY("middle_token_id"), &v->fill.middle},  {KEY("fim_pre_token_id"), &v->fill.prefix},
                {KEY("fim_suf_token_id"), &v->fill.suffix}, {KEY("fim_mid_token_id"), &v->fill.middle},
        };
        v->spec.fill = &v->fill;
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
                int r = read_id(g, keys[i].key, keys[i].id, e);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_special_tokens(const Gguf *g, Vocab *v, Error *e) {
        TokenizerSpec *spec = &v->spec;
        int r = read_id(g, KEY("bos_token_id"), &spec->bos, e);
        if (r == 0)
                r = read_id(g, KEY("eos_token_id"), &spec->eos, e);
        if (r == 0)
                r = read_id(g, KEY("eot_token_id"), &spec->eot, e);
        if (r == 0)
                r = read_id(g, KEY("unknown_token_id"), &spec->unk, e);
        if (r == 0)
                r = read_fill(g, v, e);
        if (r == 0)
                r = read_bool(g, KEY("add_bos_token"), &v->add_bos, e);
        if (r == 0)
                r = read_bool(g, KEY("add_eos_token"), &v->add_eos, e);
        if (r < 0 || spec->single.n > 0)
                return r;
        spec->single = template_bos_eos(v->add_bos ? spec->bos : -1, v->add_eos ? spec->eos : -1, 1);
        if (v->add_bos && spec->bos >= 0 && v->add_eos && spec->eos >= 0)
                spec->pair = template_pair_roberta(spec->bos, spec->eos);
        return 0;
}

static bool is_token(const Vocab *v, size_t i, const char *text) {
        return bytes_are(v->tokens[i].data, v->tokens[i].len, text);
}

/* Phi-3's special tokens take the white space after them, which its file does not say. */
static int read_phi3(const Gguf *g, Vocab *v, Error *e) {
        if (!is_architecture(v, "phi3") || !v->types)
                return 0;
        v->added = calloc(v->spec.n_tokens + 1, 1);
        if (!v->added)
                return refuse(g, e, -ENOMEM, "not enough memory for a vocabulary of %zu tokens", v->spec.n_tokens);
        for (size_t i = 0; i < v->spec.n_tokens; i++) {
                bool exception = is_token(v, i, "<unk>") || is_token(v, i, "<s>") || is_token(v, i, "<|endoftext|>");
                bool special = v->types[i] == TOKEN_CONTROL || v->types[i] == TOKEN_USER_DEFINED;
                v->added[i] = ADDED_NORMALIZED | (special && !exception ? ADDED_RSTRIP : 0);
        }
        v->spec.added = v->added;
        return 0;
}

static int read_spm(const Gguf *g, Vocab *v, Error *e) {
        v->spec.kind = TOKENIZER_SPM;
        v->spec.bos = 1;
        v->spec.eos = 2;
        v->spec.unk = 0;
        bool prefix = v->architecture.len < 5 || memcmp(v->architecture.data, "gemma", 5) != 0; /* which has none */
        v->add_bos = true;
        int r = read_per_token(g, KEY("scores"), GGUF_F32, v->n_listed, (void **)&v->scores, e);
        if (r == 0 && !v->scores)
                return refuse(g, e, -EINVAL, KEY("scores") " is missing, which a 'llama' vocabulary needs");
        v->spec.scores = v->scores;
        if (r == 0)
                r = read_phi3(g, v, e);
        if (r == 0)
                r = read_bool(g, KEY("add_space_prefix"), &prefix, e);
        v->spec.space_prefix = prefix ? SPACE_PREFIX_AFTER_CONTROL : SPACE_PREFIX_NONE;
        return r;
}

static int read_bpe(const Gguf *g, Vocab *v, Error *e) {
        v->spec.kind = TOKENIZER_BPE;
        strcpy(v->pre, "gpt-2");
        int r = read_name(g, KEY("pre"), v->pre, sizeof(v->pre), e);
        if (r < 0)
                return r;
        bool unsaid = strcmp(v->pre, "gpt-2") == 0 || strcmp(v->pre, "default") == 0; /* which Ollama's files say instead of these */
        if (unsaid && is_architecture(v, "gptoss"))
                strcpy(v->pre, "gpt-4o");
        if (unsaid && is_architecture(v, "mistral3"))
                strcpy(v->pre, "tekken");
        const PretokenizerRule *rule = pretokenizer_rule(v->pre);
        if (!rule)
                return refuse(g, e, -EOPNOTSUPP, KEY("pre") ": the pre-tokenizer '%s' is not supported", v->pre);
        v->spec.pre = v->pre;
        v->add_bos = rule->add_bos;
        v->spec.ignore_merges = rule->ignore_merges;
        r = gguf_get_strings(g, KEY("merges"), &v->merges, &v->spec.n_merges, e);
        if (r == -ENOENT)
                return refuse(g, e, -EINVAL, KEY("merges") " is missing, which a 'gpt2' vocabulary needs");
        v->spec.merges = (const TokenText *)v->merges;
        return r;
}

/* ---- encoders ---- */

#define PHANTOM "\xe2\x96\x81" /* U+2581 */

static bool is_bracketed(FileText t) {
        return t.len > 1 && t.data[0] == '[' && t.data[t.len - 1] == ']';
}

static bool has_capital(FileText t) {
        for (size_t i = 0; i < t.len; i++)
                if (t.data[i] >= 'A' && t.data[i] <= 'Z')
                        return true;
        return false;
}

/* Appends a token as WordPiece has it. Special tokens, and those that only look so, are as they are. */
static void put_wordpiece(Buf *out, FileText t, int32_t type) {
        size_t mark = strlen(PHANTOM);
        bool begins = t.len >= mark && memcmp(t.data, PHANTOM, mark) == 0;
        if (begins)
                t = (FileText){t.data + mark, t.len - mark};
        else if (type == TOKEN_NORMAL && !is_bracketed(t))
                buf_puts(out, "##");
        buf_put(out, t.data, t.len);
}

/* Makes v->tokens of it; *ret_cased is whether there are capital letters. */
static int spell_tokens(const Gguf *g, Vocab *v, bool *ret_cased, Error *e) {
        *ret_cased = false;
        for (size_t i = 0; i < v->spec.n_tokens; i++) {
                int32_t type = v->types ? v->types[i] : is_bracketed(v->tokens[i]) ? TOKEN_CONTROL : TOKEN_NORMAL;
                size_t start = v->texts.len;
                *ret_cased = *ret_cased ||
                             (type == TOKEN_NORMAL && !is_bracketed(v->tokens[i]) && has_capital(v->tokens[i]));
                put_wordpiece(&v->texts, v->tokens[i], type);
                v->tokens[i].len = v->texts.len - start;
        }
        if (v->texts.failed)
                return refuse(g, e, -ENOMEM, "not enough memory for a vocabulary of %zu tokens", v->spec.n_tokens);
        const char *at = v->texts.data;
        for (size_t i = 0; i < v->spec.n_tokens; at += v->tokens[i++].len)
                v->tokens[i].data = at;
        return 0;
}

/* The ids are those of bert-base-uncased where the file names none. */
static int read_wordpiece(const Gguf *g, Vocab *v, Error *e) {
        TokenizerSpec *spec = &v->spec;
        int32_t cls = 101, sep = 102;
        bool cased;
        int r;
        spec->kind = TOKENIZER_WORDPIECE;
        spec->unk = 100;
        if ((r = read_id(g, KEY("bos_token_id"), &cls, e)) < 0 || (r = read_id(g, KEY("cls_token_id"), &cls, e)) < 0 ||
            (r = read_id(g, KEY("eos_token_id"), &sep, e)) < 0 ||
            (r = read_id(g, KEY("seperator_token_id"), &sep, e)) < 0 || /* so spelled in ggml's converter */
            (r = read_id(g, KEY("separator_token_id"), &sep, e)) < 0 || (r = spell_tokens(g, v, &cased, e)) < 0)
                return r;
        if ((size_t)cls >= spec->n_tokens || (size_t)sep >= spec->n_tokens)
                return refuse(g, e, -EINVAL, KEY("cls_token_id") " %d or " KEY("seperator_token_id") " %d is no token", cls,
                              sep);
        v->steps[0] = (NormalizerStep){.kind = NORMALIZE_BERT,
                                       .flags = BERT_CLEAN | BERT_CHINESE |
                                                (cased ? 0 : BERT_STRIP_ACCENTS | BERT_LOWERCASE)};
        spec->normalizer = v->steps;
        spec->n_normalizer = 1;
        spec->words = WORDS_BERT;
        spec->subword = (TokenText){"##", 2};
        spec->max_word = 100;
        spec->single = template_bos_eos(cls, sep, 1);
        spec->pair = template_pair_bert(cls, sep);
        return 0;
}

/* As doubles; and how improbable a character is that is no token (unigram_model.cc). */
static int set_log_probs(const Gguf *g, Vocab *v, Error *e) {
        float min = INFINITY;
        v->log_probs = calloc(v->spec.n_tokens + 1, sizeof(*v->log_probs));
        if (!v->log_probs)
                return refuse(g, e, -ENOMEM, "not enough memory for a vocabulary of %zu tokens", v->spec.n_tokens);
        for (size_t i = 0; i < v->spec.n_tokens; i++) {
                v->log_probs[i] = v->scores[i];
                if (!v->types || v->types[i] == TOKEN_NORMAL)
                        min = fminf(min, v->scores[i]);
        }
        v->spec.log_probs = v->log_probs;
        v->spec.unk_log_prob = min - 10;
        v->spec.single_precision = true;
        return 0;
}

static int read_unigram(const Gguf *g, Vocab *v, Error *e) {
        TokenizerSpec *spec = &v->spec;
        const void *map = NULL;
        size_t n = 0;
        bool prefix = true, remove_extra = true;
        spec->kind = TOKENIZER_UNIGRAM;
        spec->eos = 1;
        spec->unk = 2;
        v->add_eos = true;
        int r = read_per_token(g, KEY("scores"), GGUF_F32, v->n_listed, (void **)&v->scores, e);
        if (r == 0 && !v->scores)
                return refuse(g, e, -EINVAL, KEY("scores") " is missing, which a 't5' vocabulary needs");
        if (r < 0 || (r = read_bool(g, KEY("add_space_prefix"), &prefix, e)) < 0 ||
            (r = read_bool(g, KEY("remove_extra_whitespaces"), &remove_extra, e)) < 0)
                return r;
        r = gguf_get_array_data(g, KEY("precompiled_charsmap"), GGUF_U8, &map, &n, e);
        if (r < 0 && r != -ENOENT)
                return r;
        spec->space_prefix = prefix ? SPACE_PREFIX_AFTER_CONTROL : SPACE_PREFIX_NONE;
        spec->normalizer = v->steps;
        spec->n_normalizer = normalizer_sentencepiece((NormalizerText){map, n}, remove_extra, v->steps);
        return set_log_probs(g, v, e);
}

/* ---- all of it ---- */

static int read_vocab(const Gguf *g, Vocab *v, Error *e) {
        (void)gguf_get_string(g, "general.architecture", &v->architecture, NULL);
        int r = read_name(g, KEY("model"), v->model, sizeof(v->model), e);
        if (r < 0)
                return r;
        if (!v->model[0])
                return refuse(g, e, -ENOENT, KEY("model") " is missing: the file has no vocabulary");
        r = read_tokens(g, v, e);
        if (r < 0)
                return r;
        if (strcmp(v->model, "llama") == 0)
                r = read_spm(g, v, e);
        else if (strcmp(v->model, "gpt2") == 0)
                r = read_bpe(g, v, e);
        else if (strcmp(v->model, "bert") == 0)
                r = read_wordpiece(g, v, e);
        else if (strcmp(v->model, "t5") == 0)
                r = read_unigram(g, v, e);
        else
                return refuse(g, e, -EOPNOTSUPP, KEY("model") ": the tokenizer '%s' is not supported", v->model);
        return r == 0 ? read_special_tokens(g, v, e) : r;
}

int vocab_tokenizer_new(const Gguf *g, Tokenizer **ret, Error *e) {
        _cleanup_(vocab_deinit) Vocab v = {.spec = {.bos = -1, .eos = -1, .eot = -1, .unk = -1}, .fill = {-1, -1, -1}};
        int r = read_vocab(g, &v, e);
        if (r < 0)
                return r;
        r = tokenizer_new(&v.spec, ret, e);
        if (r < 0)
                error_prefix(e, "%s", gguf_file(g)->label);
        return r;
}
