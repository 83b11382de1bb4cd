/* Filling in the middle; see fill.h. The names are those of the models' own vocabularies; a file may say which tokens they are, but
 * most leave it to whoever reads it.
 *
 * A SentencePiece vocabulary puts a space in front of a text: of the first, as always, but not of what follows, which goes on from
 * the middle (encode_infilling() in Meta's CodeLlama and in mistral-common). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/fill.h"
#include "util/str.h"

enum { PREFIX, SUFFIX, MIDDLE, ROLES };

static const char *const families[][ROLES] = {
        {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"}, /* Qwen2.5-Coder, CodeGemma */
        {"<fim_prefix>", "<fim_suffix>", "<fim_middle>"},       /* StarCoder 2, Granite */
        {"<fim-prefix>", "<fim-suffix>", "<fim-middle>"},       /* SantaCoder */
        {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"}, /* DeepSeek-Coder */
        {"▁<PRE>", "▁<SUF>", "▁<MID>"},                         /* CodeLlama */
        {"<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"}, /* GLM-4.5 */
        {"[PREFIX]", "[SUFFIX]", NULL},                         /* Codestral */
};
static const char *const end_names[] = {
        "<|fim_pad|>", "<fim_pad>", "<fim-pad>", "<|repo_name|>", "<reponame>", "<|file_sep|>", "<|file_separator|>", "▁<EOT>",
};

static bool is_text(TokenText t, const char *name) {
        return name && bytes_are(t.data, t.len, name);
}

/* Of two tokens with one name the later is meant, as everywhere. */
static void find_names(const TokenizerSpec *spec, int32_t found[ARRAY_SIZE(families)][ROLES]) {
        for (size_t i = 0; i < spec->n_tokens; i++)
                for (size_t f = 0; f < ARRAY_SIZE(families); f++)
                        for (size_t k = 0; k < ROLES; k++)
                                if (is_text(spec->tokens[i], families[f][k]))
                                        found[f][k] = (int32_t)i;
}

static bool is_whole(const int32_t found[ROLES], const char *const names[ROLES]) {
        for (size_t k = 0; k < ROLES; k++)
                if (names[k] && found[k] < 0)
                        return false;
        return true;
}

static FillTokens find_family(const TokenizerSpec *spec) {
        int32_t found[ARRAY_SIZE(families)][ROLES];
        memset(found, -1, sizeof(found)); /* none */
        find_names(spec, found);
        for (size_t f = 0; f < ARRAY_SIZE(families); f++)
                if (is_whole(found[f], families[f]))
                        return (FillTokens){found[f][PREFIX], found[f][SUFFIX], found[f][MIDDLE]};
        return (FillTokens){-1, -1, -1};
}

FillTokens fill_find(const TokenizerSpec *spec) {
        FillTokens t = find_family(spec);
        const FillTokens *named = spec->fill ? spec->fill : &t;
        t.prefix = named->prefix >= 0 ? named->prefix : t.prefix;
        t.suffix = named->suffix >= 0 ? named->suffix : t.suffix;
        t.middle = named->middle >= 0 ? named->middle : t.middle;
        return t.prefix >= 0 && t.suffix >= 0 ? t : (FillTokens){-1, -1, -1};
}

void fill_find_ends(const TokenizerSpec *spec, bool *ends) {
        for (size_t i = 0; i < spec->n_tokens; i++)
                for (size_t k = 0; k < ARRAY_SIZE(end_names); k++)
                        ends[i] |= is_text(spec->tokens[i], end_names[k]);
}

typedef struct Part {
        int32_t mark;
        int32_t *ids;
        size_t n;
} Part;

static size_t put_part(int32_t *ids, size_t n, const Part *p) {
        ids[n++] = p->mark;
        if (p->n > 0)
                memcpy(ids + n, p->ids, p->n * sizeof(*ids));
        return n + p->n;
}

static int put_parts(const Part *first, const Part *second, int32_t end, int32_t **ret, size_t *ret_n) {
        int32_t *ids = calloc(first->n + second->n + 3, sizeof(*ids));
        if (!ids)
                return -ENOMEM;
        size_t n = put_part(ids, put_part(ids, 0, first), second);
        if (end >= 0)
                ids[n++] = end;
        *ret = ids;
        *ret_n = n;
        return 0;
}

int fill_encode(const Tokenizer *t, TokenText prefix, TokenText suffix, int32_t **ret, size_t *ret_n) {
        FillTokens marks = tokenizer_fill(t);
        Part before = {.mark = marks.prefix}, after = {.mark = marks.suffix};
        int r = tokenizer_encode(t, prefix.data, prefix.len, 0, &before.ids, &before.n);
        if (r == 0)
                r = tokenizer_encode(t, suffix.data, suffix.len, TOKENIZE_GOES_ON, &after.ids, &after.n);
        if (r == 0)
                r = marks.middle >= 0 ? put_parts(&before, &after, marks.middle, ret, ret_n) : put_parts(&after, &before, -1, ret, ret_n);
        free(before.ids);
        free(after.ids);
        return r;
}
