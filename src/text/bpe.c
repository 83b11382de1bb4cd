/* Byte-level BPE ("gpt2" in GGUF), as in GPT-2's encoder.py: text is cut into words by a regex, a word starts as its
 * bytes, and neighbours merge in the order in which the training merged them.
 *
 * Vocabulary and merges are written in printable characters: bytes that print stand for themselves as Latin-1, the
 * others are moved up to U+0100…U+0143 in order. That is undone on loading, so that pieces are the bytes they stand
 * for. A piece with any other character (added tokens have them) is plain text.
 *
 * Text is normalised (NFC) where the model was trained on such text, as Qwen was. Bytes that are not UTF-8 are words of
 * their own between the words of the text around them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "text/tokenizer-internal.h"
#include "text/utf8.h"
#include "util/str.h"

struct MergeSlot {
        int32_t left, right; /* left < 0: free */
        Merge merge;
};

static struct MergeSlot *find_slot(const MergeTable *m, int32_t left, int32_t right) {
        const int32_t pair[2] = {left, right};
        for (size_t i = hash_bytes(pair, sizeof(pair), m->seed) & m->mask;; i = (i + 1) & m->mask) {
                struct MergeSlot *slot = &m->slots[i];
                if (slot->left < 0 || (slot->left == left && slot->right == right))
                        return slot;
        }
}

static int merges_init(MergeTable *m, size_t n) {
        size_t cap = 16;
        while (cap / 2 < n)
                cap *= 2;
        m->slots = reallocarray(NULL, cap, sizeof(struct MergeSlot));
        if (!m->slots)
                return -ENOMEM;
        m->mask = cap - 1;
        if (getrandom(&m->seed, sizeof(m->seed), GRND_NONBLOCK) < 0)
                m->seed = (uintptr_t)m->slots;
        for (size_t i = 0; i < cap; i++)
                m->slots[i].left = -1;
        return 0;
}

static bool byte_prints(unsigned c) {
        return (c >= '!' && c <= '~') || (c >= 0xa1 && c <= 0xac) || (c >= 0xae && c <= 0xff);
}

