/* The head of an HTTP/1.1 request, and the lines of a chunked body, read strictly (RFC 9112): what a proxy before us may
 * read otherwise than we do is refused, not guessed at.
 *
 * Everything here is a pure function of bytes; http.c owns sockets and lives. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_LENGTH_MAX ((uint64_t)INT64_MAX) /* what a longer announced length is taken for */

/* Views into the text it was parsed from, which was changed: strings are terminated in place. */
typedef struct HttpHead {
        const char *method, *path; /* path: percent-decoded, without the query */
        const char *host;          /* of a target like "http://host/path", which the Host field repeats; else NULL */
        const char *fields;        /* name NUL value NUL … NUL */
        uint64_t length;           /* of the body, when not chunked */
        bool chunked;              /* so the body comes, and so it may go back: the client speaks HTTP/1.1 */
        bool http11, keep_alive, expects_continue;
} HttpHead;

/* How many bytes at `data` are a head, blank line included; 0: it is not complete. */
size_t http_head_length(const char *data, size_t n);
/* Whether no head can begin like this: what speaks another protocol is told at once, not when it falls silent. */
bool http_head_is_hopeless(const char *data, size_t n);
/* Parses a complete head in place. 0, or the status to refuse it with and, in *ret_why, one sentence. */
unsigned http_head_parse(char *data, size_t n, HttpHead *ret, const char **ret_why);
/* NULL when absent. */
const char *http_head_field(const HttpHead *h, const char *name);

/* The line before a chunk: "1a;name=value" CRLF. Returns its length, 0 when it is not complete, -1 when it is none;
 * *ret_size is the chunk's, 0 for the last. */
int http_chunk_line(const char *data, size_t n, uint64_t *ret_size);
/* A line of the trailer: its length with CRLF, 2 for the blank one that ends the request; 0 and -1 as above. */
int http_trailer_line(const char *data, size_t n);

/* "OK" for 200. */
const char *http_reason(unsigned status);
