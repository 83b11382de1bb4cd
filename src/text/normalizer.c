/* The steps of a normalizer; what each does is that of Hugging Face's tokenizers, and of SentencePiece for its own kind
 * of map.
 *
 * Most text is ASCII for the most part, and most steps leave ASCII alone or change it byte by byte: runs of it are
 * taken at once. */
#include <errno.h>
#include <string.h>
#include <utf8proc.h>

#include "text/charsmap.h"
#include "text/normalizer.h"

enum { GROWTH_MAX = 32, TEXT_MAX = 64, GRAPHEME_MAX = 6, SPACE_MARK = 0x2581 };

typedef struct Step {
        NormalizerKind kind;
        unsigned flags;
        Buf from, to;
        Charsmap map;
        char ascii[128]; /* BERT: what becomes of an ASCII byte; 0: nothing. CHARSMAP: whether it stays what it is */
} Step;

struct Normalizer {
        size_t n;
        Step steps[];
};

/* ---- ASCII ---- */

static bool is_ascii(char c) {
        return (unsigned char)c < 0x80;
}

static size_t ascii_run(const char *text, size_t len) {
        size_t i = 0;
        for (uint64_t word; i + sizeof(word) <= len; i += sizeof(word)) {
                memcpy(&word, text + i, sizeof(word));
                if (word & 0x8080808080808080u)
                        break;
        }
        while (i < len && is_ascii(text[i]))
                i++;
        return i;
}

static size_t other_run(const char *text, size_t len) {
        size_t i = 0;
        while (i < len && !is_ascii(text[i]))
                i++;
        return i;
}

static void put_lower_ascii(const char *text, size_t len, Buf *out) {
        char *p = buf_reserve(out, len);
        if (!p)
                return;
        for (size_t i = 0; i < len; i++)
                p[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] | 0x20) : text[i];
        out->len += len;
        p[len] = 0;
}

/* ---- normal forms and classes of characters ---- */

static int normal_form(const char *text, size_t len, bool compat, bool compose, Chars *chars, Buf *out) {
        if (ascii_run(text, len) == len) { /* ASCII is in every normal form */
                buf_put(out, text, len);
                return 0;
        }
        int r = chars_reserve(chars, len);
        for (const char *p = text, *end = text + len; p < end && r == 0;) {
                if (is_ascii(*p) && (r = chars_reserve(chars, 1)) == 0)
                        chars->data[chars->n++] = *p++;
                else if (r == 0)
                        r = chars_put_decomposed(chars, unicode_next(&p), compat);
        }
        if (r == 0)
                r = chars_order(chars);
        if (r == 0 && compose)
                chars_compose(chars);
        chars_write(chars, out);
        return r;
}

/* What is not ASCII, character by character; `lower`, or else without marks. */
static int by_char(const char *text, size_t len, bool lower, Chars *chars, Buf *out) {
        chars->n = 0;
        int r = chars_reserve(chars, len); /* a character has two bytes at least, and becomes two at most */
        for (const char *p = text, *end = text + len; p < end && r == 0;) {
                int32_t c = unicode_next(&p);
                if (lower)
                        chars_put_lower(chars, c);
                else if (!unicode_is_mark(c))
                        chars->data[chars->n++] = c;
        }
        chars_write(chars, out);
        return r;
}

static int each_char(const char *text, size_t len, bool lower, Chars *chars, Buf *out) {
        int r = 0;
        for (size_t i = 0, n; i < len && r == 0; i += n) {
                n = ascii_run(text + i, len - i);
                if (lower)
                        put_lower_ascii(text + i, n, out);
                else
                        buf_put(out, text + i, n);
                i += n;
                n = other_run(text + i, len - i);
                r = by_char(text + i, n, lower, chars, out);
        }
        return r;
}

static bool is_stripped(int32_t c, unsigned flags, int32_t mark) {
        return flags & STRIP_SPACES ? c == ' ' || c == mark : unicode_is_white(c);
}

static void strip(const char *text, size_t len, unsigned flags, Buf *out) {
        const char *end = text + len, *p;
        while ((flags & STRIP_LEFT) && text < end && (p = text, is_stripped(unicode_next(&p), flags, ' ')))
                text = p;
        while ((flags & STRIP_RIGHT) && end > text) {
                const char *last = end - 1;
                while ((*last & 0xc0) == 0x80)
                        last--;
                p = last;
                if (!is_stripped(unicode_next(&p), flags, SPACE_MARK))
                        break;
                end = last;
        }
        buf_put(out, text, (size_t)(end - text));
}

/* ---- replacing ---- */

