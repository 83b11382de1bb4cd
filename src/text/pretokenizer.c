/* Pre-tokenizer regexes, matched by PCRE2.
 *
 * The patterns are those the models were trained with (GPT-2's encoder.py, Llama 3's, Qwen's and gpt-oss's tokenizer.json),
 * rewritten where the original would backtrack, so that hostile text costs linear time: quantifiers are possessive
 * wherever what follows cannot match what they took. "\s*[\r\n]+", the part of a white-space run up to its last line
 * end, becomes a possessive chain of "blanks, then line ends". "\s+(?!\S)", a white-space run without its last
 * character if a word follows, gives back one character at most.
 *
 * White space is Unicode's White_Space property, spelled out: PCRE2's own \s also takes U+180E, which Unicode took
 * out of the property in version 6.3. The rest is general categories, so UTF mode alone is enough.
 *
 * JIT compilation is tried and does without where the system forbids writable code (MemoryDenyWriteExecute), as does
 * a match that does not fit the JIT's stack. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <errno.h>
#include <pcre2.h>
#include <string.h>

#include "text/pretokenizer.h"

#define LINE_ENDS "\\r\\n"
#define BLANKS                                                                                                         \
        "\\t\\x{b}\\x{c} \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define WHITE BLANKS LINE_ENDS
#define WORD "\\p{L}\\p{N}"

#define CONTRACTIONS "'(?:[stmd]|re|ve|ll)"
/* S and s also fold to U+017F, long s. */
#define CONTRACTIONS_ANY_CASE "(?i:" CONTRACTIONS ")"
/* A white-space run, without its last character where `upto` follows it. */
#define TRAILING_WHITE(upto) "[" WHITE "]+(?!" upto ")|[" WHITE "]+"
#define UPTO_LAST_LINE_END "(?:[" BLANKS "]*+[" LINE_ENDS "]++)++"

#define GPT2_PATTERN                                                                                                   \
        CONTRACTIONS "| ?\\p{L}++| ?\\p{N}++| ?[^" WHITE WORD "]++|" TRAILING_WHITE("[^" WHITE "]")
#define DIGITS_PATTERN                                                                                                 \
        CONTRACTIONS "| ?\\p{L}++|\\p{N}| ?[^" WHITE WORD "]++|" TRAILING_WHITE("[^" WHITE "\\p{N}]")
#define LLAMA3_PATTERN(digits)                                                                                         \
        CONTRACTIONS_ANY_CASE "|[^" LINE_ENDS WORD "]?\\p{L}++|\\p{N}" digits "| ?[^" WHITE WORD "]++[" LINE_ENDS "]*+"    \
        "|" UPTO_LAST_LINE_END "|" TRAILING_WHITE("[^" WHITE "]")

/* GPT-4o's letters, and those of Mistral's Tekken, which has no contractions and single digits: words are cut where a small
 * letter, or one of neither case, is followed by a capital. UPPER* LOWER+ of the original, which have the letters of neither
 * case in common, is: up to a small letter and on, or else up to the last letter of neither case. */
#define CAPITAL "\\p{Lu}\\p{Lt}"
#define NEITHER "\\p{Lm}\\p{Lo}\\p{M}"
#define UPPER "[" CAPITAL NEITHER "]"
#define LOWER "[\\p{Ll}" NEITHER "]"
#define GPT4O_PATTERN(end, digits)                                                                                     \
        "[^" LINE_ENDS WORD "]?(?:" UPPER "*+\\p{Ll}" LOWER "*+|(?:[" CAPITAL "]*+[" NEITHER "]++)++)" end               \
        "|[^" LINE_ENDS WORD "]?" UPPER "++" LOWER "*+" end "|\\p{N}" digits                                             \
        "| ?[^" WHITE WORD "]++[" LINE_ENDS "/]*+|" UPTO_LAST_LINE_END "|" TRAILING_WHITE("[^" WHITE "]")
#define GPT4O_PUBLISHED(end, digits)                                                                                   \
        "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+" end                             \
        "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*" end "|\\p{N}" digits              \
        "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* Llama 3's as its tokenizer.json has it; Qwen's differs in the digits. */
