/* The vocabulary and what all kinds of tokenizer do with it.
 *
 * A tokenizer keeps, for each token, its piece: the bytes it stands for. Encoding goes from coarse to fine: special
 * tokens are found first, the text between them is normalised and cut into words (spm.c, bpe.c, wordpiece.c,
 * unigram.c). WordPiece and Unigram find a word's tokens in a trie.
 *
 * By merges, a word that is a token is taken whole, any other starts as characters or bytes that are merged (merge.c),
 * and what is in no vocabulary at last is spelled in byte tokens. Whether a word that is a token really comes out of
 * merging as that token is remembered per token, so the common word costs one look-up and the result is always that of
 * merging. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/fill.h"
#include "text/tokenizer-internal.h"
#include "util/str.h"

/* Tokens with these texts end a turn in the models that have them. */
static const char *const end_names[] = {
        "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|eot|>", "<end_of_turn>", "<|end|>", "<|end_of_text|>",
        "<|endoftext|>", "<|return|>", "<|call|>", "<|EOT|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<eos>",
        "[|endofturn|]", "<end_of_utterance>", "<｜end▁of▁sentence｜>",
};
/* Longer special tokens, which no model has, could only be there to make searching for them slow. */
#define SPECIAL_MAX 1024

static const Template bare_single = {{{TEMPLATE_FIRST, 0}}, 1};
static const Template bare_pair = {{{TEMPLATE_FIRST, 0}, {TEMPLATE_SECOND, 1}}, 2};

static bool is_end_name(TokenText text) {
        for (size_t i = 0; i < ARRAY_SIZE(end_names); i++)
                if (bytes_are(text.data, text.len, end_names[i]))
                        return true;
        return false;
}

TokenText token_text(const Tokenizer *t, size_t id) {
        return (TokenText){t->texts.data + t->starts[id], t->starts[id + 1] - t->starts[id]};
}

bool token_is_mergeable(const Tokenizer *t, size_t id) {
        return t->types[id] == TOKEN_NORMAL || t->types[id] == TOKEN_USER_DEFINED;
}

/* The others (control, unknown, unused) have a text that only names them. */
static bool is_text(const Tokenizer *t, size_t id) {
        return t->types[id] == TOKEN_NORMAL || t->types[id] == TOKEN_USER_DEFINED || t->types[id] == TOKEN_BYTE;
}

static int check_id(const TokenizerSpec *spec, const char *name, int32_t id, Error *e) {
        if (id >= -1 && (id < 0 || (size_t)id < spec->n_tokens))
                return 0;
        return error_set(e, -EINVAL, "the %s token is %d, but the vocabulary has %zu tokens", name, id, spec->n_tokens);
}

/* Each text has one place. */
static int check_template(const TokenizerSpec *spec, const Template *template, unsigned n_texts, Error *e) {
        unsigned seen[2] = {0};
        for (size_t i = 0; i < template->n; i++) {
                int32_t id = template->parts[i].id;
                if (id == TEMPLATE_FIRST || id == TEMPLATE_SECOND)
                        seen[TEMPLATE_FIRST - id]++;
                else if (id < 0 || (size_t)id >= spec->n_tokens)
                        return error_set(e, -EINVAL, "token %d stands around texts, but the vocabulary has %zu tokens",
                                         id, spec->n_tokens);
        }
        return seen[0] == 1 && seen[1] == n_texts - 1
                       ? 0
                       : error_set(e, -EINVAL, "what stands around %u texts has no place, or several, for one of them",
                                   n_texts);
}

static int check_spec(const TokenizerSpec *spec, Error *e) {
        if (spec->n_tokens == 0 || spec->n_tokens > INT32_MAX)
                return error_set(e, -EINVAL, "a vocabulary of %zu tokens is not supported", spec->n_tokens);
        int r = check_id(spec, "begin-of-text", spec->bos, e);
        if (r == 0)
                r = check_id(spec, "end-of-text", spec->eos, e);
        if (r == 0)
                r = check_id(spec, "end-of-turn", spec->eot, e);
        if (r == 0)
                r = check_id(spec, "unknown", spec->unk, e);
        for (size_t i = 0; i < spec->n_ends && r == 0; i++)
                r = check_id(spec, "end-of-text", spec->ends[i], e);
        if (r == 0 && spec->fill)
                r = check_id(spec, "fill-in prefix", spec->fill->prefix, e);
        if (r == 0 && spec->fill)
                r = check_id(spec, "fill-in suffix", spec->fill->suffix, e);
        if (r == 0 && spec->fill)
                r = check_id(spec, "fill-in middle", spec->fill->middle, e);
        if (r == 0 && spec->single.n > 0)
                r = check_template(spec, &spec->single, 1, e);
        if (r == 0 && spec->pair.n > 0)
                r = check_template(spec, &spec->pair, 2, e);
        return r;
}

