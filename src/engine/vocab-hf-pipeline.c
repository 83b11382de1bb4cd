/* The stages of a tokenizer.json in front of its model: normalizer and pre_tokenizer; and its decoder, which has to be
 * the way back that the Tokenizer's kind has anyway. */
#include <errno.h>
#include <stdio.h>

#include "engine/vocab-hf-internal.h"
#include "text/pretokenizer.h"

/* ---- normalizer ---- */

static const struct {
        const char *type;
        NormalizerKind kind;
} plain_steps[] = {
        {"NFC", NORMALIZE_NFC},
        {"NFD", NORMALIZE_NFD},
        {"NFKC", NORMALIZE_NFKC},
        {"NFKD", NORMALIZE_NFKD},
        {"Lowercase", NORMALIZE_LOWERCASE},
        {"StripAccents", NORMALIZE_STRIP_ACCENTS},
};

static bool read_text(const json_t *text, NormalizerText *ret) {
        *ret = (NormalizerText){json_string_value(text), json_string_length(text)};
        return json_is_string(text);
}

static unsigned bert_flags(const json_t *part) {
        bool lowercase = json_flag(part, "lowercase", true);
        return (json_flag(part, "clean_text", true) ? BERT_CLEAN : 0) |
               (json_flag(part, "handle_chinese_chars", true) ? BERT_CHINESE : 0) |
               (json_flag(part, "strip_accents", lowercase) ? BERT_STRIP_ACCENTS : 0) |
               (lowercase ? BERT_LOWERCASE : 0);
}

/* A string, or a run of two and more spaces, which is the one regex that normalizers use. */
static bool read_replace(const json_t *part, NormalizerStep *step) {
        const json_t *pattern = json_member(part, "pattern");
        if (!read_text(json_member(part, "content"), &step->to))
                return false;
        step->kind = NORMALIZE_REPLACE;
        if (read_text(json_member(pattern, "String"), &step->from))
                return true;
        step->kind = NORMALIZE_REPLACE_RUNS;
        step->from = (NormalizerText){" ", 1};
        return json_has(pattern, "Regex", " {2,}");
}

static int base64_digit(char c) {
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const char *at = c ? strchr(digits, c) : NULL;
        return at ? (int)(at - digits) : -1;
}

/* Appends the bytes of RFC 4648's base64; false where it is none. */
static bool put_base64(const char *text, size_t len, Buf *out) {
        uint32_t bits = 0;
        size_t n = len;
        while (n > 0 && len - n < 2 && text[n - 1] == '=')
                n--;
        if (len % 4 != 0 || n % 4 == 1)
                return false;
        for (size_t i = 0; i < n; i++) {
                int digit = base64_digit(text[i]);
                if (digit < 0)
                        return false;
                bits = bits << 6 | (uint32_t)digit;
                if (i % 4 > 0)
                        buf_putc(out, (char)(bits >> (6 - 2 * (i % 4))));
        }
        return true;
}

static int read_charsmap(Reader *v, const json_t *part, NormalizerStep *step) {
        const json_t *map = json_member(part, "precompiled_charsmap");
        if (v->charsmap.len > 0)
                return REFUSE(v, -EOPNOTSUPP, "more than one normalizer 'Precompiled' is not supported");
        if (!json_is_string(map) || !put_base64(json_string_value(map), json_string_length(map), &v->charsmap))
                return REFUSE(v, -EINVAL, "its precompiled_charsmap is not base64");
        if (v->charsmap.failed)
                return REFUSE(v, -ENOMEM, "not enough memory for its precompiled_charsmap");
        *step = (NormalizerStep){.kind = NORMALIZE_CHARSMAP, .from = {v->charsmap.data, v->charsmap.len}};
        return 0;
}

static int read_step(Reader *v, const json_t *part, NormalizerStep *step) {
        for (size_t i = 0; i < ARRAY_SIZE(plain_steps); i++)
                if (json_has_type(part, plain_steps[i].type)) {
                        step->kind = plain_steps[i].kind;
                        return 0;
                }
        if (json_has_type(part, "Precompiled"))
                return read_charsmap(v, part, step);
        if (json_has_type(part, "BertNormalizer")) {
                *step = (NormalizerStep){.kind = NORMALIZE_BERT, .flags = bert_flags(part)};
                return 0;
        }
        if (json_has_type(part, "Strip")) {
                *step = (NormalizerStep){.kind = NORMALIZE_STRIP,
                                         .flags = (json_flag(part, "strip_left", true) ? STRIP_LEFT : 0) |
                                                  (json_flag(part, "strip_right", true) ? STRIP_RIGHT : 0)};
                return 0;
        }
        if (json_has_type(part, "Replace") && read_replace(part, step))
                return 0;
        step->kind = NORMALIZE_PREPEND;
        if (json_has_type(part, "Prepend") && read_text(json_member(part, "prepend"), &step->to))
                return 0;
        return reader_refuse_part(v, "normalizer", part);
}

