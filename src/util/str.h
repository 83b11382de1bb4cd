/* Text that people write: sizes ("2GiB"), durations ("10m"), and the nearest known word to a mistyped one. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Whether `len` bytes, which need not end with NUL, are `text`. */
static inline bool bytes_are(const char *bytes, size_t len, const char *text) {
        return len == strlen(text) && memcmp(bytes, text, len) == 0;
}

static inline bool ends_with(const char *s, const char *end) {
        size_t n = strlen(s), n_end = strlen(end);
        return n >= n_end && memcmp(s + n - n_end, end, n_end) == 0;
}

/* "512", "16MiB", "2G", "1.5GB": KiB/MiB/GiB/TiB and K/M/G/T are powers of 1024, KB/MB/GB/TB of 1000.
 * -EINVAL when it is no size, -ERANGE when it does not fit. */
int parse_size(const char *s, uint64_t *ret_bytes);
/* "250ms", "10s", "1h30m", "2d"; a bare number is seconds; "forever" is UINT64_MAX. Microseconds. Errors as above. */
int parse_duration(const char *s, uint64_t *ret_usec);
/* Writes a size as people read it ("1.5 GiB"), or a duration ("1h30m"), into `buf`; returns `buf`. */
char *format_size(char *buf, size_t n, uint64_t bytes);
char *format_duration(char *buf, size_t n, uint64_t usec);
/* The word of the NULL-terminated table nearest to `s` by edit distance, or NULL when none is close enough to be
 * meant. */
const char *nearest_word(const char *s, const char *const *words);
/* Length of the longest prefix of `s` that is valid UTF-8 and ends on a whole character; *ret_bad is set when what
 * follows can never become valid, and not when it is merely cut short. */
size_t utf8_valid_prefix(const char *s, size_t n, bool *ret_bad);
/* How much of a text to show with %.*s, at most so many bytes: no part of a character. */
int utf8_shown(const char *s, size_t most);
/* Monotonic clock in microseconds. */
uint64_t now_usec(void);
/* `usec` after `moment`; UINT64_MAX, which means never, where that is too far away. */
static inline uint64_t usec_after(uint64_t moment, uint64_t usec) {
        return usec > UINT64_MAX - moment ? UINT64_MAX : moment + usec;
}
