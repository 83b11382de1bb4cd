/* SentencePiece-style BPE ("llama" in GGUF), as in SentencePiece's bpe_model.cc: characters are merged in order of the
 * score of the token they make, whatever pairs the training had merged. A tokenizer.json has no scores but the merges
 * that follow from them, in order (bpe.c).
 *
 * SentencePiece writes a space as U+2581 in vocabulary and text. Here it is the other way round: pieces and text have
 * plain spaces, so that a piece is what it decodes to; only a U+2581 in the text, which means the same, has to be
 * replaced. A vocabulary whose tokens have spaces only in front lets text be cut before every run of spaces, which
 * changes no result and makes words that can be looked up whole. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer-internal.h"
#include "text/utf8.h"

#define SPACE_MARK "\xe2\x96\x81" /* U+2581 */
#define SPACE_MARK_LEN 3

/* Appends `text` with every U+2581 as a space. */
static void put_with_spaces(const char *text, size_t len, Buf *out) {
        for (const char *mark; (mark = memmem(text, len, SPACE_MARK, SPACE_MARK_LEN));) {
                size_t before = (size_t)(mark - text);
                buf_put(out, text, before);
                buf_putc(out, ' ');
                text += before + SPACE_MARK_LEN;
                len -= before + SPACE_MARK_LEN;
        }
        buf_put(out, text, len);
}

void spm_put_piece(TokenText text, Buf *out) {
        put_with_spaces(text.data, text.len, out);
}

typedef struct Scored {
        float score;
        uint32_t id;
} Scored;

static int by_score(const void *a, const void *b) {
        float x = ((const Scored *)a)->score, y = ((const Scored *)b)->score;
        return (x < y) - (x > y);
}

static int rank_scores(Tokenizer *t, const float *scores, Error *e) {
        _cleanup_free_ Scored *order = calloc(t->n, sizeof(Scored));
        t->ranks = calloc(t->n, sizeof(uint32_t));
        if (!order || !t->ranks)
                return error_set(e, -ENOMEM, "not enough memory for a vocabulary of %zu tokens", t->n);
        for (size_t i = 0; i < t->n; i++) {
                if (isnan(scores[i]))
                        return error_set(e, -EINVAL, "the score of token %zu is not a number", i);
                order[i] = (Scored){.score = scores[i], .id = (uint32_t)i};
        }
        qsort(order, t->n, sizeof(Scored), by_score);
        uint32_t rank = 0;
        for (size_t i = 0; i < t->n; i++) {
                if (i > 0 && order[i].score < order[i - 1].score)
                        rank++;
                t->ranks[order[i].id] = rank;
        }
        return 0;
}

static bool has_space_inside(TokenText text) {
        for (size_t i = 1; i < text.len; i++)
                if (text.data[i] == ' ' && text.data[i - 1] != ' ')
                        return true;
        return false;
}

int spm_init(Tokenizer *t, const TokenizerSpec *spec, Error *e) {
        t->space_starts_word = true;
        for (size_t i = 0; i < t->n && t->space_starts_word; i++)
                t->space_starts_word = !token_is_mergeable(t, i) || !has_space_inside(token_text(t, i));
        return spec->scores ? rank_scores(t, spec->scores, e) : merges_load(t, spec, e);
}

/* Length of the word at the start of `text`: up to the next space that follows something else. */
static size_t word_len(const Tokenizer *t, const char *text, size_t len) {
        if (!t->space_starts_word)
                return len;
        size_t i = 0;
        while (i < len && text[i] == ' ')
                i++;
        const char *space = memchr(text + i, ' ', len - i);
        return space ? (size_t)(space - text) : len;
}

static bool begins_with_space(const char *text, size_t len) {
        return text[0] == ' ' || (len >= SPACE_MARK_LEN && memcmp(text, SPACE_MARK, SPACE_MARK_LEN) == 0);
}

void spm_put_text(const Tokenizer *t, EncodeScratch *s, const char *text, size_t len) {
        bool if_missing = t->space_prefix >= SPACE_PREFIX_ALWAYS_MISSING;
        if (s->prefix && !(if_missing && begins_with_space(text, len)))
                buf_putc(&s->text, ' ');
        put_with_spaces(text, len, &s->text);
}

int spm_encode(const Tokenizer *t, EncodeScratch *s, const char *text, size_t len) {
        buf_clear(&s->text);
        spm_put_text(t, s, text, len);
        int r = s->text.failed ? -ENOMEM : reserve_ids(s, s->text.len);
        for (size_t i = 0, n; r == 0 && i < s->text.len; i += n) {
                n = word_len(t, s->text.data + i, s->text.len - i);
                r = encode_word(t, s, s->text.data + i, n);
        }
        return r;
}

void spm_split(const Tokenizer *t, MergeScratch *m, const char *word, uint32_t len) {
        for (uint32_t i = 0, n, prev = UINT32_MAX; i < len; prev = i, i += n) {
                int k = utf8_char(word + i, len - i);
                n = k > 0 ? (uint32_t)k : 1;
                int32_t id = -1;
                map_get(&t->ids, word + i, n, &id);
                merge_put_symbol(m, prev, i, n, id);
        }
}

bool spm_merge(const Tokenizer *t, const char *text, uint32_t len, Merge *ret) {
        int32_t id;
        if (!map_get(&t->ids, text, len, &id))
                return false;
        *ret = (Merge){.rank = t->ranks[id], .id = id};
        return true;
}
