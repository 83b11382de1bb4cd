/* One HTTP request, from the caller's point of view a function call.
 *
 * libcurl's multi interface is driven here rather than curl_easy_perform(), because a request must end at once when
 * zl_client_cancel() is called from elsewhere (an eventfd in the same poll), and because the caller may want to hear
 * now and then that it is still waiting. Nothing is polled without something to wait for.
 *
 *   attempt → 2xx: the body goes to the sink as it comes
 *           → 429, 503: pause as long as the daemon asked, and again, up to the client's number of retries
 *           → anything else: an error; its body is read for the daemon's own words
 *
 * Removing an unfinished transfer from the multi handle closes its connection; that is what tells the daemon. */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "client/client.h"
#include "util/buf.h"
#include "util/str.h"

enum {
        REFUSAL_MAX = 64 * 1024, /* of an error's body, more is not read */
        BACKOFF_MS = 500,        /* first pause when the daemon names none */
        CONNECT_MS = 10000,      /* one that listens takes a connection at once, or is no longer alive */
};

typedef struct Transfer {
        ZlClient *client;
        const char *method;
        HttpSink sink;
        void *userdata;
        ZlError *error;
        Buf refusal;            /* body of an answer that is not 2xx */
        int64_t retry_after_ms; /* from a header; -1: none */
        int r;                  /* negative: why we end it ourselves */
        bool answered;          /* something of the body has come */
        uint64_t begin;         /* usec; of the request, not of this attempt */
        uint64_t heard;         /* last sign of life */
        uint64_t next_wait;     /* when the wait callback is due */
        uint64_t until;         /* when the request is given up; UINT64_MAX: never */
} Transfer;

static long transfer_status(const Transfer *t) {
        long status = 0;
        curl_easy_getinfo(t->client->easy, CURLINFO_RESPONSE_CODE, &status);
        return status;
}

static bool is_good(long status) {
        return status >= 200 && status < 300;
}

static size_t on_body(char *data, size_t one, size_t n, void *userdata) {
        Transfer *t = userdata;
        t->heard = now_usec();
        if (!is_good(transfer_status(t))) {
                buf_put(&t->refusal, data, MIN(n, REFUSAL_MAX - MIN(t->refusal.len, (size_t)REFUSAL_MAX)));
                return n;
        }
        t->answered = true;
        t->r = t->sink(t->userdata, data, n, t->error);
        return t->r < 0 ? CURL_WRITEFUNC_ERROR : n;
}

/* Only our finer-grained header; Retry-After itself libcurl reads, dates included. */
static size_t on_header(char *data, size_t one, size_t n, void *userdata) {
        static const char name[] = "retry-after-ms:";
        Transfer *t = userdata;
        char value[32];
        t->heard = now_usec();
        if (n < sizeof(name) || strncasecmp(data, name, sizeof(name) - 1) != 0)
                return n;
        size_t len = MIN(n - (sizeof(name) - 1), sizeof(value) - 1);
        memcpy(value, data + sizeof(name) - 1, len);
        value[len] = 0;
        char *end;
        double ms = strtod(value, &end);
        if (end != value && ms >= 0 && ms < 1e12)
                t->retry_after_ms = (int64_t)ms;
        return n;
}

static struct curl_slist *make_headers(const ZlClient *c, const char *body) {
        struct curl_slist *list = curl_slist_append(NULL, "Accept: application/x-ndjson, application/json");
        if (list && body)
                list = curl_slist_append(curl_slist_append(list, "Content-Type: application/json"), "Expect:");
        if (list && c->key && !c->address.socket) {
                char *line = NULL;
                if (asprintf(&line, "Authorization: Bearer %s", c->key) >= 0)
                        list = curl_slist_append(list, line);
                free(line);
        }
        return list;
}

