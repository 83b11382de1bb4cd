/* The client handle: an address, settings, and the curl handles that keep its connection. See zerollama.h. */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "client/client.h"

DEFINE_CLEANUP(ZlClient, zl_client_free)

const char *zl_library_version(void) {
        return PACKAGE_VERSION;
}

int fail(ZlError *e, int code, const char *fmt, ...) {
        if (!e)
                return code;
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(e->message, sizeof(e->message), fmt, ap);
        va_end(ap);
        e->code = code;
        return code;
}

int fail_memory(ZlError *e) {
        return fail(e, -ENOMEM, "out of memory");
}

static void init_curl(void) {
        curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* Takes over `address`. */
static int client_new(Address *address, const char *key, ZlClient **ret, ZlError *e) {
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        pthread_once(&once, init_curl);
        _cleanup_(zl_client_freep) ZlClient *c = malloc(sizeof(*c));
        if (!c) {
                address_deinit(address);
                return fail_memory(e);
        }
        *c = (ZlClient){.address = *address, .retries = 4, .max_wait_ms = 30000};
        *address = (Address){0};
        c->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (c->cancel_fd < 0) {
                int r = -errno;
                return fail(e, r, "cannot make an eventfd: %s", strerror(-r));
        }
        c->multi = curl_multi_init();
        c->easy = curl_easy_init();
        if (!c->multi || !c->easy || zl_client_set_key(c, key) < 0)
                return fail_memory(e);
        *ret = TAKE(c);
        return 0;
}

int zl_client_new(const char *text, ZlClient **ret, ZlError *e) {
        Address address;
        if (e)
                *e = (ZlError){.retry_after_ms = -1};
        int r = address_parse(text, &address, e);
        if (r < 0)
                return r;
        return client_new(&address, getenv("ZEROLLAMA_API_KEY"), ret, e);
}

int zl_client_clone(const ZlClient *c, ZlClient **ret, ZlError *e) {
        Address address;
        ZlClient *copy;
        if (e)
                *e = (ZlError){.retry_after_ms = -1};
        int r = address_parse(c->address.shown, &address, e);
        if (r == 0)
                r = client_new(&address, c->key, &copy, e);
        if (r < 0)
                return r;
        copy->retries = c->retries;
        copy->max_wait_ms = c->max_wait_ms;
        copy->timeout_ms = c->timeout_ms;
        *ret = copy;
        return 0;
}

void zl_client_free(ZlClient *c) {
        if (!c)
                return;
        curl_easy_cleanup(c->easy);
        curl_multi_cleanup(c->multi);
        if (c->cancel_fd >= 0)
                close(c->cancel_fd);
        address_deinit(&c->address);
        free(c->key);
        free(c);
}

const char *zl_client_address(const ZlClient *c) {
        return c->address.shown;
}

int zl_client_set_key(ZlClient *c, const char *key) {
        char *copy = key && *key ? strdup(key) : NULL;
        if (key && *key && !copy)
                return -ENOMEM;
        free(c->key);
        c->key = copy;
        return 0;
}

void zl_client_set_retries(ZlClient *c, unsigned retries, uint64_t max_wait_ms) {
        c->retries = retries;
        c->max_wait_ms = max_wait_ms;
}

void zl_client_set_timeout(ZlClient *c, uint64_t timeout_ms) {
        c->timeout_ms = timeout_ms;
}

void zl_client_set_wait(ZlClient *c, ZlWaitFn wait, unsigned interval_ms, void *userdata) {
        c->wait = wait;
        c->wait_interval_ms = MAX(interval_ms, 1u);
        c->wait_userdata = userdata;
}

void zl_client_cancel(ZlClient *c) {
        int saved = errno;
        (void)!write(c->cancel_fd, &(uint64_t){1}, sizeof(uint64_t));
        errno = saved;
}

void zl_client_resume(ZlClient *c) {
        uint64_t count;
        (void)!read(c->cancel_fd, &count, sizeof(count));
}
