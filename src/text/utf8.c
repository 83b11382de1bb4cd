/* UTF-8 as it arrives from tokens: in pieces, and sometimes broken.
 *
 * A byte token may end in the middle of a character, and a model may emit bytes that are no character at all. The
 * stream holds back at most three bytes, which are always the start of some valid character; as soon as the next byte
 * completes it, it goes out, and as soon as that is impossible, U+FFFD goes out in its place and the offending byte
 * starts afresh. Well-formed sequences are those of The Unicode Standard, table 3-7: no surrogates, no overlong forms,
 * nothing above U+10FFFF. */
#include <stdbool.h>
#include <string.h>

#include "text/tokenizer.h"
#include "text/utf8.h"
#include "util/str.h"

static const char REPLACEMENT[] = "\xef\xbf\xbd"; /* U+FFFD */

/* What may follow a lead byte: how many bytes, and the range of the first of them. */
static int continuation(unsigned char lead, unsigned char *ret_lo, unsigned char *ret_hi) {
        *ret_lo = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
        *ret_hi = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
        if (lead < 0x80)
                return 0;
        if (lead < 0xc2 || lead > 0xf4)
                return -1;
        return lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
}

int utf8_char(const char *s, size_t n) {
        const unsigned char *p = (const unsigned char *)s;
        unsigned char lo, hi;
        int follow = continuation(p[0], &lo, &hi);
        if (follow < 0)
                return -1;
        for (int i = 1; i <= follow; i++) {
                if ((size_t)i == n)
                        return 0;
                if (p[i] < lo || p[i] > hi)
                        return -i;
                lo = 0x80;
                hi = 0xbf;
        }
        return follow + 1;
}

/* Adds bytes one by one until the pending character is decided; returns how many bytes of `data` that took. */
static size_t finish_pending(Utf8Stream *u, const char *data, size_t len, Buf *out) {
        size_t used = 0;
        while (u->n > 0 && used < len) {
                u->pending[u->n++] = data[used++];
                int k = utf8_char(u->pending, u->n);
                if (k == 0)
                        continue;
                if (k > 0) {
                        buf_put(out, u->pending, (size_t)k);
                } else {
                        buf_puts(out, REPLACEMENT);
                        used--; /* what was pending was valid so far: only the byte just added is to blame */
                }
                u->n = 0;
        }
        return used;
}

void utf8_stream_put(Utf8Stream *u, const char *data, size_t len, bool last, Buf *out) {
        for (size_t i = finish_pending(u, data, len, out); i < len;) {
                bool bad;
                size_t good = utf8_valid_prefix(data + i, len - i, &bad);
                buf_put(out, data + i, good);
                i += good;
                if (bad) {
                        buf_puts(out, REPLACEMENT);
                        i += (size_t)-utf8_char(data + i, len - i);
                } else if (i < len) {
                        u->n = (uint8_t)(len - i);
                        memcpy(u->pending, data + i, u->n);
                        break;
                }
        }
        if (last && u->n > 0) {
                buf_puts(out, REPLACEMENT);
                u->n = 0;
        }
}