static void set_options(Transfer *t, const char *url, const char *body, struct curl_slist *headers) {
        CURL *easy = t->client->easy;
        curl_easy_reset(easy);
        curl_easy_setopt(easy, CURLOPT_URL, url);
        curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
        curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(easy, CURLOPT_PROXY, "");
        curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, t->client->address.socket);
        curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
        curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
        curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
        if (body) {
                curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(body));
                curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
        }
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, t->method);
}

static int cancelled(ZlError *e) {
        return fail(e, -ECANCELED, "cancelled");
}

/* Sleeps up to `ms` for zl_client_cancel(); true when it was called. */
static bool sleep_until_cancelled(const ZlClient *c, int ms) {
        struct pollfd stop = {.fd = c->cancel_fd, .events = POLLIN};
        return poll(&stop, 1, ms) > 0;
}

/* Calls the wait callback when it is due. */
static int check_wait(Transfer *t, uint64_t now) {
        ZlClient *c = t->client;
        if (!c->wait || t->answered || now < t->next_wait)
                return 0;
        int r = c->wait(c->wait_userdata, (now - t->begin) / 1000);
        t->next_wait = now_usec() + (uint64_t)c->wait_interval_ms * 1000;
        return r == 0 ? 0 : cancelled(t->error);
}

/* When the daemon has been silent for too long, or the request has taken too long. */
static uint64_t patience_ends(const Transfer *t) {
        uint64_t silence = t->client->timeout_ms * 1000;
        return silence ? MIN(t->heard + silence, t->until) : t->until;
}

static int check_patience(Transfer *t, uint64_t now) {
        if (now < patience_ends(t))
                return 0;
        return fail(t->error, -ETIMEDOUT, "%s did not answer for %.1f seconds", t->client->address.shown,
                    (double)(now - (now < t->until ? t->heard : t->begin)) / 1e6);
}

/* How long to sleep, in ms, when nothing happens before `until`. */
static int sleep_ms(const Transfer *t, uint64_t now, uint64_t until) {
        if (t->client->wait && !t->answered)
                until = MIN(until, t->next_wait);
        return until <= now ? 0 : (int)MIN((until - now) / 1000 + 1, (uint64_t)60000);
}

/* Runs the transfer to its end, or to ours: t->r. */
static CURLcode drive(Transfer *t) {
        ZlClient *c = t->client;
        for (int running = 1, left;;) {
                if (curl_multi_perform(c->multi, &running) != CURLM_OK)
                        return CURLE_FAILED_INIT;
                const CURLMsg *m = curl_multi_info_read(c->multi, &left);
                if (m || running == 0)
                        return m ? m->data.result : CURLE_FAILED_INIT;
                struct curl_waitfd stop = {.fd = c->cancel_fd, .events = CURL_WAIT_POLLIN};
                curl_multi_poll(c->multi, &stop, 1, sleep_ms(t, now_usec(), patience_ends(t)), NULL);
                uint64_t now = now_usec();
                t->r = stop.revents ? cancelled(t->error) : check_patience(t, now);
                if (t->r == 0)
                        t->r = check_wait(t, now);
                if (t->r < 0)
                        return CURLE_ABORTED_BY_CALLBACK;
        }
}

static int connect_failed(Transfer *t, CURLcode code) {
        const char *where = t->client->address.shown, *why = curl_easy_strerror(code);
        long os = 0;
        curl_easy_getinfo(t->client->easy, CURLINFO_OS_ERRNO, &os);
        if (os > 0)
                why = strerror((int)os);
        if (os == EACCES || os == EPERM)
                return fail(t->error, -ENOTCONN,
                            "cannot connect to %s: %s; ask the administrator for access to this socket", where, why);
        return fail(t->error, -ENOTCONN,
                    "cannot connect to %s: %s; is zerollamad running?", where, why);
}

