/* Sizes, durations, nearest words, UTF-8 checks; see str.h. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "util/macro.h"
#include "util/str.h"

typedef struct Unit {
        const char *name;
        double factor;
} Unit;

static const Unit size_units[] = {
        {"", 1}, {"B", 1}, {"K", 0x1p10}, {"KiB", 0x1p10}, {"M", 0x1p20}, {"MiB", 0x1p20}, {"G", 0x1p30},
        {"GiB", 0x1p30}, {"T", 0x1p40}, {"TiB", 0x1p40}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {0},
};

static const Unit time_units[] = {
        {"us", 1}, {"ms", 1e3}, {"s", 1e6}, {"sec", 1e6}, {"", 1e6}, {"m", 60e6}, {"min", 60e6}, {"h", 3600e6},
        {"d", 86400e6}, {0},
};

/* One number and its unit from *s; advances *s. */
static int parse_quantity(const char **s, const Unit *units, double *ret) {
        if (!((**s >= '0' && **s <= '9') || **s == '.'))
                return -EINVAL;
        char *end;
        double value = strtod(*s, &end);
        /* strtod also takes "1e9", "0x10", "1.5.": only digits and one dot are what people write here. */
        if (strspn(*s, "0123456789.") != (size_t)(end - *s))
                return -EINVAL;
        while (*end == ' ')
                end++;
        size_t n = strcspn(end, "0123456789. ");
        for (const Unit *u = units; u->name; u++)
                if (strlen(u->name) == n && strncasecmp(u->name, end, n) == 0) {
                        *ret = value * u->factor;
                        *s = end + n;
                        return 0;
                }
        return -EINVAL;
}

static int to_uint64(double v, uint64_t *ret) {
        if (!(v < 0x1p63))
                return -ERANGE;
        *ret = (uint64_t)llround(v);
        return 0;
}

int parse_size(const char *s, uint64_t *ret_bytes) {
        double v;
        int r = parse_quantity(&s, size_units, &v);
        if (r < 0 || *s)
                return -EINVAL;
        return to_uint64(v, ret_bytes);
}

int parse_duration(const char *s, uint64_t *ret_usec) {
        if (strcmp(s, "forever") == 0) {
                *ret_usec = UINT64_MAX;
                return 0;
        }
        double sum = 0;
        do {
                double v;
                int r = parse_quantity(&s, time_units, &v);
                if (r < 0)
                        return r;
                sum += v;
                while (*s == ' ')
                        s++;
        } while (*s);
        return to_uint64(sum, ret_usec);
}

char *format_size(char *buf, size_t n, uint64_t bytes) {
        static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB"};
        double v = (double)bytes;
        size_t u = 0;
        for (; v >= 1024 && u + 1 < ARRAY_SIZE(names); u++)
                v /= 1024;
        snprintf(buf, n, u == 0 || v >= 100 ? "%.0f %s" : "%.1f %s", v, names[u]);
        return buf;
}

char *format_duration(char *buf, size_t n, uint64_t usec) {
        static const struct {
                const char *name;
                uint64_t usec;
        } units[] = {{"d", 86400000000u}, {"h", 3600000000u}, {"m", 60000000u}, {"s", 1000000u}, {"ms", 1000u}, {"us", 1u}};
        size_t used = 0;
        if (usec == UINT64_MAX || usec == 0) {
                snprintf(buf, n, "%s", usec ? "forever" : "0s");
                return buf;
        }
        for (size_t i = 0; i < ARRAY_SIZE(units) && used < n; i++)
                if (usec >= units[i].usec) {
                        used += (size_t)snprintf(buf + used, n - used, "%" PRIu64 "%s", usec / units[i].usec, units[i].name);
                        usec %= units[i].usec;
                }
        return buf;
}

enum { WORD_MAX_LEN = 64 }; /* of words that may be meant for one another */

static size_t edit_distance(const char *a, const char *b) {
        size_t n = strlen(a), m = strlen(b), row[WORD_MAX_LEN + 1];
        for (size_t j = 0; j <= m; j++)
                row[j] = j;
        for (size_t i = 1; i <= n; i++) {
                size_t diag = row[0];
                row[0] = i;
                for (size_t j = 1; j <= m; j++) {
                        size_t up = row[j], best = diag + (a[i - 1] != b[j - 1]);
                        best = MIN(best, MIN(up, row[j - 1]) + 1);
                        diag = up;
                        row[j] = best;
                }
        }
        return row[m];
}

const char *nearest_word(const char *s, const char *const *words) {
        const char *best = NULL;
        size_t n = strnlen(s, WORD_MAX_LEN + 1), best_distance = n / 2 + 1;
        if (n > WORD_MAX_LEN)
                return NULL;
        for (; *words; words++) {
                if (strlen(*words) > WORD_MAX_LEN)
                        continue;
                size_t d = edit_distance(s, *words);
                if (d < best_distance) {
                        best = *words;
                        best_distance = d;
                }
        }
        return best;
}

/* Bytes of the character that starts at s, 0 when it is cut short, -1 when invalid. RFC 3629's table. */
static int utf8_char(const unsigned char *s, size_t n) {
        unsigned char c = s[0];
        if (c < 0x80)
                return 1;
        int len = c >= 0xc2 && c <= 0xdf ? 2 : c >= 0xe0 && c <= 0xef ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : -1;
        if (len < 0)
                return -1;
        unsigned char lo = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80, hi = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
        for (int i = 1; i < len; i++, lo = 0x80, hi = 0xbf) {
                if ((size_t)i >= n)
                        return 0;
                if (s[i] < lo || s[i] > hi)
                        return -1;
        }
        return len;
}

size_t utf8_valid_prefix(const char *s, size_t n, bool *ret_bad) {
        size_t i = 0;
        *ret_bad = false;
        while (i < n) {
                int len = utf8_char((const unsigned char *)s + i, n - i);
                if (len <= 0) {
                        *ret_bad = len < 0;
                        break;
                }
                i += (size_t)len;
        }
        return i;
}

int utf8_shown(const char *s, size_t most) {
        bool bad;
        return (int)utf8_valid_prefix(s, strnlen(s, most), &bad);
}

uint64_t now_usec(void) {
        struct timespec ts;
        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}
