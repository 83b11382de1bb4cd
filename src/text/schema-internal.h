/* What the parts of the schema compiler share: schema.c (values by their types), schema-merge.c (references, and schemas that
 * hold at once), schema-number.c. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "text/json-grammar.h"
#include "util/buf.h"

typedef struct Schema {
        Grammar *g;
        JsonGrammar j;
        json_t *root;
        json_t *nodes; /* of the schemas that were met, by their addresses */
        json_t *made;  /* schemas that were made by merging */
        Buf place;     /* where the compiler is, for messages */
        uint32_t depth;
        size_t spent;
        Error *e;
        bool failed;
} Schema;

/* The first mistake is the one that is told. `key` may be NULL. */
void schema_fail(Schema *s, const char *key, const char *fmt, ...) _printf_(3, 4);
/* Counts work and memory that the size of a schema does not bound; a mistake when it is too much. */
void schema_spend(Schema *s, size_t n);
/* Deeper into the schema and back. False, and a mistake, where it is too deep. */
bool schema_enter(Schema *s, const char *key, size_t *ret_back);
void schema_leave(Schema *s, size_t back);

GrammarNode schema_value(Schema *s, json_t *schema);
/* A string that is no name of an object's members. */
GrammarNode schema_other_key(Schema *s, const json_t *names);
GrammarNode schema_number(Schema *s, const json_t *schema, bool whole);

/* NULL after a mistake. */
json_t *schema_resolve(Schema *s, const char *ref);
/* A schema that says what both do, without $ref and allOf of its own; or one that does the same for one schema. */
json_t *schema_merge(Schema *s, json_t *a, json_t *b);
json_t *schema_flatten(Schema *s, json_t *schema);
/* Whether no value can be both. */
bool schema_are_disjoint(Schema *s, json_t *a, json_t *b);
/* Whether the schema restricts anything, `besides` the keys of that list. */
bool schema_restricts(const json_t *schema, const char *const *besides);
bool schema_is_remark(const char *key);
