/* A variant: a model under another name, with words that come before every conversation and parameters of its own. Its weights are
 * the other's, in memory once for both. It may also have the model's own name, which then means the variant.
 *
 * It is a file NAME.json in models_path, an object with the members of /api/create:
 *
 *   from        the name of a model, which is not a variant
 *   system      what the system's message says where a request does not begin with one
 *   messages    what was said before the request's messages: [{"role": …, "content": …}, …]
 *   parameters  as in Ollama's "options": temperature, stop, …; those of a request go before
 *   license     a text, or a list of texts, to be shown
 *
 * There are no other members, and no text holds NUL. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <time.h>

#include "util/error.h"
#include "util/list.h"

enum { VARIANT_MAX_BYTES = 256 * 1024, VARIANT_NAME_MAX = 200, VARIANT_MESSAGES_MAX = 1000 };

typedef struct Variant {
        ListNode node;
        char *name, *path;
        json_t *definition; /* NULL: `error` says why the file is none */
        const char *from;   /* in the definition */
        char *opening;      /* JSON: the messages that come first, the system's before the others; NULL: none */
        char *error;
        time_t modified;
        bool apart;    /* no model has its name, be it as an alias; the registry's */
        bool dangling; /* what it is of is not there; the registry's */
} Variant;

/* What the file says, on any thread. `path` is taken over. NULL: no memory. */
Variant *variant_read(const char *name, size_t len, char *path);
void variant_free(Variant *v);

/* A definition with the members above, as they must be. New; NULL and what is wrong. */
json_t *variant_definition(const json_t *said, Error *e);
/* Which parameters there are, and what they may be, the API knows, which sets this at its start. -EINVAL. On any thread. */
extern int (*variant_check_parameters)(json_t *parameters, Error *e);
/* Whether it can be the name of a file in models_path. */
bool variant_name_is_good(const char *name);
