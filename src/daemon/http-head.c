/* Reading heads; see http-head.h. Lines end with CRLF and nothing else; neither CR, LF nor NUL may stand elsewhere. */
#include <string.h>
#include <strings.h>

#include "daemon/http-head.h"
#include "util/macro.h"

enum { CHUNK_LINE_MAX = 4096 };

static bool is_digit(char c) {
        return c >= '0' && c <= '9';
}

static bool is_alpha(char c) {
        return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static bool is_token(char c) {
        return is_alpha(c) || is_digit(c) || (c && strchr("-_!#$%&'*+.^`|~", c));
}

/* What may stand in a field's value: visible, blank, or beyond ASCII (RFC 9110, 5.5). */
static bool is_text(char c) {
        return ((unsigned char)c >= 0x20 && c != 0x7f) || c == '\t';
}

/* What a target is made of; other bytes belong into %XX. */
static bool is_visible(char c) {
        return c > 0x20 && (unsigned char)c < 0x7f;
}

static int hex(char c) {
        if (is_digit(c))
                return c - '0';
        c |= 0x20;
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* ---- finding the end ---- */

/* A bare LF counts here, so that a head which is refused for it is not waited for. */
size_t http_head_length(const char *data, size_t n) {
        const char *end = data + n;
        for (const char *p = data; n > 0 && (p = memchr(p, '\n', (size_t)(end - p)));) {
                p++;
                if (p < end && *p == '\n')
                        return (size_t)(p + 1 - data);
                if (p + 1 < end && p[0] == '\r' && p[1] == '\n')
                        return (size_t)(p + 2 - data);
        }
        return 0;
}

bool http_head_is_hopeless(const char *data, size_t n) {
        return n > 0 && !is_token(*data);
}

/* ---- lines ---- */

/* Takes a line off *p, without its CRLF, terminated; NULL when it holds or ends with what a line must not. */
static char *take_line(char **p, const char *end) {
        char *line = *p, *lf = memchr(line, '\n', (size_t)(end - line));
        if (!lf || lf == line || lf[-1] != '\r')
                return NULL;
        lf[-1] = 0;
        for (const char *c = line; c < lf - 1; c++)
                if (!is_text(*c))
                        return NULL;
        *p = lf + 1;
        return line;
}

/* ---- the request line ---- */

static unsigned refuse(unsigned status, const char *text, const char **why) {
        *why = text;
        return status;
}

static unsigned parse_version(const char *s, HttpHead *h, const char **why) {
        if (strncmp(s, "HTTP/", 5) != 0 || !is_digit(s[5]) || s[6] != '.' || !is_digit(s[7]) || s[8])
                return refuse(400, "the request line must be METHOD SP TARGET SP HTTP/1.1", why);
        if (s[5] != '1')
                return refuse(505, "this server speaks HTTP/1.1", why);
        h->http11 = h->keep_alive = s[7] != '0';
        return 0;
}

/* Decodes %XX in place, up to the query. */
static bool decode_path(char *s) {
        char *w = s;
        for (; *s && *s != '?'; s++) {
                int high, low;
                if (!is_visible(*s) || *s == '#')
                        return false;
                if (*s != '%') {
                        *w++ = *s;
                        continue;
                }
                if ((high = hex(s[1])) < 0 || (low = hex(s[2])) < 0 || high + low == 0)
                        return false;
                *w++ = (char)(high << 4 | low);
                s += 2;
        }
        for (const char *q = s; *q; q++)
                if (!is_visible(*q) || *q == '#')
                        return false;
        *w = 0;
        return true;
}

/* A name or address, and a port. */
static bool is_host(const char *s) {
        return !s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%:[]")];
}

/* "/path", "http://host/path" as for a proxy, or "*" of OPTIONS. The host moves to the front, to be terminated. */
static unsigned parse_target(char *s, HttpHead *h, const char **why) {
        if (strncasecmp(s, "http://", 7) == 0) {
                size_t n = strcspn(s + 7, "/?");
                h->host = memmove(s, s + 7, n);
                s[n] = 0;
                s += 7 + n;
                if (*s != '/')
                        *--s = '/';
        }
        h->path = s;
        if (h->host && (!*h->host || !is_host(h->host)))
                return refuse(400, "the request's target names no host", why);
        if (*s == '/' ? decode_path(s) : strcmp(s, "*") == 0 && strcmp(h->method, "OPTIONS") == 0)
                return 0;
        return refuse(400, "the request's target must be a path, percent-encoded", why);
}

static unsigned parse_request_line(char *line, HttpHead *h, const char **why) {
        char *target = strchr(line, ' '), *version = target ? strchr(target + 1, ' ') : NULL;
        const char *c = line;
        while (is_token(*c))
                c++;
        if (!version || c == line || c != target)
                return parse_version("", h, why);
        *target++ = *version++ = 0;
        h->method = line;
        unsigned r = parse_version(version, h, why);
        return r ? r : parse_target(target, h, why);
}

/* ---- fields ---- */

static char *trim(char *s) {
        s += strspn(s, " \t");
        size_t n = strlen(s);
        while (n > 0 && strchr(" \t", s[n - 1]))
                n--;
        s[n] = 0;
        return s;
}

/* The next element of a comma-separated list; its length, 0 at the end. */
static size_t next_element(const char **list) {
        *list += strspn(*list, ", \t");
        return strcspn(*list, ", \t");
}

static bool is_word(const char *s, size_t n, const char *word) {
        return n == strlen(word) && strncasecmp(s, word, n) == 0;
}

static bool list_has(const char *list, const char *word) {
        for (size_t n; (n = next_element(&list)) > 0; list += n)
                if (is_word(list, n, word))
                        return true;
        return false;
}

static bool list_has_other(const char *list, const char *word) {
        for (size_t n; (n = next_element(&list)) > 0; list += n)
                if (!is_word(list, n, word))
                        return true;
        return false;
}

static bool parse_length(const char *s, uint64_t *ret) {
        uint64_t n = 0;
        const char *c = s;
        for (; is_digit(*c); c++)
                n = n > HTTP_LENGTH_MAX / 10 - 1 ? HTTP_LENGTH_MAX : n * 10 + (uint64_t)(*c - '0');
        *ret = n;
        return c > s && !*c;
}

typedef struct Seen {
        unsigned hosts, lengths, encodings;
        bool close;
} Seen;

/* A coding that is not known is a 501 (RFC 9112, 6.1). */
static unsigned understand_coding(HttpHead *h, Seen *seen, const char *value, const char **why) {
        h->chunked = true;
        if (++seen->encodings > 1 || !h->http11)
                return refuse(400, "the request may have one Transfer-Encoding, in HTTP/1.1", why);
        if (list_has_other(value, "chunked"))
                return refuse(501, "of transfer encodings this server knows chunked", why);
        return strcasecmp(value, "chunked") == 0 ? 0 : refuse(400, "the request's Transfer-Encoding must be chunked, once", why);
}

static unsigned understand(HttpHead *h, Seen *seen, const char *name, const char *value, const char **why) {
        if (strcasecmp(name, "Host") == 0) {
                if (++seen->hosts > 1 || !is_host(value))
                        return refuse(400, "the request must have one Host: a name or address, and a port", why);
                if (h->host && strcasecmp(h->host, value) != 0)
                        return refuse(400, "the request's target and its Host name different hosts", why);
        } else if (strcasecmp(name, "Content-Length") == 0) {
                if (++seen->lengths > 1 || !parse_length(value, &h->length))
                        return refuse(400, "the request's Content-Length must be one number", why);
        } else if (strcasecmp(name, "Transfer-Encoding") == 0)
                return understand_coding(h, seen, value, why);
        else if (strcasecmp(name, "Connection") == 0) { /* of several, one that says close decides */
                seen->close |= list_has(value, "close");
                h->keep_alive = !seen->close && (h->keep_alive || list_has(value, "keep-alive"));
        } else if (strcasecmp(name, "Expect") == 0)
                h->expects_continue = h->http11 && strcasecmp(value, "100-continue") == 0;
        return 0;
}

static const char bad_line[] = "lines of the request must end with CRLF and hold no control characters";

/* Fields move together to where the first began: name NUL value NUL. */
static unsigned parse_fields(char *p, const char *end, HttpHead *h, const char **why) {
        Seen seen = {0};
        char *w = p;
        h->fields = w;
        for (;;) {
                char *name = take_line(&p, end), *c = name, *value;
                if (!name)
                        return refuse(400, bad_line, why);
                if (!*name)
                        break;
                while (is_token(*c))
                        c++;
                if (c == name || *c != ':')
                        return refuse(400, "a header of the request is not NAME: VALUE", why);
                *c = 0;
                value = trim(c + 1);
                unsigned r = understand(h, &seen, name, value, why);
                if (r)
                        return r;
                size_t n = strlen(name) + 1, m = strlen(value) + 1;
                memmove(w, name, n);
                memmove(w + n, value, m);
                w += n + m;
        }
        *w = 0;
        if (h->http11 && seen.hosts == 0)
                return refuse(400, "the request has no Host", why);
        if (seen.lengths + seen.encodings > 1)
                return refuse(400, "the request has both Content-Length and Transfer-Encoding", why);
        return 0;
}

unsigned http_head_parse(char *data, size_t n, HttpHead *ret, const char **ret_why) {
        char *p = data, *line = take_line(&p, data + n);
        *ret = (HttpHead){0};
        *ret_why = NULL;
        if (!line)
                return refuse(400, bad_line, ret_why);
        unsigned r = parse_request_line(line, ret, ret_why);
        return r ? r : parse_fields(p, data + n, ret, ret_why);
}

const char *http_head_field(const HttpHead *h, const char *name) {
        for (const char *s = h->fields; s && *s;) {
                const char *value = s + strlen(s) + 1;
                if (strcasecmp(s, name) == 0)
                        return value;
                s = value + strlen(value) + 1;
        }
        return NULL;
}

/* ---- chunks ---- */

int http_trailer_line(const char *data, size_t n) {
        const char *lf = n > 0 ? memchr(data, '\n', MIN(n, (size_t)CHUNK_LINE_MAX)) : NULL;
        if (!lf)
                return n < CHUNK_LINE_MAX ? 0 : -1;
        if (lf == data || lf[-1] != '\r')
                return -1;
        for (const char *c = data; c < lf - 1; c++)
                if (!is_text(*c))
                        return -1;
        return (int)(lf + 1 - data);
}

/* Extensions ";name=value" are skipped. */
int http_chunk_line(const char *data, size_t n, uint64_t *ret_size) {
        int len = http_trailer_line(data, n);
        if (len <= 0)
                return len;
        const char *c = data;
        uint64_t size = 0;
        for (; hex(*c) >= 0; c++) {
                if (size > HTTP_LENGTH_MAX >> 4)
                        return -1;
                size = size << 4 | (uint64_t)hex(*c);
        }
        bool extended = *c == ';' && is_token(c[1]);
        if (c == data || (!extended && *c != '\r'))
                return -1;
        *ret_size = size;
        return len;
}

/* ---- answers ---- */

const char *http_reason(unsigned status) {
        static const struct {
                unsigned status;
                const char *reason;
        } reasons[] = {
                {200, "OK"}, {204, "No Content"}, {400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"},
                {404, "Not Found"}, {405, "Method Not Allowed"}, {408, "Request Timeout"}, {409, "Conflict"},
                {413, "Content Too Large"}, {422, "Unprocessable Content"}, {429, "Too Many Requests"},
                {431, "Request Header Fields Too Large"}, {500, "Internal Server Error"}, {501, "Not Implemented"},
                {503, "Service Unavailable"}, {504, "Gateway Timeout"}, {505, "HTTP Version Not Supported"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
                if (reasons[i].status == status)
                        return reasons[i].reason;
        return "Unknown"; /* any text will do; clients go by the number */
}
