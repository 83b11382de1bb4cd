/* Where the daemon is. People write an address in one of four ways and expect the right one when they write none;
 * everything else about a request is the same for all of them. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/client.h"

#define SYSTEM_SOCKET RUNSTATEDIR "/zerollama/api.sock"

void address_deinit(Address *a) {
        free(a->shown);
        free(a->socket);
        free(a->base);
        *a = (Address){0};
}

static int parse_socket(const char *path, Address *ret, ZlError *e) {
        const struct sockaddr_un *un = NULL;
        if (!*path)
                return fail(e, -EINVAL, "the address names no socket; write unix:/path/of/socket");
        if (strlen(path) >= sizeof(un->sun_path))
                return fail(e, -EINVAL, "the socket path %.64s… is longer than the %zu bytes such a path can have",
                            path, sizeof(un->sun_path) - 1);
        *ret = (Address){.shown = strdup(path), .socket = strdup(path), .base = strdup("http://localhost")};
        return 0;
}

static int parse_url(const char *url, Address *ret, ZlError *e) {
        if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
                return fail(e, -EINVAL, "%s: only http:// and https:// URLs are understood", url);
        size_t n = strlen(url);
        while (n > 0 && url[n - 1] == '/')
                n--;
        *ret = (Address){.shown = strndup(url, n), .base = strndup(url, n)};
        return 0;
}

/* "host:port", "[::1]:port" */
static int parse_host(const char *text, Address *ret, ZlError *e) {
        const char *colon = strrchr(text, ':');
        if (!colon || colon == text || !colon[1] || colon[1 + strspn(colon + 1, "0123456789")])
                return fail(e, -EINVAL, "'%s' is no address; write unix:/path, http://host:port or host:port", text);
        char *url = NULL;
        if (asprintf(&url, "http://%s", text) < 0)
                return fail_memory(e);
        int r = parse_url(url, ret, e);
        free(url);
        return r;
}

/* The system's daemon, or the user's own when only that one is there. */
static int parse_default(Address *ret, ZlError *e) {
        const char *dir = getenv("XDG_RUNTIME_DIR");
        if (!dir || access(SYSTEM_SOCKET, F_OK) == 0)
                return parse_socket(SYSTEM_SOCKET, ret, e);
        char *path = NULL;
        if (asprintf(&path, "%s/zerollama/api.sock", dir) < 0)
                return fail_memory(e);
        int r = parse_socket(access(path, F_OK) == 0 ? path : SYSTEM_SOCKET, ret, e);
        free(path);
        return r;
}

int address_parse(const char *text, Address *ret, ZlError *e) {
        Address a = {0};
        int r;
        if (!text)
                text = getenv("ZEROLLAMA_HOST");
        if (!text || !*text)
                r = parse_default(&a, e);
        else if (strncmp(text, "unix:", 5) == 0)
                r = parse_socket(strncmp(text, "unix://", 7) == 0 ? text + 7 : text + 5, &a, e);
        else if (strstr(text, "://"))
                r = parse_url(text, &a, e);
        else if (strchr(text, '/'))
                r = parse_socket(text, &a, e);
        else
                r = parse_host(text, &a, e);
        if (r == 0 && (!a.shown || !a.base))
                r = fail_memory(e);
        if (r < 0)
                address_deinit(&a);
        else
                *ret = a;
        return r;
}
