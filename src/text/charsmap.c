/* The charsmap: a little-endian 32-bit size of the trie in bytes, the trie, and the replacements as zero-ended strings,
 * to which the trie's values point (SentencePiece, normalizer.cc).
 *
 * A unit of the trie is 32 bits (Darts-clone, darts.h): bits 0–7 its label, 8 whether a value is its first child, 9
 * whether the offset counts in steps of 256, 10–30 the offset, from the unit's own place by XOR, to its children. The
 * unit of a value has bit 31 set and the value in the others. A label is compared together with bit 31, so a value is
 * never taken for a child.
 *
 * The file is hostile. Which units are reachable is not found out in advance: a step that leads out of the trie finds
 * nothing. Where values point is checked when the map is read, so that a replacement is always valid UTF-8. */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/charsmap.h"
#include "util/macro.h"
#include "util/str.h"

#define VALUE_BIT 0x80000000u
enum { TEXT_MAX = 64 }; /* bytes of a replacement; Unicode's longest, of U+FDFA, has 33 */

static uint32_t label(uint32_t unit) {
        return unit & (VALUE_BIT | 0xff);
}

static bool has_value(uint32_t unit) {
        return unit >> 8 & 1;
}

static uint32_t offset(uint32_t unit) {
        return unit >> 10 << (unit >> 9 & 1 ? 8 : 0);
}

static int check(const Charsmap *m, Error *e) {
        bool bad;
        if (m->n_texts == 0 || m->texts[m->n_texts - 1] != 0)
                return error_set(e, -EINVAL, "the charsmap is cut short: its last replacement has no end");
        if (utf8_valid_prefix(m->texts, m->n_texts, &bad) != m->n_texts)
                return error_set(e, -EINVAL, "the charsmap has a replacement that is not UTF-8");
        for (size_t i = 0; i < m->n_units; i++) {
                uint32_t value = m->units[i] & ~VALUE_BIT;
                if (!(m->units[i] & VALUE_BIT))
                        continue;
                if (value >= m->n_texts || (m->texts[value] & 0xc0) == 0x80)
                        return error_set(e, -EINVAL, "the charsmap is damaged: unit %zu leads to no replacement", i);
                if (strnlen(m->texts + value, TEXT_MAX + 1) > TEXT_MAX)
                        return error_set(e, -EINVAL, "the charsmap has a replacement of more than %d bytes", TEXT_MAX);
        }
        return 0;
}

int charsmap_init(Charsmap *m, const void *data, size_t len, Error *e) {
        const char *p = data;
        uint32_t size = 0;
        *m = (Charsmap){0};
        if (len >= sizeof(size))
                memcpy(&size, p, sizeof(size));
        size = le32toh(size);
        if (size == 0 || size % sizeof(uint32_t) != 0 || size > len - sizeof(size))
                return error_set(e, -EINVAL, "the charsmap of %zu bytes is cut short: its trie has %u", len, size);
        m->n_units = size / sizeof(uint32_t);
        m->n_texts = len - sizeof(size) - size;
        m->units = malloc(size);
        m->texts = malloc(MAX(m->n_texts, (size_t)1));
        int r = m->units && m->texts ? 0 : error_set(e, -ENOMEM, "not enough memory for a charsmap");
        if (r == 0) {
                memcpy(m->units, p + sizeof(size), size);
                memcpy(m->texts, p + sizeof(size) + size, m->n_texts);
                for (size_t i = 0; i < m->n_units; i++)
                        m->units[i] = le32toh(m->units[i]);
                r = check(m, e);
        }
        if (r < 0)
                charsmap_deinit(m);
        return r;
}

void charsmap_deinit(Charsmap *m) {
        free(m->units);
        free(m->texts);
        *m = (Charsmap){0};
}

const char *charsmap_find(const Charsmap *m, const char *text, size_t len, bool longest, size_t *ret_len) {
        const char *found = NULL;
        size_t at = offset(m->units[0]);
        for (size_t i = 0; i < len; i++) {
                uint8_t byte = (uint8_t)text[i];
                at ^= byte;
                if (byte == 0 || at >= m->n_units || label(m->units[at]) != byte)
                        break;
                uint32_t unit = m->units[at];
                at ^= offset(unit);
                if (!has_value(unit) || at >= m->n_units || !(m->units[at] & VALUE_BIT))
                        continue;
                found = m->texts + (m->units[at] & ~VALUE_BIT);
                *ret_len = i + 1;
                if (!longest)
                        break;
        }
        return found;
}
