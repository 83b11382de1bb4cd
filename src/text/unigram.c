/* Unigram, as in SentencePiece's unigram_model.cc (EncodeOptimized): of all ways to cut a word into tokens the one with
 * the greatest sum of log probabilities, by Viterbi's algorithm over the trie of tokens. A character that is no token
 * counts as unknown, with a probability below all; unknown characters in a row become one unknown token, or the byte
 * tokens of all their bytes.
 *
 * Spaces are plain spaces here, in vocabulary and text, as in spm.c. Which of two equally probable ways is taken
 * depends on how sums are rounded: Hugging Face's tokenizers have double precision, SentencePiece single. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer-internal.h"

int unigram_init(Tokenizer *t, const TokenizerSpec *spec, Error *e) {
        if (spec->words > WORDS_WHITE)
                return error_set(e, -EOPNOTSUPP, "a Unigram vocabulary with such a pre-tokenizer is not supported");
        _cleanup_free_ TokenText *texts = calloc(t->n, sizeof(*texts));
        t->log_probs = calloc(t->n, sizeof(*t->log_probs));
        if (!texts || !t->log_probs)
                return error_set(e, -ENOMEM, "not enough memory for a vocabulary of %zu tokens", t->n);
        t->unk_log_prob = spec->unk_log_prob;
        t->single_precision = spec->single_precision;
        for (size_t i = 0; i < t->n; i++) {
                t->log_probs[i] = spec->log_probs[i];
                texts[i] = token_text(t, i);
                if (!isfinite(spec->log_probs[i]))
                        return error_set(e, -EINVAL, "the score of token %zu is not a finite number", i);
        }
        if (!isfinite(spec->unk_log_prob))
                return error_set(e, -EINVAL, "the score of unknown characters is not a finite number");
        return tokens_trie_init(t, spec, texts, e);
}

static int reserve_steps(EncodeScratch *s, size_t n) {
        if (n <= s->cap_steps)
                return 0;
        size_t cap = MAX(n, MAX(2 * s->cap_steps, (size_t)256));
        UnigramStep *steps = reallocarray(s->steps, cap, sizeof(*steps));
        if (!steps)
                return -ENOMEM;
        s->steps = steps;
        s->cap_steps = cap;
        return 0;
}

/* A way to `to` whose last token begins at `from`; the first of equals is kept. */
static void consider(const Tokenizer *t, UnigramStep *steps, size_t from, size_t to, double log_prob, int32_t id) {
        double sum = steps[from].log_prob + log_prob;
        if (t->single_precision)
                sum = (float)sum;
        if (steps[to].from == UINT32_MAX || sum > steps[to].log_prob)
                steps[to] = (UnigramStep){.log_prob = sum, .from = (uint32_t)from, .id = id};
}

static void find_best(const Tokenizer *t, UnigramStep *steps, const char *word, size_t len) {
        const TrieNode *nodes = t->trie.nodes;
        steps[0] = (UnigramStep){.from = 0};
        for (size_t i = 1; i <= len; i++)
                steps[i].from = UINT32_MAX;
        for (size_t i = 0, n; i < len; i += n) {
                bool is_token = false;
                uint32_t node = 0;
                n = unicode_len(word[i]);
                for (size_t k = i; k < len && trie_step(&t->trie, &node, word[k]); k++) {
                        int32_t id = nodes[node].value;
                        if (id < 0)
                                continue;
                        consider(t, steps, i, k + 1, t->log_probs[id], id);
                        is_token = is_token || k + 1 - i == n;
                }
                if (!is_token)
                        consider(t, steps, i, i + n, t->unk_log_prob, -1);
        }
}

/* Writes what stands for unknown characters before *at; false: there is nothing that could. */
static bool put_unknown(const Tokenizer *t, const char *text, size_t len, int32_t **at) {
        bool bytes = true;
        for (size_t i = 0; i < len && bytes; i++)
                bytes = t->bytes[(uint8_t)text[i]] >= 0;
        for (size_t i = len; i > 0 && bytes; i--)
                *--*at = t->bytes[(uint8_t)text[i - 1]];
        if (!bytes && t->unk >= 0)
                *--*at = t->unk;
        return bytes || t->unk >= 0;
}

/* The best way is known from its end, so ids are written from the end of their room, a byte at least for each. */
static int put_word(const Tokenizer *t, EncodeScratch *s, const char *word, size_t len) {
        int r = reserve_steps(s, len + 1);
        if (r < 0)
                return r;
        find_best(t, s->steps, word, len);
        int32_t *ids = s->ids + s->n_ids, *at = ids + len;
        for (size_t end = len, from; end > 0; end = from) {
                from = s->steps[end].from;
                if (s->steps[end].id >= 0) {
                        *--at = s->steps[end].id;
                        continue;
                }
                while (from > 0 && s->steps[from].id < 0)
                        from = s->steps[from].from;
                if (!put_unknown(t, word + from, end - from, &at))
                        return -EINVAL;
        }
        size_t n = (size_t)(ids + len - at);
        memmove(ids, at, n * sizeof(*ids));
        s->n_ids += n;
        return 0;
}

/* Words between white space, each with its space in front. */
static void put_white_words(const Tokenizer *t, EncodeScratch *s, const char *text, size_t len) {
        const char *word = text, *end = text + len;
        for (const char *p = text, *next; p < end; p = next) {
                next = p;
                if (!unicode_is_white(unicode_next(&next)))
                        continue;
                if (p > word)
                        spm_put_text(t, s, word, (size_t)(p - word));
                word = next;
        }
        if (end > word)
                spm_put_text(t, s, word, (size_t)(end - word));
}

int unigram_encode(const Tokenizer *t, EncodeScratch *s, const char *text, size_t len) {
        buf_clear(&s->text);
        if (t->words == WORDS_WHITE)
                put_white_words(t, s, text, len);
        else
                spm_put_text(t, s, text, len);
        int r = s->text.failed ? -ENOMEM : reserve_ids(s, s->text.len);
        const char *p = s->text.data, *end = p + s->text.len;
        for (const char *next; r == 0 && p < end; p = next) {
                next = t->words == WORDS_NONE ? NULL : memchr(p + 1, ' ', (size_t)(end - p - 1));
                next = next ? next : end;
                r = put_word(t, s, p, (size_t)(next - p));
        }
        return r;
}