/* The byte that a character of the vocabulary stands for, or -1. All of them are below U+0800: two bytes at most. */
static int byte_of_char(const char *s, int len) {
        const unsigned char *p = (const unsigned char *)s;
        if (len < 1 || len > 2)
                return -1;
        unsigned c = len == 1 ? p[0] : (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
        if (c < 0x100)
                return byte_prints(c) ? (int)c : -1;
        for (unsigned byte = 0, moved = 0x100; byte < 0x100; byte++)
                if (!byte_prints(byte) && moved++ == c)
                        return (int)byte;
        return -1;
}

/* Appends the bytes of a text of the vocabulary; false, with nothing appended, if it is not written that way. */
static bool put_bytes(const char *text, size_t len, Buf *out) {
        size_t before = out->len;
        for (size_t i = 0, n; i < len; i += n) {
                int k = utf8_char(text + i, len - i), byte = byte_of_char(text + i, k);
                if (byte < 0) {
                        out->len = before;
                        return false;
                }
                buf_putc(out, (char)byte);
                n = (size_t)k;
        }
        return true;
}

void bpe_put_piece(TokenText text, Buf *out) {
        if (!put_bytes(text.data, text.len, out))
                buf_put(out, text.data, text.len);
}

/* The bytes that a part of a merge stands for. */
static bool put_part(const Tokenizer *t, const char *text, size_t len, Buf *out) {
        if (t->kind == TOKENIZER_BPE)
                return put_bytes(text, len, out);
        spm_put_piece((TokenText){text, len}, out);
        return true;
}

/* One line of merges, "left right", as ids of the two and of what they make. */
static bool read_merge(const Tokenizer *t, TokenText line, Buf *bytes, int32_t *left, int32_t *right, int32_t *merged) {
        const char *space = line.len > 0 ? memchr(line.data + 1, ' ', line.len - 1) : NULL;
        if (!space)
                return false;
        size_t n = (size_t)(space - line.data);
        buf_clear(bytes);
        if (!put_part(t, line.data, n, bytes))
                return false;
        size_t middle = bytes->len;
        if (!put_part(t, space + 1, line.len - n - 1, bytes) || bytes->failed || middle == 0 || middle == bytes->len)
                return false;
        return map_get(&t->ids, bytes->data, middle, left) &&
               map_get(&t->ids, bytes->data + middle, bytes->len - middle, right) &&
               map_get(&t->ids, bytes->data, bytes->len, merged);
}

/* Merges made from SentencePiece's vocabulary name its control tokens too, which text becomes only as a whole. */
static bool makes_special(const Tokenizer *t, const Buf *bytes) {
        SpecialMatch m;
        return bytes->len > 0 && specials_find(&t->specials, bytes->data, bytes->len, 0, true, &m) && m.start == 0 &&
               m.end == bytes->len;
}

int merges_load(Tokenizer *t, const TokenizerSpec *spec, Error *e) {
        if (spec->n_merges >= UINT32_MAX)
                return error_set(e, -EINVAL, "the vocabulary has %zu merges, which is too many", spec->n_merges);
        if (merges_init(&t->merges, spec->n_merges) < 0)
                return error_set(e, -ENOMEM, "not enough memory for %zu merges", spec->n_merges);
        _cleanup_buf_ Buf bytes = BUF_NULL;
        for (size_t i = 0; i < spec->n_merges; i++) {
                TokenText line = spec->merges[i];
                int32_t left, right, merged;
                bool sound = read_merge(t, line, &bytes, &left, &right, &merged);
                if (!sound && t->kind == TOKENIZER_SPM && !bytes.failed && makes_special(t, &bytes))
                        continue;
                if (!sound)
                        return error_set(e, bytes.failed ? -ENOMEM : -EINVAL,
                                         "merge %zu, '%.*s', does not name two tokens of the vocabulary that make a third",
                                         i, (int)MIN(line.len, (size_t)64), line.data);
                struct MergeSlot *slot = find_slot(&t->merges, left, right);
                if (slot->left < 0)
                        *slot = (struct MergeSlot){left, right, {.rank = (uint32_t)i, .id = merged}};
        }
        return 0;
}

int bpe_init(Tokenizer *t, const TokenizerSpec *spec, Error *e) {
        const PretokenizerRule *rule = spec->pre ? pretokenizer_rule(spec->pre) : NULL;
        if (!rule)
                return error_set(e, -EOPNOTSUPP, "the pre-tokenizer '%s' is not supported", spec->pre ? spec->pre : "");
        t->ignore_merges = spec->ignore_merges;
        for (int byte = 0; byte < 256; byte++)
                map_get(&t->ids, &(char){(char)byte}, 1, &t->bytes[byte]);
        int r = pretokenizer_new(rule, &t->pretokenizer, e);
        return r < 0 ? r : merges_load(t, spec, e);
}

void bpe_deinit(Tokenizer *t) {
        free(t->merges.slots);
        pretokenizer_free(t->pretokenizer);
}

static int encode_valid(const Tokenizer *t, EncodeScratch *s, const char *text, size_t len) {
        for (size_t start = 0, end; start < len; start = end) {
                int r = pretokenizer_next(t->pretokenizer, s->pretokenizer, text, len, start, &end);
                if (r == 0)
                        r = encode_word(t, s, text + start, end - start);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int encode_normalised(const Tokenizer *t, EncodeScratch *s, const char *text, size_t len) {
        int r = normalizer_run(t->normalizer, &s->normalizer, text, len, &text, &len);
        if (r == 0)
                r = reserve_ids(s, len);
        return r < 0 ? r : encode_valid(t, s, text, len);
}

/* How many bytes from the start of `text` belong to no character. */
static size_t invalid_run(const char *text, size_t len) {
        size_t i = 0;
        while (i < len && utf8_char(text + i, len - i) <= 0)
                i++;
        return i;
}

int bpe_encode(const Tokenizer *t, EncodeScratch *s, const char *text, size_t len) {
        if (!s->pretokenizer)
                s->pretokenizer = pretokenizer_scratch_new(t->pretokenizer);
        if (!s->pretokenizer)
                return -ENOMEM;
        while (len > 0) {
                bool bad;
                size_t valid = utf8_valid_prefix(text, len, &bad);
                int r = encode_normalised(t, s, text, valid);
                size_t invalid = invalid_run(text + valid, len - valid);
                if (r == 0)
                        r = reserve_ids(s, len - valid);
                if (r == 0 && invalid > 0)
                        r = encode_word(t, s, text + valid, invalid);
                if (r < 0)
                        return r;
                text += valid + invalid;
                len -= valid + invalid;
        }
        return 0;
}

void bpe_split(const Tokenizer *t, MergeScratch *m, const char *word, uint32_t len) {
        for (uint32_t i = 0; i < len; i++)
                merge_put_symbol(m, i == 0 ? UINT32_MAX : i - 1, i, 1, t->bytes[(uint8_t)word[i]]);
}

bool bpe_merge(const Tokenizer *t, int32_t left, int32_t right, Merge *ret) {
        if (left < 0 || right < 0)
                return false;
        const struct MergeSlot *slot = find_slot(&t->merges, left, right);
        if (slot->left < 0)
                return false;
        *ret = slot->merge;
        return true;
}