/* Where `from` is next, at least `times` in a row, and how many bytes these have; the end when it is nowhere. */
static const char *next_run(const char *p, const char *end, const Buf *from, unsigned times, size_t *ret_len) {
        for (const char *at; (at = memmem(p, (size_t)(end - p), from->data, from->len)); p = at + *ret_len) {
                unsigned n = 1;
                *ret_len = from->len;
                while (times > 1 && (size_t)(end - at) - *ret_len >= from->len &&
                       memcmp(at + *ret_len, from->data, from->len) == 0) {
                        *ret_len += from->len;
                        n++;
                }
                if (n >= times)
                        return at;
        }
        return end;
}

static void replace(const char *text, size_t len, const Step *step, unsigned times, Buf *out) {
        const char *end = text + len;
        for (size_t n = 0; text < end; text += n) {
                const char *at = next_run(text, end, &step->from, times, &n);
                buf_put(out, text, (size_t)(at - text));
                text = at;
                if (text < end)
                        buf_put(out, step->to.data, step->to.len);
                else
                        break;
        }
}

/* ---- BertNormalizer ---- */

/* As Hugging Face's tokenizers have them; BERT's own begins one block at U+2B820. */
static bool is_chinese(int32_t c) {
        return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
               (c >= 0x2a700 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) || (c >= 0xf900 && c <= 0xfaff) ||
               (c >= 0x2f800 && c <= 0x2fa1f);
}

static void init_bert_ascii(Step *s) {
        for (int c = 0; c < 128; c++) {
                bool upper = c >= 'A' && c <= 'Z' && (s->flags & BERT_LOWERCASE);
                s->ascii[c] = (char)(upper ? c | 0x20 : c);
                if ((s->flags & BERT_CLEAN) && (c == '\t' || c == '\n' || c == '\r'))
                        s->ascii[c] = ' ';
                else if ((s->flags & BERT_CLEAN) && (c < ' ' || c == 0x7f))
                        s->ascii[c] = 0;
        }
}

static void bert_ascii(const Step *s, const char *text, size_t len, Buf *out) {
        char *p = buf_reserve(out, len);
        if (!p)
                return;
        for (size_t i = 0; i < len; i++) {
                char c = s->ascii[(unsigned char)text[i]];
                *p = c;
                p += c != 0 || !(s->flags & BERT_CLEAN); /* a NUL that is not cleaned away stays */
        }
        *p = 0;
        out->len = (size_t)(p - out->data);
}

/* Cleans, spaces and decomposes. */
static int bert_first_half(const Step *s, const char *text, size_t len, Chars *chars) {
        int r = 0;
        for (const char *p = text, *end = text + len; p < end && (r = chars_reserve(chars, 3)) == 0;) {
                int32_t c = unicode_next(&p);
                bool spaced = (s->flags & BERT_CHINESE) && is_chinese(c);
                if (s->flags & BERT_CLEAN) {
                        if (c == 0xfffd || unicode_is_control(c))
                                continue;
                        if (unicode_is_white(c))
                                c = ' ';
                }
                if (spaced)
                        chars->data[chars->n++] = ' ';
                if (!(s->flags & BERT_STRIP_ACCENTS))
                        chars->data[chars->n++] = c;
                else if ((r = chars_put_decomposed(chars, c, false)) < 0 || (r = chars_reserve(chars, 1)) < 0)
                        break;
                if (spaced)
                        chars->data[chars->n++] = ' ';
        }
        return r;
}

/* Drops accents and lowers what is left. Only U+0130 grows by that, and only where its accent was left on it. */
static int bert_second_half(const Step *s, Chars *chars) {
        size_t n = chars->n;
        int r = chars_reserve(chars, 2 * n);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                int32_t c = chars->data[i];
                if ((s->flags & BERT_STRIP_ACCENTS) && unicode_is_nonspacing(c))
                        continue;
                if (s->flags & BERT_LOWERCASE)
                        chars_put_lower(chars, c);
                else
                        chars->data[chars->n++] = c;
        }
        chars->n -= n;
        memmove(chars->data, chars->data + n, chars->n * sizeof(*chars->data));
        return 0;
}

static int bert_other(const Step *s, const char *text, size_t len, Chars *chars, Buf *out) {
        chars->n = 0;
        int r = bert_first_half(s, text, len, chars);
        if (r == 0 && (s->flags & BERT_STRIP_ACCENTS))
                r = chars_order(chars);
        if (r == 0)
                r = bert_second_half(s, chars);
        chars_write(chars, out);
        return r;
}