/* The daemon's own words, or at least its status. */
static int refused(Transfer *t, long status) {
        ZlError *e = t->error;
        json_auto_t *root = t->refusal.data ? json_loadb(t->refusal.data, t->refusal.len, 0, NULL) : NULL;
        const char *said = json_error_text(root);
        curl_off_t seconds = 0;
        curl_easy_getinfo(t->client->easy, CURLINFO_RETRY_AFTER, &seconds);
        e->status = (int)status;
        e->retry_after_ms = t->retry_after_ms >= 0 ? t->retry_after_ms : seconds > 0 ? (int64_t)seconds * 1000 : -1;
        if (said)
                return fail(e, -EREMOTEIO, "%s", said);
        return fail(e, -EREMOTEIO, "%s answered with HTTP status %ld and no explanation", t->client->address.shown,
                    status);
}

static int outcome(Transfer *t, CURLcode code) {
        long status = transfer_status(t);
        if (t->r < 0)
                return t->r;
        if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST)
                return connect_failed(t, code);
        if (code == CURLE_OPERATION_TIMEDOUT)
                return fail(t->error, -ETIMEDOUT, "%s takes no connection; zerollamad seems to hang",
                            t->client->address.shown);
        if (code == CURLE_OUT_OF_MEMORY || t->refusal.failed)
                return fail_memory(t->error);
        if (code != CURLE_OK && (status == 0 || is_good(status)))
                return fail(t->error, -ECONNRESET, "the connection to %s ended before the answer did: %s",
                            t->client->address.shown, curl_easy_strerror(code));
        t->error->status = (int)status;
        return is_good(status) ? 0 : refused(t, status);
}

static int attempt(Transfer *t, const char *url, const char *body) {
        struct curl_slist *headers = make_headers(t->client, body);
        if (!headers)
                return fail_memory(t->error);
        buf_clear(&t->refusal);
        t->retry_after_ms = -1;
        t->heard = now_usec();
        set_options(t, url, body, headers);
        bool added = curl_multi_add_handle(t->client->multi, t->client->easy) == CURLM_OK;
        int r = outcome(t, added ? drive(t) : CURLE_OUT_OF_MEMORY);
        curl_multi_remove_handle(t->client->multi, t->client->easy);
        curl_slist_free_all(headers);
        return r;
}

/* Sleeps between two attempts. */
static int pause_for(Transfer *t, uint64_t ms) {
        uint64_t now = now_usec(), end = now + ms * 1000;
        for (; now < end; now = now_usec()) {
                if (sleep_until_cancelled(t->client, sleep_ms(t, now, end)))
                        return cancelled(t->error);
                int r = check_wait(t, now_usec());
                if (r < 0)
                        return r;
        }
        return 0;
}

int http_request(ZlClient *c, const char *method, const char *path, const char *body, uint64_t limit_ms, HttpSink sink,
                 void *userdata, ZlError *e) {
        _cleanup_free_ char *url = NULL;
        *e = (ZlError){.retry_after_ms = -1};
        if (sleep_until_cancelled(c, 0))
                return cancelled(e);
        if (asprintf(&url, "%s%s", c->address.base, path) < 0)
                return fail_memory(e);
        Transfer t = {.client = c, .method = method, .sink = sink, .userdata = userdata, .error = e, .begin = now_usec()};
        t.next_wait = t.begin + (uint64_t)c->wait_interval_ms * 1000;
        t.until = limit_ms ? t.begin + limit_ms * 1000 : UINT64_MAX;
        int r;
        for (unsigned retry = 0;; retry++) {
                r = attempt(&t, url, body);
                if (r != -EREMOTEIO || (e->status != 429 && e->status != 503) || retry >= c->retries)
                        break;
                uint64_t ms =
                        e->retry_after_ms >= 0 ? (uint64_t)e->retry_after_ms : (uint64_t)BACKOFF_MS << MIN(retry, 20u);
                if (ms > c->max_wait_ms || ms * 1000 > t.until - MIN(now_usec(), t.until))
                        break;
                r = pause_for(&t, ms);
                if (r < 0)
                        break;
                *e = (ZlError){.retry_after_ms = -1};
        }
        buf_deinit(&t.refusal);
        return r;
}