static int read_normalizer(Reader *v, const Stage *s) {
        int k = 0;
        for (size_t i = 0; i < s->n && k == 0; i++)
                k = read_step(v, s->parts[i], &v->steps[i]);
        v->spec.normalizer = v->steps;
        v->spec.n_normalizer = s->n;
        return k;
}

/* ---- byte-level BPE ---- */

static int set_rule(Reader *v, const PretokenizerRule *rule) {
        v->spec.kind = TOKENIZER_BPE;
        snprintf(v->pre, sizeof(v->pre), "%.*s", (int)strcspn(rule->names, " "), rule->names);
        v->spec.pre = v->pre;
        return 0;
}

static int read_split(Reader *v, const json_t *split) {
        const json_t *regex = json_member(json_member(split, "pattern"), "Regex");
        const PretokenizerRule *rule =
                json_is_string(regex) ? pretokenizer_rule_published(json_string_value(regex)) : NULL;
        char text[SHOWN_MAX];
        if (regex && !rule)
                return REFUSE(v, -EOPNOTSUPP, "the pre_tokenizer's regex '%s' is none that is known",
                              json_shown(text, regex));
        if (!rule || !json_has(split, "behavior", "Isolated") || json_flag(split, "invert", false))
                return reader_refuse_part(v, "pre_tokenizer", split);
        return set_rule(v, rule);
}

/* [Split or Digits,] ByteLevel: the latter cuts by GPT-2's regex itself, unless told not to. */
static int read_byte_level(Reader *v, const Stage *s) {
        const json_t *last = s->parts[s->n - 1], *first = s->n == 2 ? s->parts[0] : NULL;
        bool use_regex = json_flag(last, "use_regex", true), digits = first && json_has_type(first, "Digits");
        if (s->n > 2)
                return reader_refuse_part(v, s->name, s->parts[0]);
        if (json_flag(last, "add_prefix_space", true) || (first && !digits && use_regex) || (!first && !use_regex))
                return reader_refuse_part(v, s->name, last);
        if (!first)
                return set_rule(v, pretokenizer_rule("gpt-2"));
        if (digits && use_regex && json_flag(first, "individual_digits", false))
                return set_rule(v, pretokenizer_rule("smollm"));
        return json_has_type(first, "Split") ? read_split(v, first) : reader_refuse_part(v, s->name, first);
}

/* ---- SentencePiece's kinds ---- */

/* Spaces become U+2581, and one may be put in front; Unigram's words may begin there. */
static int read_metaspace(Reader *v, const json_t *part) {
        const json_t *scheme = json_member(part, "prepend_scheme");
        bool split = json_flag(part, "split", true);
        if (!json_has(part, "replacement", SPACE_MARK) || (split && v->spec.kind != TOKENIZER_UNIGRAM))
                return reader_refuse_part(v, "pre_tokenizer", part);
        v->spec.words = split ? WORDS_SPACED : WORDS_NONE;
        if (json_is(scheme, "first"))
                v->spec.space_prefix = SPACE_PREFIX_FIRST_MISSING;
        else if (scheme ? json_is(scheme, "always") : json_flag(part, "add_prefix_space", true))
                v->spec.space_prefix = SPACE_PREFIX_ALWAYS_MISSING;
        else if (scheme && !json_is(scheme, "never"))
                return reader_refuse_part(v, "pre_tokenizer", part);
        return 0;
}

static bool replaces(const json_t *part, const char *from, const char *to) {
        return json_has_type(part, "Replace") && json_has(json_member(part, "pattern"), "String", from) &&
               json_has(part, "content", to);
}

/* [Prepend U+2581,] Replace " " by U+2581 */
static int read_spm_normalizer(Reader *v, const Stage *s) {
        size_t i = 0;
        if (i < s->n && json_has_type(s->parts[i], "Prepend") && json_has(s->parts[i], "prepend", SPACE_MARK)) {
                v->spec.space_prefix = SPACE_PREFIX_ALWAYS;
                i++;
        }
        if (i == s->n)
                return REFUSE(v, -EOPNOTSUPP,
                              "neither its normalizer nor its pre_tokenizer says how spaces are written");
        if (replaces(s->parts[i], " ", SPACE_MARK))
                i++;
        return i < s->n ? reader_refuse_part(v, s->name, s->parts[i]) : 0;
}

