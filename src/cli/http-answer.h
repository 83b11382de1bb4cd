/* One HTTP/1.1 answer of the daemon's text API, read from bytes as they come. It keeps only what a load generator asks:
 * when the first text came, how many tokens there were, whether the answer is whole. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"

typedef enum HttpPart {
        HTTP_STATUS,
        HTTP_HEADERS,
        HTTP_BODY,         /* `left` more bytes */
        HTTP_BODY_TO_EOF,
        HTTP_CHUNK_SIZE,
        HTTP_CHUNK,        /* `left` more bytes */
        HTTP_CHUNK_END,
        HTTP_TRAILER,
        HTTP_COMPLETE,
} HttpPart;

/* Lines from bytes that are cut anywhere. */
typedef struct LineReader {
        Buf partial;
        bool used; /* `partial` was the last line */
} LineReader;

typedef struct HttpAnswer {
        HttpPart part;
        uint64_t left;
        LineReader head, body;
        int status;        /* 0 until it came */
        bool closes;       /* the connection ends with this answer */
        bool has_text;     /* the first text has come */
        bool done;         /* the object that says so has come */
        uint32_t tokens;   /* of the answer, as that object says */
        char error[160];   /* the daemon's words; "": none */
} HttpAnswer;

/* All zeros is a valid start. Memory is kept for the next answer. */
void http_answer_reset(HttpAnswer *a);
void http_answer_deinit(HttpAnswer *a);
/* 1: the answer is complete; 0: more must come; -EPROTO: this is no HTTP; -ENOMEM. */
int http_answer_feed(HttpAnswer *a, const char *data, size_t n);
/* The connection ended: 1 when the answer is complete by that, else -ECONNRESET. */
int http_answer_eof(HttpAnswer *a);