/* Characters that stay as they are, but for spaces around the Chinese ones; returns their bytes. */
static size_t bert_inert(const Step *s, const char *text, size_t len, Buf *out) {
        const char *p = text, *end = text + len;
        char *to = buf_reserve(out, 2 * len);
        while (to && p < end && !is_ascii(*p)) {
                const char *next = p;
                int32_t c = unicode_next(&next);
                size_t n = (size_t)(next - p);
                bool spaced = (s->flags & BERT_CHINESE) && is_chinese(c);
                if (!unicode_is_inert(c))
                        break;
                if (spaced)
                        *to++ = ' ';
                memcpy(to, p, n);
                to += n;
                if (spaced)
                        *to++ = ' ';
                p = next;
        }
        if (to) {
                *to = 0;
                out->len = (size_t)(to - out->data);
        }
        return (size_t)(p - text);
}

/* Up to a character that is ASCII or inert. */
static size_t changing_run(const char *text, size_t len) {
        const char *p = text, *end = text + len;
        for (const char *next = p; p < end && !is_ascii(*p); p = next)
                if (unicode_is_inert(unicode_next(&next)))
                        break;
        return (size_t)(p - text);
}

/* No step of this reaches across the border of an ASCII character, or an inert one. */
static int bert(const Step *s, const char *text, size_t len, Chars *chars, Buf *out) {
        int r = 0;
        for (size_t i = 0, n; i < len && r == 0; i += n) {
                n = ascii_run(text + i, len - i);
                bert_ascii(s, text + i, n, out);
                i += n;
                i += bert_inert(s, text + i, len - i, out);
                n = changing_run(text + i, len - i);
                if (n > 0)
                        r = bert_other(s, text + i, n, chars, out);
        }
        return r;
}

/* ---- charsmap ---- */

static void map_longest(const Charsmap *m, const char *text, size_t len, Buf *out) {
        for (size_t i = 0, n; i < len; i += n) {
                const char *to = charsmap_find(m, text + i, len - i, true, &n);
                if (to) {
                        buf_puts(out, to);
                } else {
                        n = unicode_len(text[i]);
                        buf_put(out, text + i, n);
                }
        }
}

static size_t grapheme_len(const char *text, size_t len) {
        const char *p = text, *end = text + len;
        if (len >= 2 && is_ascii(text[0]) && is_ascii(text[1])) /* the most common case: only CR LF stays together */
                return text[0] == '\r' && text[1] == '\n' ? 2 : 1;
        int32_t state = 0, last = unicode_next(&p);
        while (p < end) {
                const char *next = p;
                int32_t c = unicode_next(&next);
                if (utf8proc_grapheme_break_stateful(last, c, &state))
                        break;
                last = c;
                p = next;
        }
        return (size_t)(p - text);
}

/* A cluster is replaced as a whole where the map has only its beginning, too: models were trained that way. */
static void map_grapheme(const Charsmap *m, const char *text, size_t len, Buf *out) {
        size_t matched;
        const char *to = len < GRAPHEME_MAX ? charsmap_find(m, text, len, false, &matched) : NULL;
        if (to) {
                buf_puts(out, to);
                return;
        }
        for (size_t i = 0, n; i < len; i += n) {
                n = unicode_len(text[i]);
                to = charsmap_find(m, text + i, n, false, &matched);
                if (to)
                        buf_puts(out, to);
                else
                        buf_put(out, text + i, n);
        }
}

static void init_map_ascii(Step *s) {
        size_t n;
        for (int c = 0; c < 128; c++)
                s->ascii[c] = c != '\r' && !charsmap_find(&s->map, &(char){(char)c}, 1, false, &n);
}

/* ASCII that is no part of a cluster with what follows, and stays what it is. */
static size_t plain_run(const Step *s, const char *text, size_t len) {
        size_t i = 0;
        while (i < len && is_ascii(text[i]) && s->ascii[(unsigned char)text[i]])
                i++;
        return i > 0 && i < len && !is_ascii(text[i]) ? i - 1 : i;
}

static void map_graphemes(const Step *s, const char *text, size_t len, Buf *out) {
        for (size_t i = 0, n; i < len; i += n) {
                n = plain_run(s, text + i, len - i);
                buf_put(out, text + i, n);
                i += n;
                n = i < len ? grapheme_len(text + i, len - i) : 0;
                map_grapheme(&s->map, text + i, n, out);
        }
}

/* ---- the steps ---- */

