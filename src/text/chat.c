/* Chat templates: what transformers adds to Jinja for them.
 *
 * raise_exception(message) refuses a conversation; the message reaches the client. strftime_now(format) tells the
 * local time; where the context has the number `now`, it tells that time (seconds since 1970, UTC) instead, so that a
 * prompt can be reproduced. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "text/chat.h"
#include "text/jinja.h"

struct ChatTemplate {
        Template *jinja;
};

static Value raise_exception(Run *r, Value self, const Args *a) {
        const String *message = jinja_str(r, a->v[0]).s;
        jinja_fail(r, -EINVAL, "%.*s", (int)MIN(message->len, sizeof(r->error->text)), message->data);
}

static void tell_time(Run *r, struct tm *ret) {
        int64_t now;
        time_t t = time(NULL);
        if (!jinja_as_int(jinja_lookup(r, "now"), &now)) {
                localtime_r(&t, ret);
                return;
        }
        t = (time_t)now;
        if (!gmtime_r(&t, ret))
                jinja_fail(r, -EINVAL, "the context's `now` is no time");
}

static Value strftime_now(Run *r, Value self, const Args *a) {
        const String *format = jinja_need_string(r, a->v[0], "the format of a time");
        struct tm tm;
        char zeroed[256], text[1024];
        if (format->len >= sizeof(zeroed) || memchr(format->data, 0, format->len))
                jinja_fail(r, -EINVAL, "the format of a time is too long");
        memcpy(zeroed, format->data, format->len);
        zeroed[format->len] = 0;
        tell_time(r, &tm);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        size_t n = strftime(text, sizeof(text), zeroed, &tm);
#pragma GCC diagnostic pop
        Text t = {0};
        jinja_put(r, &t, text, n);
        return jinja_text(r, &t);
}

static const Builtin functions[] = {
        {"raise_exception", "message", raise_exception},
        {"strftime_now", "format", strftime_now},
        {0},
};

int chat_template_new(const char *source, size_t len, Error *e, ChatTemplate **ret) {
        _cleanup_(chat_template_freep) ChatTemplate *t = calloc(1, sizeof(*t));
        if (!t)
                return error_set(e, -ENOMEM, "out of memory");
        int r = jinja_compile(source, len, e, &t->jinja);
        if (r < 0)
                return r;
        *ret = TAKE(t);
        return 0;
}

void chat_template_free(ChatTemplate *t) {
        if (t)
                jinja_free(t->jinja);
        free(t);
}

int chat_template_render(const ChatTemplate *t, const json_t *context, Buf *out, Error *e) {
        return jinja_render(t->jinja, context, functions, out, e);
}
