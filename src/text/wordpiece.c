/* WordPiece, as in BERT's tokenization.py: a word's tokens are found from the left, always the longest that fits. Those
 * that go on a word are marked in the vocabulary ("##ing"), so they are the part of the trie below the node of the
 * mark. A word that cannot be covered is one unknown token, as is one of too many characters.
 *
 * Words are runs of characters of one class between white space. ASCII has its classes in a table. */
#include <errno.h>
#include <string.h>

#include "text/tokenizer-internal.h"

enum { CLASS_WHITE, CLASS_WORD, CLASS_MARK };

static uint8_t find_class(WordCut words, int32_t c) {
        if (unicode_is_white(c))
                return CLASS_WHITE;
        if (words == WORDS_BERT)
                return unicode_is_punctuation(c) ? CLASS_MARK : CLASS_WORD;
        return words == WORDS_WHITE || unicode_is_word(c) ? CLASS_WORD : CLASS_MARK;
}

/* A piece that starts a word has its space, so that decoding puts words apart. */
void wordpiece_put_piece(const TokenizerSpec *spec, TokenText text, Buf *out) {
        size_t mark = spec->subword.len;
        bool goes_on = mark > 0 && text.len > mark && memcmp(text.data, spec->subword.data, mark) == 0;
        if (!goes_on)
                buf_putc(out, ' ');
        else
                text = (TokenText){text.data + mark, text.len - mark};
        buf_put(out, text.data, text.len);
}

int wordpiece_init(Tokenizer *t, const TokenizerSpec *spec, Error *e) {
        if (t->unk < 0)
                return error_set(e, -EINVAL, "a WordPiece vocabulary needs an unknown token");
        if (spec->words == WORDS_NONE || spec->words == WORDS_SPACED)
                return error_set(e, -EOPNOTSUPP, "a WordPiece vocabulary needs a pre-tokenizer that drops white space");
        t->max_word = spec->max_word;
        for (int c = 0; c < 128; c++)
                t->classes[c] = find_class(t->words, c);
        int r = tokens_trie_init(t, spec, spec->tokens, e);
        if (r < 0)
                return r;
        for (size_t i = 0; i < spec->subword.len && t->subword_root != UINT32_MAX; i++)
                if (!trie_step(&t->trie, &t->subword_root, spec->subword.data[i]))
                        t->subword_root = UINT32_MAX;
        return 0;
}

static bool is_too_long(const Tokenizer *t, const char *word, size_t len) {
        if (len <= t->max_word)
                return false;
        size_t n = 0;
        for (size_t i = 0; i < len; i++)
                n += ((unsigned char)word[i] & 0xc0) != 0x80;
        return n > t->max_word;
}

/* The longest token below `node` that `word` starts with: its length, or 0. */
static size_t longest_token(const Trie *trie, uint32_t node, const char *word, size_t len, int32_t *ret_id) {
        size_t longest = 0;
        for (size_t i = 0; i < len && trie_step(trie, &node, word[i]); i++)
                if (trie->nodes[node].value >= 0) {
                        *ret_id = trie->nodes[node].value;
                        longest = i + 1;
                }
        return longest;
}

static void put_word(const Tokenizer *t, EncodeScratch *s, const char *word, size_t len) {
        size_t before = s->n_ids;
        uint32_t root = is_too_long(t, word, len) ? UINT32_MAX : 0;
        int32_t id;
        for (size_t i = 0, n; i < len; i += n) {
                n = root == UINT32_MAX ? 0 : longest_token(&t->trie, root, word + i, len - i, &id);
                if (n == 0) {
                        s->n_ids = before;
                        put_id(s, t->unk);
                        return;
                }
                put_id(s, id);
                root = t->subword_root;
        }
}

static uint8_t next_class(const Tokenizer *t, const char **p) {
        unsigned char c = (unsigned char)**p;
        if (c >= 0x80)
                return find_class(t->words, unicode_next(p));
        (*p)++;
        return t->classes[c];
}

int wordpiece_encode(const Tokenizer *t, EncodeScratch *s, const char *text, size_t len) {
        int r = reserve_ids(s, len); /* a token takes a byte at least */
        if (r < 0)
                return r;
        const char *end = text + len, *next = text;
        while (text < end) {
                uint8_t class = next_class(t, &next);
                bool alone = class == CLASS_MARK && t->words == WORDS_BERT;
                const char *word_end = next;
                while (!alone && next < end && next_class(t, &next) == class)
                        word_end = next;
                if (class != CLASS_WHITE)
                        put_word(t, s, text, (size_t)(word_end - text));
                text = next = word_end;
        }
        return 0;
}
