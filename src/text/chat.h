/* Chat templates: the Jinja template a model brings, rendered with a conversation.
 *
 * A ChatTemplate is compiled once, immutable, and may be rendered by many threads at once. The template is hostile:
 * rendering is bounded in steps, depth and output size. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "util/buf.h"
#include "util/error.h"

typedef struct ChatTemplate ChatTemplate;

/* -EINVAL with line and column when the template does not parse. */
int chat_template_new(const char *source, size_t len, Error *e, ChatTemplate **ret);
void chat_template_free(ChatTemplate *t);
DEFINE_CLEANUP(ChatTemplate, chat_template_free)

/* Renders `context`, an object as Hugging Face's apply_chat_template() passes it: messages, tools,
 * add_generation_prompt, bos_token, eos_token and any further variable; the number `now` (seconds since 1970) makes
 * strftime_now() tell that time, in UTC, instead of the local time. Appends to `out`, on success only.
 * -EINVAL: the template raised an error or met something it cannot do; the message says what and where.
 * -E2BIG: a bound was reached. */
int chat_template_render(const ChatTemplate *t, const json_t *context, Buf *out, Error *e);
