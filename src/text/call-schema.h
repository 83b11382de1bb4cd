/* A call of a tool that must be made, as a JSON Schema: what a model of some forms (split.h) writes after the mark that begins a
 * call. */
#pragma once

#include <jansson.h>

/* `functions`: a list of objects with a `name` and a schema of their `parameters`, which may be absent: any object. One call of
 * one of them. A new reference; NULL: no memory, or it is no such list. */
json_t *call_schema(unsigned forms, const json_t *functions);
