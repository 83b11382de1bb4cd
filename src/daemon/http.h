/* HTTP/1.1 on the loop: connections, limits and the requests' lives. How a head is read is http-head.h's.
 *
 * A Request is handed to the handler when its headers and body are complete and within limits, or when it is to be refused
 * (`refused_with`), of which then little may be known: its method and path may be "". The handler answers
 * then or later, on the loop thread, in one of two ways:
 *   request_reply()                                     a whole answer
 *   request_stream_begin() request_write()* request_end()   a stream; what is written leaves as the client takes it
 * and must not touch the Request after request_reply(), request_end() or request_abort(). When the client goes away before that,
 * `gone` is called once, and the Request must not be touched afterwards either. So exactly one of the three ends it.
 *
 * A client that hangs up, or says that it will send no more, while its request is with the handler or its stream goes on,
 * is gone: that is how it cancels its work at once. */
#pragma once

#include <stdbool.h>

#include "daemon/config.h"
#include "daemon/listen.h"
#include "daemon/user.h"
#include "event/event.h"
#include "util/buf.h"

typedef struct Http Http;
typedef struct Connection Connection;
typedef struct Request Request;

typedef void (*HttpHandler)(Request *r, void *arg);
/* A connection ended while the limit in all was reached: listeners may accept again. */
typedef void (*HttpRoom)(void *arg);

struct Request {
        Http *http;
        Connection *connection;
        const char *method, *path; /* path: decoded, without the query */
        Buf body;
        User *user;
        const Peer *peer;
        const char *key;       /* bearer key its listener asks for, or NULL */
        uint64_t started;      /* now_usec() when the headers were complete */
        unsigned refused_with; /* not 0: the handler must answer at once with this status, and say why */
        const char *refused_why;
        void (*gone)(Request *r);
        void (*drained)(Request *r); /* of a stream: the client has taken most of what was written. May be NULL */
        void *state;           /* the handler's */
};

/* `users` must outlive it. */
int http_new(EventLoop *l, Users *users, HttpHandler handler, HttpRoom room, void *arg, Http **ret, Error *e);
/* Closes every connection; `gone` is called for requests in progress. */
void http_free(Http *h);
DEFINE_CLEANUP(Http, http_free)
/* The config in force, kept as a pointer until the next call. Before the first nothing may be accepted. */
void http_configure(Http *h, const Config *config);
/* Takes an accepted connection over (a ListenerAccept; `arg` is the Http). */
bool http_accept(Listener *l, int fd, void *arg);
/* From now on every answer closes its connection. */
void http_drain(Http *h);
uint32_t http_n_connections(const Http *h);
uint32_t http_n_requests(const Http *h); /* not yet answered in whole */
/* Connections without a request that are about to have one: something came that is not read yet, or they were just
 * made and have not spoken so far, or were just answered and may ask again at once. To end now would lose what their
 * clients believe to be sent. */
uint32_t http_n_expected(Http *h);

const char *request_header(const Request *r, const char *name); /* NULL when absent */
/* Adds a header to the answer; before it begins. */
void request_add_header(Request *r, const char *name, const char *value);
/* `body` is copied; `content_type` is a literal. */
void request_reply(Request *r, unsigned status, const char *content_type, const void *body, size_t len);
void request_stream_begin(Request *r, unsigned status, const char *content_type);
void request_write(Request *r, const void *data, size_t len);
void request_end(Request *r);
/* Instead of the end: memory ran out on the way. Where nothing of the answer has left, the client is told so; else it sees the
 * connection break, which no one takes for an end. */
void request_abort(Request *r);
/* The client takes a stream more slowly than it is written, or its user holds all the memory they may: a writer should stop,
 * and go on when drained() says so. What is written all the same is kept, and charged. */
bool request_is_full(const Request *r);
/* The body is not needed any more: gives its memory back. */
void request_drop_body(Request *r);
