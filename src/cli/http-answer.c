/* A small HTTP/1.1 reader for the load generator, which must cost much less than the daemon it measures: libcurl spends
 * more time on a request than the daemon does.
 *
 *      status line → headers → body of known length ──────────────────────────→ complete
 *                            → body until the connection ends ────────────────→ complete
 *                            → chunk size → chunk → its line end → chunk size …
 *                                    └ 0 → trailer ───────────────────────────→ complete
 *
 * The body is lines of JSON objects. They are not parsed but searched for members by name: a quote inside a JSON string
 * is always written \", so `"name":` with its quotes bare can only be a member. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/http-answer.h"

enum {
        HEAD_LINE_MAX = 16 << 10,
        BODY_LINE_MAX = 64 << 20,
};

void http_answer_reset(HttpAnswer *a) {
        LineReader head = a->head, body = a->body;
        buf_clear(&head.partial);
        buf_clear(&body.partial);
        head.used = body.used = false;
        *a = (HttpAnswer){.head = head, .body = body};
}

void http_answer_deinit(HttpAnswer *a) {
        buf_deinit(&a->head.partial);
        buf_deinit(&a->body.partial);
}

/* Takes the next line from *data: 1 and the line without its end (valid until the next call, and followed by a byte
 * that is no digit), or 0 when its end has not come yet. */
static int next_line(LineReader *r, size_t max, const char **data, size_t *n, const char **ret, size_t *ret_len) {
        const char *newline = memchr(*data, '\n', *n), *line = *data;
        size_t part = newline ? (size_t)(newline - *data) : *n, len = part;
        if (r->used)
                buf_clear(&r->partial);
        r->used = false;
        if (part > max - r->partial.len)
                return -EPROTO;
        *data += newline ? part + 1 : part;
        *n -= newline ? part + 1 : part;
        if (!newline || r->partial.len > 0) {
                buf_put(&r->partial, line, part);
                if (r->partial.failed)
                        return -ENOMEM;
                if (!newline)
                        return 0;
                r->used = true;
                line = r->partial.data;
                len = r->partial.len;
        }
        *ret = line;
        *ret_len = len > 0 && line[len - 1] == '\r' ? len - 1 : len;
        return 1;
}

/* ---- The body's lines ---- */

/* Where the value of a member begins; `key` is written as in JSON, `"key":`. NULL: there is none. */
static const char *find_member(const char *line, size_t n, const char *key) {
        size_t len = strlen(key);
        const char *end = line + n, *p = memmem(line, n, key, len);
        if (!p)
                return NULL;
        for (p += len; p < end && *p == ' ';)
                p++;
        return p < end ? p : NULL;
}

static bool has_text(const char *line, size_t n) {
        const char *value = find_member(line, n, "\"response\":");
        return value && *value == '"' && value + 1 < line + n && value[1] != '"';
}

/* The text in the string that comes next; good enough to be shown. */
static void copy_error(HttpAnswer *a, const char *line, size_t n) {
        const char *end = line + n, *value = find_member(line, n, "\"message\":");
        if (!value)
                value = find_member(line, n, "\"error\":");
        if (!value || *value != '"')
                return;
        size_t len = 0;
        while (++value < end && *value != '"' && len + 1 < sizeof(a->error)) {
                if (*value == '\\' && value + 1 < end)
                        value++;
                a->error[len++] = *value;
        }
        a->error[len] = 0;
}

static void take_object(HttpAnswer *a, const char *line, size_t n) {
        const char *value;
        if (!a->has_text)
                a->has_text = has_text(line, n);
        if (find_member(line, n, "\"error\":"))
                copy_error(a, line, n);
        value = find_member(line, n, "\"done\":");
        if (!value || *value != 't')
                return;
        a->done = true;
        value = find_member(line, n, "\"eval_count\":");
        if (value)
                a->tokens = (uint32_t)strtoul(value, NULL, 10);
}

static int take_body(HttpAnswer *a, const char *data, size_t n) {
        while (n > 0) {
                const char *line;
                size_t len;
                int r = next_line(&a->body, BODY_LINE_MAX, &data, &n, &line, &len);
                if (r < 0)
                        return r;
                if (r > 0)
                        take_object(a, line, len);
        }
        return 0;
}

/* The last line may lack its end. */
static int complete(HttpAnswer *a) {
        int r = take_body(a, "\n", 1);
        a->part = HTTP_COMPLETE;
        return r < 0 ? r : 1;
}

/* ---- The protocol ---- */

static bool parse_size(const char *s, size_t n, int base, uint64_t *ret) {
        char text[24], *end;
        while (n > 0 && *s == ' ') {
                s++;
                n--;
        }
        if (n == 0 || n >= sizeof(text) || *s == '-' || *s == '+')
                return false;
        memcpy(text, s, n);
        text[n] = 0;
        errno = 0;
        *ret = strtoull(text, &end, base);
        return end != text && errno == 0 && (*end == 0 || *end == ' ' || *end == ';');
}

