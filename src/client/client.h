/* Inside libzerollama: what its files share. */
#pragma once

#include <curl/curl.h>
#include <jansson.h>

#include "client/zerollama.h"
#include "util/macro.h"

typedef struct Address {
        char *shown;   /* as people write it: a path or a URL */
        char *socket;  /* path of a Unix socket; NULL: TCP */
        char *base;    /* what URLs begin with, without a slash at the end */
} Address;

/* `text` NULL: the environment, else the default socket; see zl_client_new(). */
int address_parse(const char *text, Address *ret, ZlError *e);
void address_deinit(Address *a);

struct ZlClient {
        Address address;
        char *key;
        unsigned retries;
        uint64_t max_wait_ms, timeout_ms;
        ZlWaitFn wait;
        unsigned wait_interval_ms;
        void *wait_userdata;
        CURLM *multi;   /* holds the connection between requests */
        CURL *easy;
        int cancel_fd;  /* eventfd: readable while cancelled */
};

/* Fills `e` and returns `code`. */
int fail(ZlError *e, int code, const char *fmt, ...) _printf_(3, 4);
int fail_memory(ZlError *e);

/* Takes the body of a good answer piece by piece; a negative errno, explained in `e`, ends the request. */
typedef int (*HttpSink)(void *userdata, const char *data, size_t n, ZlError *e);

/* One request, retried as the client's settings say, with `method` and a body of JSON, or NULL. It is given up after
 * `limit_ms`, retries and all; 0: never. `e` is never NULL here. */
int http_request(ZlClient *c, const char *method, const char *path, const char *body, uint64_t limit_ms, HttpSink sink,
                 void *userdata, ZlError *e);

/* One request whose answer is one JSON object, read whole. `body` (NULL: none) is taken over; either result may be NULL. */
int fetch(ZlClient *c, const char *method, const char *path, json_t *body, uint64_t limit_ms, json_t **ret_root,
          char **ret_text, ZlError *e);
/* The members of the JSON object in `extra` (NULL: none) are added, into objects where both have one. */
int json_add_extra(json_t *root, const char *extra, ZlError *e);
/* How long to wait for the answer to a request with its own timeout in seconds, or NULL. */
uint64_t limit_of(const double *timeout);

/* The text of a daemon's error object, {"error":"…"} or {"error":{"message":"…"}}; NULL when `root` is none. */
const char *json_error_text(const json_t *root);
/* "" and 0 for what is absent or of another type. */
const char *json_text(const json_t *object, const char *key);
uint64_t json_count(const json_t *object, const char *key);
/* "0", "-1" and other whole numbers as a number, else as a string: how keep_alive is sent. */
json_t *json_keep_alive(const char *text);
/* New objects as the daemon takes them; NULL: out of memory, or a text that is not UTF-8. */
json_t *json_options(const ZlOptions *options);
json_t *json_messages(const ZlMessage *messages, size_t n);