static int hex_digit(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte of "<0xXX>", or -1. */
static int parse_byte_token(TokenText text) {
        if (text.len != 6 || memcmp(text.data, "<0x", 3) != 0 || text.data[5] != '>')
                return -1;
        int hi = hex_digit(text.data[3]), lo = hex_digit(text.data[4]);
        return hi < 0 || lo < 0 ? -1 : hi << 4 | lo;
}

static int load_byte_token(Tokenizer *t, TokenText text, int32_t id, Error *e) {
        int byte = parse_byte_token(text);
        if (byte < 0)
                return error_set(e, -EINVAL, "token %d is a byte token, but its text '%.*s' is not of the form <0xXX>",
                                 id, (int)MIN(text.len, (size_t)64), text.data);
        t->bytes[byte] = id;
        buf_putc(&t->texts, (char)byte);
        return 0;
}

/* A user-defined token is a piece of ordinary text that is never split, unless it ends turns: then nobody's text may
 * write it. */
static TokenType effective_type(int32_t type, TokenText text) {
        return type == TOKEN_USER_DEFINED && is_end_name(text) ? TOKEN_CONTROL : (TokenType)type;
}

static bool is_special(TokenType type) {
        return type == TOKEN_CONTROL || type == TOKEN_UNKNOWN || type == TOKEN_USER_DEFINED;
}

/* Special tokens are written as they are, save that SentencePiece marks spaces in the user-defined ones too. */
static void put_piece(Tokenizer *t, const TokenizerSpec *spec, TokenType type, TokenText text) {
        bool spaced = t->kind == TOKENIZER_SPM || t->kind == TOKENIZER_UNIGRAM;
        if (spaced && (!is_special(type) || type == TOKEN_USER_DEFINED))
                spm_put_piece(text, &t->texts);
        else if (!is_special(type) && t->kind == TOKENIZER_BPE)
                bpe_put_piece(text, &t->texts);
        else if (!is_special(type) && t->kind == TOKENIZER_WORDPIECE)
                wordpiece_put_piece(spec, text, &t->texts);
        else
                buf_put(&t->texts, text.data, text.len);
}

static int load_token(Tokenizer *t, const TokenizerSpec *spec, size_t i, Error *e) {
        TokenText text = spec->tokens[i];
        int32_t type = spec->types ? spec->types[i] : TOKEN_NORMAL;
        if (type < TOKEN_NORMAL || type > TOKEN_BYTE)
                return error_set(e, -EINVAL, "token %zu has the unknown type %d", i, type);
        t->types[i] = (uint8_t)effective_type(type, text);
        t->starts[i] = (uint32_t)t->texts.len;
        if (type == TOKEN_BYTE)
                return load_byte_token(t, text, (int32_t)i, e);
        if (is_special(t->types[i]) && text.len > SPECIAL_MAX)
                return error_set(e, -EINVAL, "token %zu is a special token of %zu bytes, which is too long", i,
                                 text.len);
        put_piece(t, spec, t->types[i], text);
        return 0;
}

static int load_tokens(Tokenizer *t, const TokenizerSpec *spec, Error *e) {
        for (size_t i = 0; i < t->n; i++) {
                int r = load_token(t, spec, i, e);
                if (r < 0)
                        return r;
                if (t->texts.len > UINT32_MAX)
                        return error_set(e, -EINVAL, "the texts of the vocabulary are longer than 4 GiB");
        }
        buf_put(&t->texts, "", 0); /* an empty vocabulary text is a string too */
        t->starts[t->n] = (uint32_t)t->texts.len;
        return t->texts.failed ? error_set(e, -ENOMEM, "not enough memory for a vocabulary of %zu tokens", t->n) : 0;
}

static bool merges(const Tokenizer *t) {
        return t->kind == TOKENIZER_SPM || t->kind == TOKENIZER_BPE;
}

/* A token that WordPiece or Unigram look for in normalised text has to be normalised itself. */
static int add_normalized(Tokenizer *t, TokenText text, int32_t id, unsigned flags) {
        _cleanup_(normalizer_scratch_deinit) NormalizerScratch scratch = {0};
        int r = normalizer_run(t->normalizer, &scratch, text.data, text.len, &text.data, &text.len);
        return r < 0 ? r : specials_add(&t->normalized, text.data, text.len, id, flags);
}

static int add_special(Tokenizer *t, const TokenizerSpec *spec, size_t i) {
        unsigned added = spec->added ? spec->added[i] : 0;
        unsigned flags = (t->types[i] == TOKEN_USER_DEFINED ? SPECIAL_ORDINARY : 0) |
                         (added & ADDED_LSTRIP ? SPECIAL_LSTRIP : 0) | (added & ADDED_RSTRIP ? SPECIAL_RSTRIP : 0) |
                         (added & ADDED_SINGLE_WORD ? SPECIAL_SINGLE_WORD : 0);
        bool as_written = spec->added && !(added & ADDED_NORMALIZED);
        TokenText text = as_written ? spec->tokens[i] : token_text(t, i);
        if ((added & ADDED_NORMALIZED) && !merges(t))
                return add_normalized(t, text, (int32_t)i, flags);
        return specials_add(&t->specials, text.data, text.len, (int32_t)i, flags);
}

/* gpt-oss ends turns by two tokens of its own, and messages in a turn by one that ends turns elsewhere. */
static void keep_messages(Tokenizer *t, const TokenizerSpec *spec) {
        static const char *const names[] = {"<|return|>", "<|call|>", "<|end|>"};
        size_t found[ARRAY_SIZE(names)] = {0}, n = 0;
        for (size_t i = 0; i < t->n; i++)
                for (size_t k = 0; k < ARRAY_SIZE(names) && t->types[i] == TOKEN_CONTROL; k++) {
                        TokenText text = token_text(t, i);
                        if (bytes_are(text.data, text.len, names[k])) {
                                n += found[k] == 0;
                                found[k] = i;
                        }
                }
        if (n == ARRAY_SIZE(names) && (int32_t)found[2] != spec->eos)
                t->eog[found[2]] = false;
}

/* Makes the texts findable; when two tokens have the same, the later one is meant, as in every other reader. */
static int index_tokens(Tokenizer *t, const TokenizerSpec *spec, Error *e) {
        int r = map_init(&t->ids, merges(t) ? t->n : 0);
        for (size_t i = 0; i < spec->n_ends; i++)
                if (spec->ends[i] >= 0)
                        t->eog[spec->ends[i]] = true;
        for (size_t i = 0; i < t->n && r >= 0; i++) {
                TokenText text = token_text(t, i);
                t->eog[i] = t->eog[i] || (int32_t)i == spec->eos || (int32_t)i == spec->eot ||
                            (t->types[i] == TOKEN_CONTROL && is_end_name(text));
                if (text.len > 0 && merges(t) && token_is_mergeable(t, i))
                        r = map_set(&t->ids, text.data, text.len, (int32_t)i);
                if (r >= 0 && is_special(t->types[i]))
                        r = add_special(t, spec, i);
        }
        keep_messages(t, spec);
        t->fill = fill_find(spec);
        if (t->fill.prefix >= 0)
                fill_find_ends(spec, t->eog);
        return r < 0 ? error_set(e, r, "not enough memory for a vocabulary of %zu tokens", t->n) : 0;
}

/* Not of control tokens: through normalisation anybody's text could become one. */
int tokens_trie_init(Tokenizer *t, const TokenizerSpec *spec, const TokenText *texts, Error *e) {
        _cleanup_free_ TrieKey *keys = calloc(t->n, sizeof(*keys));
        size_t n = 0;
        for (size_t i = 0; keys && i < t->n; i++)
                if (token_is_mergeable(t, i) && !(spec->added && (spec->added[i] & ADDED_ONLY)))
                        keys[n++] = (TrieKey){texts[i].data, texts[i].len, (int32_t)i};
        int r = keys ? trie_init(&t->trie, keys, n) : -ENOMEM;
        return r < 0 ? error_set(e, r, "not enough memory for a vocabulary of %zu tokens", t->n) : 0;
}

static int init_kind(Tokenizer *t, const TokenizerSpec *spec, Error *e) {
        switch (t->kind) {
        case TOKENIZER_SPM:
                return spm_init(t, spec, e);
        case TOKENIZER_BPE:
                return bpe_init(t, spec, e);
        case TOKENIZER_WORDPIECE:
                return wordpiece_init(t, spec, e);
        case TOKENIZER_UNIGRAM:
                return unigram_init(t, spec, e);
        }
        return -EINVAL;
}

Template template_bos_eos(int32_t bos, int32_t eos, size_t n_texts) {
        Template t = {.n = 0};
        for (uint8_t i = 0; i < n_texts; i++) {
                if (bos >= 0)
                        t.parts[t.n++] = (TemplatePart){bos, i};
                t.parts[t.n++] = (TemplatePart){i == 0 ? TEMPLATE_FIRST : TEMPLATE_SECOND, i};
                if (eos >= 0)
                        t.parts[t.n++] = (TemplatePart){eos, i};
        }
        return t;
}

Template template_pair_bert(int32_t cls, int32_t sep) {
        return (Template){{{cls, 0}, {TEMPLATE_FIRST, 0}, {sep, 0}, {TEMPLATE_SECOND, 1}, {sep, 1}}, 5};
}

Template template_pair_roberta(int32_t bos, int32_t eos) {
        return (Template){{{bos, 0}, {TEMPLATE_FIRST, 0}, {eos, 0}, {eos, 0}, {TEMPLATE_SECOND, 0}, {eos, 0}}, 6};
}

static Tokenizer *allocate(const TokenizerSpec *spec) {
        _cleanup_(tokenizer_freep) Tokenizer *t = malloc(sizeof(*t));
        if (!t)
                return NULL;
        *t = (Tokenizer){
                .kind = spec->kind, .n = spec->n_tokens,
                .bos = spec->bos, .eos = spec->eos, .unk = spec->unk,
                .single = spec->single.n > 0 ? spec->single : bare_single, .pair = spec->pair,
                .space_prefix = spec->kind == TOKENIZER_SPM || spec->kind == TOKENIZER_UNIGRAM ? spec->space_prefix
                                                                                               : SPACE_PREFIX_NONE,
                .words = spec->words,
                .starts = calloc(spec->n_tokens + 1, sizeof(uint32_t)),
                .types = calloc(spec->n_tokens, 1),
                .eog = calloc(spec->n_tokens, sizeof(bool)),
                .whole = calloc(spec->n_tokens, sizeof(_Atomic(uint8_t))),
        };
        for (size_t i = 0; i < ARRAY_SIZE(t->bytes); i++)
                t->bytes[i] = -1;
        return t->starts && t->types && t->eog && t->whole ? TAKE(t) : NULL;
}

int tokenizer_new(const TokenizerSpec *spec, Tokenizer **ret, Error *e) {
        int r = check_spec(spec, e);
        if (r < 0)
                return r;
        _cleanup_(tokenizer_freep) Tokenizer *t = allocate(spec);
        if (!t)
                return error_set(e, -ENOMEM, "not enough memory for a vocabulary of %zu tokens", spec->n_tokens);
        r = load_tokens(t, spec, e);
        if (r == 0)
                r = normalizer_new(spec->normalizer, spec->n_normalizer, &t->normalizer, e);
        if (r == 0)
                r = index_tokens(t, spec, e);
        if (r == 0)
                r = init_kind(t, spec, e);
        if (r < 0)
                return r;
        *ret = TAKE(t);
        return 0;
}

void tokenizer_free(Tokenizer *t) {
        if (!t)
                return;
        buf_deinit(&t->texts);
        free(t->starts);
        free(t->types);
        free(t->eog);
        free(t->whole);
        free(t->ranks);
        map_deinit(&t->ids);
        specials_deinit(&t->specials);
        specials_deinit(&t->normalized);
        normalizer_free(t->normalizer);
        trie_deinit(&t->trie);
        free(t->log_probs);
        bpe_deinit(t);
        free(t);
}

int reserve_ids(EncodeScratch *s, size_t n) {
        if (s->n_ids + n <= s->cap_ids)
                return 0;
        size_t cap = MAX(s->n_ids + n, s->cap_ids + s->cap_ids / 2);
        int32_t *ids = reallocarray(s->ids, cap, sizeof(int32_t));
        if (!ids)
                return -ENOMEM;
        s->ids = ids;
        s->cap_ids = cap;
        return 0;
}

/* A symbol that is no token: its bytes, or the unknown token for each that has none. */
static int put_bytes(const Tokenizer *t, EncodeScratch *s, const char *text, size_t len) {
        for (size_t i = 0; i < len; i++) {
                int32_t id = t->bytes[(uint8_t)text[i]];
                if (id >= 0) {
                        put_id(s, id);
                } else if (t->unk < 0) {
                        return -EINVAL;
                } else if (t->kind == TOKENIZER_BPE || s->after_unk != s->n_ids) {
                        put_id(s, t->unk);
                        s->after_unk = s->n_ids;
                }
        }
        return 0;
}

static int put_symbols(const Tokenizer *t, EncodeScratch *s, const char *word, size_t len) {
        const Symbol *symbol;
        for (size_t i = 0; i < len; i = symbol->next) {
                symbol = &s->merge.symbols[i];
                if (symbol->id >= 0) {
                        put_id(s, symbol->id);
                        continue;
                }
                int r = put_bytes(t, s, word + i, symbol->len);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void merge_word(const Tokenizer *t, MergeScratch *m, const char *word, uint32_t len) {
        if (t->kind == TOKENIZER_SPM)
                spm_split(t, m, word, len);
        else
                bpe_split(t, m, word, len);
        merge_run(m, t, word, len);
}

int encode_word(const Tokenizer *t, EncodeScratch *s, const char *word, size_t len) {
        int32_t id = -1;
        bool is_token = map_get(&t->ids, word, len, &id);
        uint8_t whole = is_token ? atomic_load_explicit(&t->whole[id], memory_order_relaxed) : WHOLE_NO;
        if (whole == WHOLE_YES || (is_token && t->ignore_merges)) {
                put_id(s, id);
                return 0;
        }
        int r = merge_scratch_reserve(&s->merge, len);
        if (r < 0)
                return r;
        merge_word(t, &s->merge, word, (uint32_t)len);
        if (whole == WHOLE_UNKNOWN) {
                whole = s->merge.symbols[0].id == id ? WHOLE_YES : WHOLE_NO;
                atomic_store_explicit(&t->whole[id], whole, memory_order_relaxed);
        }
        return put_symbols(t, s, word, len);
}

/* Does text that follows token `id` get a space in front? */
static bool prefix_after(const Tokenizer *t, int32_t id) {
        if (t->space_prefix == SPACE_PREFIX_AFTER_CONTROL)
                return t->types[id] != TOKEN_USER_DEFINED;
        return t->space_prefix == SPACE_PREFIX_ALWAYS || t->space_prefix == SPACE_PREFIX_ALWAYS_MISSING;
}

typedef int EncodeBetween(const Tokenizer *t, EncodeScratch *s, const char *text, size_t len);

/* Text and special tokens in turn. */
static int encode_parts(const Tokenizer *t, EncodeScratch *s, const Specials *specials, EncodeBetween *between,
                        const char *text, size_t len) {
        int r = 0;
        for (size_t at = 0; at < len && r == 0;) {
                SpecialMatch m = {.start = len, .end = len};
                bool found = specials_find(specials, text, len, at, s->parse, &m);
                if (m.start > at)
                        r = between(t, s, text + at, m.start - at);
                if (r == 0 && found && (r = reserve_ids(s, 1)) == 0) {
                        put_id(s, m.id);
                        s->prefix = prefix_after(t, m.id);
                }
                at = m.end;
        }
        return r;
}

/* What is no UTF-8 becomes U+FFFD. */
static int make_valid(EncodeScratch *s, const char **text, size_t *len) {
        bool bad;
        if (utf8_valid_prefix(*text, *len, &bad) == *len)
                return 0;
        Utf8Stream u = {.n = 0};
        buf_clear(&s->valid);
        utf8_stream_put(&u, *text, *len, true, &s->valid);
        *text = s->valid.data;
        *len = s->valid.len;
        return s->valid.failed ? -ENOMEM : 0;
}

static int encode_normalised(const Tokenizer *t, EncodeScratch *s, EncodeBetween *words, const char *text, size_t len) {
        int r = make_valid(s, &text, &len);
        if (r == 0)
                r = normalizer_run(t->normalizer, &s->normalizer, text, len, &text, &len);
        return r < 0 ? r : encode_parts(t, s, &t->normalized, words, text, len);
}

static int encode_text(const Tokenizer *t, EncodeScratch *s, const char *text, size_t len) {
        switch (t->kind) {
        case TOKENIZER_SPM:
                return t->normalizer ? encode_normalised(t, s, spm_encode, text, len) : spm_encode(t, s, text, len);
        case TOKENIZER_BPE:
                return bpe_encode(t, s, text, len);
        case TOKENIZER_WORDPIECE:
                return encode_normalised(t, s, wordpiece_encode, text, len);
        case TOKENIZER_UNIGRAM:
                return encode_normalised(t, s, unigram_encode, text, len);
        }
        return -EINVAL;
}

static void encode_scratch_deinit(EncodeScratch *s) {
        merge_scratch_deinit(&s->merge);
        pretokenizer_scratch_free(s->pretokenizer);
        normalizer_scratch_deinit(&s->normalizer);
        buf_deinit(&s->valid);
        buf_deinit(&s->text);
        free(s->steps);
        free(s->ids);
}

static int put_first(EncodeScratch *s) {
        int r = reserve_ids(s, s->n_first);
        if (r == 0 && s->n_first > 0)
                memcpy(s->ids + s->n_ids, s->first, s->n_first * sizeof(*s->ids));
        s->n_ids += r == 0 ? s->n_first : 0;
        return r;
}

/* The parts of `template`, one after the other; `ends` is told where each ends among the ids. */
static int encode_template(const Tokenizer *t, EncodeScratch *s, const Template *template, const TokenText *texts,
                           size_t *ends) {
        for (size_t i = 0; i < template->n; i++) {
                int32_t id = template->parts[i].id;
                int r = reserve_ids(s, 1);
                s->prefix = t->space_prefix != SPACE_PREFIX_NONE && !s->goes_on;
                s->after_unk = SIZE_MAX;
                if (r == 0 && id >= 0)
                        put_id(s, id);
                else if (r == 0 && id == TEMPLATE_FIRST && s->first)
                        r = put_first(s);
                else if (r == 0)
                        r = encode_parts(t, s, &t->specials, encode_text, texts[TEMPLATE_FIRST - id].data,
                                         texts[TEMPLATE_FIRST - id].len);
                if (r < 0)
                        return r;
                ends[i] = s->n_ids;
        }
        return 0;
}

static const Template *find_template(const Tokenizer *t, size_t n_texts, unsigned flags) {
        if (flags & TOKENIZE_ADD_SPECIAL)
                return n_texts == 1 ? &t->single : &t->pair;
        return n_texts == 1 ? &bare_single : &bare_pair;
}

/* Encodes by `template` into `ret`, which has no types yet. Ends the scratch. */
static int encode(const Tokenizer *t, EncodeScratch *s, const Template *template, const TokenText *texts, size_t n_texts,
                  Encoding *ret, size_t *ends) {
        size_t len = 0;
        for (size_t i = 0; i < n_texts; i++)
                len = MAX(len, texts[i].len);
        int r = len >= INT32_MAX ? -E2BIG : reserve_ids(s, MIN(len, (size_t)256) + 2);
        if (r == 0)
                r = encode_template(t, s, template, texts, ends);
        if (r == 0)
                *ret = (Encoding){.ids = TAKE(s->ids), .n = s->n_ids};
        encode_scratch_deinit(s);
        return r;
}

int tokenizer_encode(const Tokenizer *t, const char *text, size_t len, unsigned flags, int32_t **ret, size_t *ret_n) {
        EncodeScratch s = {.parse = flags & TOKENIZE_PARSE_SPECIAL, .goes_on = flags & TOKENIZE_GOES_ON};
        Encoding e;
        size_t ends[TEMPLATE_MAX];
        int r = encode(t, &s, find_template(t, 1, flags), &(TokenText){text, len}, 1, &e, ends);
        if (r < 0)
                return r;
        *ret = e.ids;
        *ret_n = e.n;
        return 0;
}

void encoding_deinit(Encoding *e) {
        free(e->ids);
        free(e->types);
        *e = (Encoding){0};
}

static int encode_with_types(const Tokenizer *t, EncodeScratch *s, const Template *template, const TokenText *texts,
                             size_t n_texts, Encoding *ret) {
        _cleanup_(encoding_deinit) Encoding e = {0};
        size_t ends[TEMPLATE_MAX];
        if (template->n == 0)
                return -EOPNOTSUPP;
        int r = encode(t, s, template, texts, n_texts, &e, ends);
        if (r < 0)
                return r;
        e.types = malloc(MAX(e.n, (size_t)1));
        if (!e.types)
                return -ENOMEM;
        for (size_t i = 0, start = 0; i < template->n; start = ends[i++]) {
                const TemplatePart *part = &template->parts[i];
                memset(e.types + start, part->type, ends[i] - start);
                if (part->id < 0) {
                        e.texts[TEMPLATE_FIRST - part->id].start = start;
                        e.texts[TEMPLATE_FIRST - part->id].n = ends[i] - start;
                }
        }
        *ret = e;
        e = (Encoding){0};
        return 0;
}

int tokenizer_encode_texts(const Tokenizer *t, const TokenText *texts, size_t n_texts, unsigned flags, Encoding *ret) {
        EncodeScratch s = {.parse = flags & TOKENIZE_PARSE_SPECIAL};
        return encode_with_types(t, &s, find_template(t, n_texts, flags), texts, n_texts, ret);
}

int tokenizer_encode_pair(const Tokenizer *t, const int32_t *first, size_t n_first, TokenText second, Encoding *ret) {
        EncodeScratch s = {.first = first, .n_first = n_first};
        return encode_with_types(t, &s, &t->pair, (TokenText[]){{"", 0}, second}, 2, ret);
}

bool tokenizer_has_pairs(const Tokenizer *t) {
        return t->pair.n > 0;
}

/* Drops the last ids of a text. */
static void shorten(Encoding *e, unsigned text, size_t n) {
        size_t drop = e->texts[text].n - n, from = e->texts[text].start + n, rest = e->n - from - drop;
        memmove(e->ids + from, e->ids + from + drop, rest * sizeof(*e->ids));
        memmove(e->types + from, e->types + from + drop, rest);
        if (e->texts[!text].start > e->texts[text].start)
                e->texts[!text].start -= drop;
        e->texts[text].n = n;
        e->n -= drop;
}

bool encoding_truncate(Encoding *e, size_t max) {
        size_t n_added = e->n - e->texts[0].n - e->texts[1].n;
        unsigned shorter = e->texts[0].n > e->texts[1].n;
        if (e->n <= max)
                return true;
        if (max < n_added)
                return false;
        size_t room = max - n_added, keep = e->texts[shorter].n;
        if (keep > room / 2) /* both are too long: they share, and what is odd goes to the longer one */
                keep = room / 2;
        shorten(e, !shorter, room - keep);
        shorten(e, shorter, keep);
        return true;
}

TokenizerKind tokenizer_kind(const Tokenizer *t) {
        return t->kind;
}

size_t tokenizer_n_tokens(const Tokenizer *t) {
        return t->n;
}

int32_t tokenizer_bos(const Tokenizer *t) {
        return t->bos;
}

int32_t tokenizer_eos(const Tokenizer *t) {
        return t->eos;
}

FillTokens tokenizer_fill(const Tokenizer *t) {
        return t->fill;
}

bool tokenizer_is_eog(const Tokenizer *t, int32_t id) {
        return id >= 0 && (size_t)id < t->n && t->eog[id];
}

TokenText tokenizer_piece(const Tokenizer *t, int32_t id, bool special) {
        if (id < 0 || (size_t)id >= t->n || (!special && !is_text(t, (size_t)id)))
                return (TokenText){"", 0};
        return token_text(t, (size_t)id);
}

int tokenizer_decode(const Tokenizer *t, const int32_t *ids, size_t n, bool special, bool strip_space, Buf *out) {
        bool strip = strip_space && t->space_prefix != SPACE_PREFIX_NONE;
        for (size_t i = 0; i < n; i++) {
                TokenText piece = tokenizer_piece(t, ids[i], special);
                bool first_text = strip && piece.len > 0 && is_text(t, (size_t)ids[i]);
                size_t skip = first_text && piece.data[0] == ' ';
                buf_put(out, piece.data + skip, piece.len - skip);
                strip = strip && !first_text;
        }
        return out->failed ? -ENOMEM : 0;
}
