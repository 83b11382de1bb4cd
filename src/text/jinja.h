/* The Jinja template language, as far as chat templates speak it, with Jinja2's and Python's semantics.
 *
 * A Template is compiled once and immutable. Each render has its own state (a Run, see jinja-value.h) whose memory is
 * one heap that goes as a whole. Blocks are trimmed as transformers configures Jinja2: trim_blocks, lstrip_blocks,
 * loop controls, and a `generation` block that is transparent. Both source and data are hostile: every bound below
 * ends in -E2BIG and a sentence.
 *
 * Beyond Jinja2, where it would only raise an error: a string takes a number with `+`, what filters yield lazily can
 * be counted and indexed, lists and dicts of the template may be changed by their methods, and `from_json` exists. */
#pragma once

#include <jansson.h>

#include "text/jinja-value.h"
#include "util/buf.h"
#include "util/error.h"

enum {
        JINJA_MAX_SOURCE = 4 << 20,   /* bytes of a template */
        JINJA_MAX_AST = 64 << 20,     /* bytes of memory it may compile to */
        JINJA_MAX_NESTING = 200,      /* of blocks, parentheses, operators that the parser recurses on */
        JINJA_MAX_STEPS = 50000000,   /* nodes, items, 16-byte pieces of text looked at: a second or so */
        JINJA_MAX_DEPTH = 1000,       /* nested evaluations; a macro that calls itself reaches it */
        JINJA_MAX_TEXT = 16 << 20,    /* bytes of the output, and of any one string */
        JINJA_MAX_MEMORY = 256 << 20, /* bytes handed out during one render */
        JINJA_MAX_RANGE = 100000,     /* items of range(), as in Jinja2's sandbox */
};

typedef struct Template Template;

/* -EINVAL: the source does not parse; the message says where. */
int jinja_compile(const char *source, size_t len, Error *e, Template **ret);
void jinja_free(Template *t);
DEFINE_CLEANUP(Template, jinja_free)

/* Renders with the variables of `context`; `functions` (ended by an unnamed one) are global functions beside Jinja's
 * own, and see the context through jinja_lookup(). Appends to `out` only on success. */
int jinja_render(const Template *t, const json_t *context, const Builtin *functions, Buf *out, Error *e);
