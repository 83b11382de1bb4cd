/* Stop strings; see stop.h. Strings are few and short and the text scanned is what one token added plus what was kept
 * back, so comparing at every position is the fast way. All strings are whole UTF-8: so are then the cuts. */
#include <errno.h>
#include <string.h>

#include "engine/stop.h"
#include "util/str.h"

enum { STOPS_MAX = 64, STOP_LENGTH_MAX = 1024 };

int stop_check(const IpcStrs *stops, Error *e) {
        uint32_t pos = 0, offset = 0;
        IpcStr s;
        if (stops->lens.n > STOPS_MAX)
                return error_set(e, -EINVAL, "%u stop strings are too many, at most %d are looked for", stops->lens.n,
                                 STOPS_MAX);
        while (ipc_strs_next(stops, &pos, &offset, &s)) {
                bool bad;
                if (s.len > STOP_LENGTH_MAX)
                        return error_set(e, -EINVAL, "a stop string has %u bytes, at most %d are supported", s.len,
                                         STOP_LENGTH_MAX);
                if (utf8_valid_prefix(s.data, s.len, &bad) != s.len)
                        return error_set(e, -EINVAL, "a stop string is not valid UTF-8");
        }
        if (pos != stops->lens.n)
                return error_set(e, -EINVAL, "the list of stop strings is broken");
        return 0;
}

/* The longest stop string that ends at text[end), or an empty one. */
static IpcStr match_ending_at(const IpcStrs *stops, const char *text, size_t end) {
        uint32_t pos = 0, offset = 0;
        IpcStr longest = {0}, s;
        while (ipc_strs_next(stops, &pos, &offset, &s))
                if (s.len > longest.len && s.len <= end && memcmp(text + end - s.len, s.data, s.len) == 0)
                        longest = s;
        return longest;
}

static bool begins_stop(const IpcStrs *stops, const char *text, size_t n) {
        uint32_t pos = 0, offset = 0;
        IpcStr s;
        while (ipc_strs_next(stops, &pos, &offset, &s))
                if (s.len > n && memcmp(text, s.data, n) == 0)
                        return true;
        return false;
}

size_t stop_scan(const IpcStrs *stops, const char *text, size_t n, IpcStr *ret_hit) {
        *ret_hit = (IpcStr){0};
        if (stops->lens.n == 0)
                return n;
        for (size_t end = 1; end <= n; end++) {
                *ret_hit = match_ending_at(stops, text, end);
                if (ret_hit->len > 0)
                        return end - ret_hit->len;
        }
        size_t safe = n > STOP_LENGTH_MAX ? n - STOP_LENGTH_MAX : 0;
        while (safe < n && !begins_stop(stops, text + safe, n - safe))
                safe++;
        return safe;
}