/* Gemma's: a cut at spaces, of which the normalizer has left none. */
static bool cuts_at_nothing(const Stage *words, const Stage *normalizer) {
        return words->n == 1 && json_has_type(words->parts[0], "Split") &&
               json_has(json_member(words->parts[0], "pattern"), "String", " ") &&
               !json_flag(words->parts[0], "invert", false) && normalizer->n > 0 &&
               replaces(normalizer->parts[normalizer->n - 1], " ", SPACE_MARK);
}

static int read_merges_front(Reader *v, const Stage *words, const Stage *normalizer) {
        v->spec.kind = TOKENIZER_SPM;
        if (words->n == 0 || cuts_at_nothing(words, normalizer))
                return read_spm_normalizer(v, normalizer);
        if (words->n == 1 && json_has_type(words->parts[0], "Metaspace")) {
                int k = read_metaspace(v, words->parts[0]);
                return k < 0 || normalizer->n == 0 ? k : reader_refuse_part(v, normalizer->name, normalizer->parts[0]);
        }
        if (!json_has_type(words->parts[words->n - 1], "ByteLevel"))
                return reader_refuse_part(v, words->name, words->parts[words->n - 1]);
        int k = read_byte_level(v, words);
        return k < 0 ? k : read_normalizer(v, normalizer);
}

/* [WhitespaceSplit,] Metaspace */
static int read_unigram_words(Reader *v, const Stage *s) {
        bool white = s->n == 2 && json_has_type(s->parts[0], "WhitespaceSplit");
        if (s->n == 0)
                return REFUSE(v, -EOPNOTSUPP, "a Unigram model without the pre_tokenizer 'Metaspace' is not supported");
        if (s->n > 1 && !white)
                return reader_refuse_part(v, s->name, s->parts[0]);
        const json_t *last = s->parts[s->n - 1];
        if (!json_has_type(last, "Metaspace"))
                return reader_refuse_part(v, s->name, last);
        int k = read_metaspace(v, last);
        if (k < 0 || !white)
                return k;
        if (v->spec.words != WORDS_SPACED || v->spec.space_prefix != SPACE_PREFIX_ALWAYS_MISSING)
                return reader_refuse_part(v, s->name, last);
        v->spec.words = WORDS_WHITE;
        return 0;
}

static int read_wordpiece_words(Reader *v, const Stage *s) {
        if (s->n == 0)
                return REFUSE(v, -EOPNOTSUPP, "a WordPiece model without a pre_tokenizer is not supported");
        const json_t *part = s->parts[0];
        if (s->n > 1)
                return reader_refuse_part(v, s->name, s->parts[1]);
        if (json_has_type(part, "BertPreTokenizer"))
                v->spec.words = WORDS_BERT;
        else if (json_has_type(part, "Whitespace"))
                v->spec.words = WORDS_REGEX;
        else if (json_has_type(part, "WhitespaceSplit"))
                v->spec.words = WORDS_WHITE;
        else
                return reader_refuse_part(v, s->name, part);
        return 0;
}

/* ---- decoder ---- */

static bool decodes(const Reader *v, const json_t *part) {
        if (v->spec.kind == TOKENIZER_BPE)
                return json_has_type(part, "ByteLevel");
        if (v->spec.kind == TOKENIZER_WORDPIECE)
                return json_has_type(part, "WordPiece");
        return json_has_type(part, "ByteFallback") || json_has_type(part, "Fuse") || replaces(part, SPACE_MARK, " ") ||
               (json_has_type(part, "Metaspace") && json_has(part, "replacement", SPACE_MARK)) ||
               (json_has_type(part, "Strip") && json_has(part, "content", " ") &&
                json_integer_value(json_member(part, "start")) == 1 &&
                json_integer_value(json_member(part, "stop")) == 0);
}

static int check_decoder(const Reader *v) {
        Stage s;
        int k = reader_stage(v, "decoder", "decoders", &s);
        for (size_t i = 0; i < s.n && k == 0; i++)
                if (!decodes(v, s.parts[i]))
                        k = reader_refuse_part(v, s.name, s.parts[i]);
        return k;
}

int reader_front(Reader *v) {
        Stage words, normalizer;
        int k = reader_stage(v, "pre_tokenizer", "pretokenizers", &words);
        if (k < 0 || (k = reader_stage(v, "normalizer", "normalizers", &normalizer)) < 0)
                return k;
        if (v->spec.kind != TOKENIZER_WORDPIECE && v->spec.kind != TOKENIZER_UNIGRAM)
                k = read_merges_front(v, &words, &normalizer);
        else if ((k = read_normalizer(v, &normalizer)) == 0)
                k = v->spec.kind == TOKENIZER_UNIGRAM ? read_unigram_words(v, &words) : read_wordpiece_words(v, &words);
        return k < 0 ? k : check_decoder(v);
}