static int take_status(HttpAnswer *a, const char *line, size_t n) {
        if (n < 12 || memcmp(line, "HTTP/1.", 7) != 0 || line[8] != ' ')
                return -EPROTO;
        for (int i = 9; i < 12; i++) {
                if (line[i] < '0' || line[i] > '9')
                        return -EPROTO;
                a->status = a->status * 10 + line[i] - '0';
        }
        a->closes = line[7] == '0';
        a->left = UINT64_MAX;
        a->part = HTTP_HEADERS;
        return 0;
}

/* The value of the header `name` ("name:"), if this line is it. */
static const char *header_value(const char *line, size_t n, const char *name, size_t *ret_len) {
        size_t len = strlen(name);
        if (n < len || strncasecmp(line, name, len) != 0)
                return NULL;
        while (len < n && line[len] == ' ')
                len++;
        *ret_len = n - len;
        return line + len;
}

static int end_of_headers(HttpAnswer *a, bool chunked) {
        if (a->status / 100 == 1) { /* "100 Continue" and its like: the answer follows */
                a->status = 0;
                a->part = HTTP_STATUS;
                return 0;
        }
        if (chunked)
                a->part = HTTP_CHUNK_SIZE;
        else if (a->left == 0 || a->status == 204)
                return complete(a);
        else
                a->part = a->left == UINT64_MAX ? HTTP_BODY_TO_EOF : HTTP_BODY;
        return 0;
}

/* While headers are read `left` is the length: UINT64_MAX: none was named; UINT64_MAX - 1: the body is chunked. */
static int take_header(HttpAnswer *a, const char *line, size_t n) {
        static const uint64_t chunked = UINT64_MAX - 1;
        const char *value;
        size_t len;
        if (n == 0)
                return end_of_headers(a, a->left == chunked);
        if ((value = header_value(line, n, "Content-Length:", &len))) {
                uint64_t size;
                if (!parse_size(value, len, 10, &size) || size >= chunked)
                        return -EPROTO;
                if (a->left != chunked)
                        a->left = size;
        } else if ((value = header_value(line, n, "Transfer-Encoding:", &len))) {
                if (len != 7 || strncasecmp(value, "chunked", 7) != 0)
                        return -EPROTO;
                a->left = chunked;
        } else if ((value = header_value(line, n, "Connection:", &len)))
                a->closes = len == 5 && strncasecmp(value, "close", 5) == 0;
        return 0;
}

static int take_head_line(HttpAnswer *a, const char *line, size_t n) {
        switch (a->part) {
        case HTTP_STATUS:
                return take_status(a, line, n);
        case HTTP_HEADERS:
                return take_header(a, line, n);
        case HTTP_CHUNK_SIZE:
                if (!parse_size(line, n, 16, &a->left))
                        return -EPROTO;
                a->part = a->left > 0 ? HTTP_CHUNK : HTTP_TRAILER;
                return 0;
        case HTTP_CHUNK_END:
                a->part = HTTP_CHUNK_SIZE;
                return n == 0 ? 0 : -EPROTO;
        case HTTP_TRAILER:
                return n == 0 ? complete(a) : 0;
        default:
                return -EPROTO;
        }
}

/* A part of the body that is at most `left` long. */
static int take_counted(HttpAnswer *a, const char **data, size_t *n) {
        size_t part = *n < a->left ? *n : (size_t)a->left;
        int r = take_body(a, *data, part);
        *data += part;
        *n -= part;
        a->left -= part;
        if (r < 0 || a->left > 0)
                return r;
        if (a->part == HTTP_BODY)
                return complete(a);
        a->part = HTTP_CHUNK_END;
        return 0;
}

int http_answer_feed(HttpAnswer *a, const char *data, size_t n) {
        int r = 0;
        while (n > 0 && r == 0) {
                const char *line;
                size_t len;
                if (a->part == HTTP_BODY || a->part == HTTP_CHUNK)
                        r = take_counted(a, &data, &n);
                else if (a->part == HTTP_BODY_TO_EOF)
                        return take_body(a, data, n);
                else if ((r = next_line(&a->head, HEAD_LINE_MAX, &data, &n, &line, &len)) == 1)
                        r = take_head_line(a, line, len);
        }
        return r == 1 && n > 0 ? -EPROTO : r; /* nothing was asked that more could answer */
}

int http_answer_eof(HttpAnswer *a) {
        if (a->part != HTTP_BODY_TO_EOF)
                return -ECONNRESET;
        a->closes = true;
        return complete(a);
}