static int run_step(const Step *s, const char *text, size_t len, Chars *chars, Buf *out) {
        chars->n = 0;
        switch (s->kind) {
        case NORMALIZE_NFC:
        case NORMALIZE_NFD:
        case NORMALIZE_NFKC:
        case NORMALIZE_NFKD:
                return normal_form(text, len, s->kind >= NORMALIZE_NFKC,
                                   s->kind == NORMALIZE_NFC || s->kind == NORMALIZE_NFKC, chars, out);
        case NORMALIZE_LOWERCASE:
        case NORMALIZE_STRIP_ACCENTS:
                return each_char(text, len, s->kind == NORMALIZE_LOWERCASE, chars, out);
        case NORMALIZE_STRIP:
                strip(text, len, s->flags, out);
                return 0;
        case NORMALIZE_REPLACE:
        case NORMALIZE_REPLACE_RUNS:
                replace(text, len, s, s->kind == NORMALIZE_REPLACE ? 1 : 2, out);
                return 0;
        case NORMALIZE_PREPEND:
                buf_put(out, s->to.data, len > 0 ? s->to.len : 0);
                buf_put(out, text, len);
                return 0;
        case NORMALIZE_BERT:
                return bert(s, text, len, chars, out);
        case NORMALIZE_CHARSMAP:
                map_graphemes(s, text, len, out);
                return 0;
        case NORMALIZE_CHARSMAP_LONGEST:
                map_longest(&s->map, text, len, out);
                return 0;
        }
        return -EINVAL;
}

int normalizer_run(const Normalizer *n, NormalizerScratch *s, const char *text, size_t len, const char **ret_text,
                   size_t *ret_len) {
        size_t max = len * GROWTH_MAX + 1024;
        for (size_t i = 0; n && i < n->n; i++) {
                Buf *out = i % 2 ? &s->b : &s->a;
                buf_clear(out);
                int r = run_step(&n->steps[i], text, len, &s->chars, out);
                buf_put(out, "", 0); /* what is empty is a text, too */
                if (r < 0 || out->failed)
                        return r < 0 ? r : -ENOMEM;
                if (out->len > max)
                        return -E2BIG;
                text = out->data;
                len = out->len;
        }
        *ret_text = text;
        *ret_len = len;
        return 0;
}

void normalizer_scratch_deinit(NormalizerScratch *s) {
        buf_deinit(&s->a);
        buf_deinit(&s->b);
        chars_deinit(&s->chars);
}

size_t normalizer_sentencepiece(NormalizerText charsmap, bool remove_extra, NormalizerStep steps[SENTENCEPIECE_STEPS]) {
        size_t n = 0;
        if (charsmap.len > 0)
                steps[n++] = (NormalizerStep){.kind = NORMALIZE_CHARSMAP_LONGEST, .from = charsmap};
        if (!remove_extra)
                return n;
        steps[n++] = (NormalizerStep){.kind = NORMALIZE_REPLACE_RUNS, .from = {" ", 1}, .to = {" ", 1}};
        steps[n++] = (NormalizerStep){.kind = NORMALIZE_STRIP, .flags = STRIP_LEFT | STRIP_RIGHT | STRIP_SPACES};
        return n;
}

static int init_step(Step *s, const NormalizerStep *from, Error *e) {
        bool replaces = from->kind == NORMALIZE_REPLACE || from->kind == NORMALIZE_REPLACE_RUNS;
        *s = (Step){.kind = from->kind, .flags = from->flags};
        if (from->kind == NORMALIZE_CHARSMAP || from->kind == NORMALIZE_CHARSMAP_LONGEST) {
                int r = charsmap_init(&s->map, from->from.data, from->from.len, e);
                if (r == 0)
                        init_map_ascii(s);
                return r;
        }
        if (from->to.len > TEXT_MAX)
                return error_set(e, -EINVAL, "the normalizer writes a text of %zu bytes; at most %d are supported",
                                 from->to.len, TEXT_MAX);
        if (replaces && from->from.len == 0)
                return error_set(e, -EINVAL, "the normalizer replaces an empty text");
        buf_put(&s->from, from->from.data, from->from.len);
        buf_put(&s->to, from->to.data, from->to.len);
        if (s->kind == NORMALIZE_BERT)
                init_bert_ascii(s);
        return s->from.failed || s->to.failed ? error_set(e, -ENOMEM, "not enough memory for a normalizer") : 0;
}

int normalizer_new(const NormalizerStep *steps, size_t n, Normalizer **ret, Error *e) {
        *ret = NULL;
        if (n == 0)
                return 0;
        _cleanup_(normalizer_freep) Normalizer *made = calloc(1, sizeof(*made) + n * sizeof(made->steps[0]));
        if (!made)
                return error_set(e, -ENOMEM, "not enough memory for a normalizer");
        for (; made->n < n; made->n++) {
                int r = init_step(&made->steps[made->n], &steps[made->n], e);
                if (r < 0)
                        return r;
        }
        *ret = TAKE(made);
        return 0;
}

void normalizer_free(Normalizer *n) {
        if (!n)
                return;
        for (size_t i = 0; i < n->n; i++) {
                buf_deinit(&n->steps[i].from);
                buf_deinit(&n->steps[i].to);
                charsmap_deinit(&n->steps[i].map);
        }
        free(n);
}
