/* References of models; see reference.h. Each part ends up in an address or in a file's name: nothing but plain characters is let
 * through. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/reference.h"
#include "util/macro.h"

#define USUAL_HOST "registry.ollama.ai"

enum { PART_MAX = 128 };

static bool is_plain(const char *s, size_t n, const char *more) {
        for (size_t i = 0; i < n; i++) {
                char c = s[i];
                bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
                if (!word && (i == 0 || !strchr(more, c)))
                        return false;
        }
        return n > 0 && n <= PART_MAX;
}

bool reference_is_name(const char *name) {
        return is_plain(name, strlen(name), ".-+: ");
}

/* What is before the first '/', where more follows and it looks like a host; else 0. */
static size_t host_length(const char *s, bool must) {
        size_t n = strcspn(s, "/");
        return s[n] == '/' && (must || memchr(s, '.', n) || memchr(s, ':', n) || (n == 9 && memcmp(s, "localhost", n) == 0)) ? n : 0;
}

static bool is_repository(const char *s, size_t n) {
        for (const char *end = s + n; s < end;) {
                const char *slash = memchr(s, '/', (size_t)(end - s)), *stop = slash ? slash : end;
                if (!is_plain(s, (size_t)(stop - s), ".-") || stop + 1 == end)
                        return false;
                s = stop + 1;
        }
        return n > 0;
}

static const char *parse(const char *text, Reference *r) {
        bool http = strncmp(text, "http://", 7) == 0, https = strncmp(text, "https://", 8) == 0;
        const char *s = text + (http ? 7 : https ? 8 : 0);
        size_t n_host = host_length(s, http || https);
        if ((http || https) && n_host == 0)
                return "a host and a model are to follow on http://";
        if (n_host > 0 && !is_plain(s, n_host, ".-:"))
                return "its host has other characters than letters, digits, '.', '-', and ':' before the port";
        const char *model = n_host > 0 ? s + n_host + 1 : s, *last = strrchr(model, '/'), *colon = strchr(last ? last : model, ':');
        size_t n = colon ? (size_t)(colon - model) : strlen(model);
        if (!is_repository(model, n))
                return "a model's name has letters, digits, '.', '-' and '_', and '/' between its parts";
        if (colon && !is_plain(colon + 1, strlen(colon + 1), ".-"))
                return "a tag, after ':', has letters, digits, '.', '-' and '_'";
        const char *base = last ? last + 1 : model, *tag = colon ? colon + 1 : "latest", *host = n_host > 0 ? s : USUAL_HOST;
        bool usual_tag = strcmp(tag, "latest") == 0;
        if (asprintf(&r->registry, "%s://%.*s", http ? "http" : "https", (int)(n_host > 0 ? n_host : strlen(host)), host) < 0 ||
            asprintf(&r->repository, "%s%.*s", n_host > 0 || last ? "" : "library/", (int)n, model) < 0 ||
            asprintf(&r->name, "%.*s%s%s", (int)(model + n - base), base, usual_tag ? "" : ":", usual_tag ? "" : tag) < 0 ||
            !(r->tag = strdup(tag)))
                return "there is not enough memory";
        return NULL;
}

bool reference_parse(const char *text, Reference *ret, const char **why) {
        Reference r = {0};
        *why = parse(text, &r);
        if (*why)
                reference_deinit(&r);
        else
                *ret = r;
        return !*why;
}

void reference_deinit(Reference *r) {
        free(r->registry);
        free(r->repository);
        free(r->tag);
        free(r->name);
        *r = (Reference){0};
}