#define LLAMA3_PUBLISHED(digits)                                                                                       \
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" digits                                       \
        "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const PretokenizerRule rules[] = {
        {.names = "gpt-2 default olmo phi-2 jina-es jina-de jina-v2-es jina-v2-de gigachat",
         .pattern = GPT2_PATTERN},
        {.names = "llama-bpe llama3 llama-v3 falcon3 pixtral",
         .published = LLAMA3_PUBLISHED("{1,3}"),
         .pattern = LLAMA3_PATTERN("{1,3}+"),
         .ignore_merges = true,
         .add_bos = true},
        {.names = "dbrx smaug-bpe", .pattern = LLAMA3_PATTERN("{1,3}+")},
        {.names = "qwen2 deepseek-r1-qwen stablelm2 megrez",
         .published = LLAMA3_PUBLISHED(""),
         .pattern = LLAMA3_PATTERN("")},
        {.names = "gpt-4o llama4 kanana2",
         .published = GPT4O_PUBLISHED("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "{1,3}"),
         .pattern = GPT4O_PATTERN("(?:" CONTRACTIONS_ANY_CASE ")?", "{1,3}+")},
        {.names = "tekken", .published = GPT4O_PUBLISHED("", ""), .pattern = GPT4O_PATTERN("", ""), .ignore_merges = true, .add_bos = true},
        {.names = "smollm starcoder refact command-r codeshell", .pattern = DIGITS_PATTERN},
};

struct Pretokenizer {
        pcre2_code *code;
        pcre2_match_context *limits;
};

static bool has_name(const char *names, const char *name) {
        size_t len = strlen(name);
        for (const char *p = names; len > 0 && (p = strstr(p, name)); p += len)
                if ((p == names || p[-1] == ' ') && (p[len] == ' ' || p[len] == 0))
                        return true;
        return false;
}

const PretokenizerRule *pretokenizer_rule(const char *name) {
        for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
                if (has_name(rules[i].names, name))
                        return &rules[i];
        return NULL;
}

const PretokenizerRule *pretokenizer_rule_published(const char *regex) {
        for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
                if (rules[i].published && strcmp(rules[i].published, regex) == 0)
                        return &rules[i];
        return NULL;
}

int pretokenizer_new(const PretokenizerRule *rule, Pretokenizer **ret, Error *e) {
        _cleanup_(pretokenizer_freep) Pretokenizer *p = calloc(1, sizeof(*p));
        if (!p)
                return error_set(e, -ENOMEM, "not enough memory for a pre-tokenizer");
        int code;
        PCRE2_SIZE at;
        p->code = pcre2_compile((PCRE2_SPTR)rule->pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_ANCHORED, &code,
                                &at, NULL);
        if (!p->code) {
                char why[128];
                pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof(why));
                return error_set(e, -EINVAL, "the pre-tokenizer regex of '%s' does not compile at %zu: %s", rule->names,
                                 at, why);
        }
        p->limits = pcre2_match_context_create(NULL);
        if (!p->limits)
                return error_set(e, -ENOMEM, "not enough memory for a pre-tokenizer");
        /* Matching is linear: a limit could only refuse long text that is legal. */
        pcre2_set_match_limit(p->limits, UINT32_MAX);
        pcre2_set_depth_limit(p->limits, UINT32_MAX);
        (void)pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE);
        *ret = TAKE(p);
        return 0;
}

void pretokenizer_free(Pretokenizer *p) {
        if (!p)
                return;
        pcre2_code_free(p->code);
        pcre2_match_context_free(p->limits);
        free(p);
}

PretokenizerScratch *pretokenizer_scratch_new(const Pretokenizer *p) {
        return (PretokenizerScratch *)pcre2_match_data_create_from_pattern(p->code, NULL);
}

void pretokenizer_scratch_free(PretokenizerScratch *s) {
        pcre2_match_data_free((pcre2_match_data *)s);
}

int pretokenizer_next(const Pretokenizer *p, PretokenizerScratch *s, const char *text, size_t len, size_t start,
                      size_t *ret_end) {
        pcre2_match_data *match = (pcre2_match_data *)s;
        uint32_t options = PCRE2_NO_UTF_CHECK;
        int r = pcre2_match(p->code, (PCRE2_SPTR)text, len, start, options, match, p->limits);
        if (r == PCRE2_ERROR_JIT_STACKLIMIT)
                r = pcre2_match(p->code, (PCRE2_SPTR)text, len, start, options | PCRE2_NO_JIT, match, p->limits);
        size_t end = r > 0 ? pcre2_get_ovector_pointer(match)[1] : start;
        if (end <= start) /* every character is in some alternative, so this is no mere mismatch */
                return r == PCRE2_ERROR_NOMEMORY || r == PCRE2_ERROR_HEAPLIMIT ? -ENOMEM : -EINVAL;
        *ret_end = end;
        return 0;
}
