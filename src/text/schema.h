/* JSON Schema as a grammar: every JSON text of the grammar is valid by the schema. Not the other way round: members come in
 * the order of `properties`, those that are not named only where additionalProperties says so or no property is named, and
 * keys and fixed values are written in one way.
 *
 * Supported are type, enum, const, properties, required, additionalProperties, items, prefixItems, minItems, maxItems,
 * minLength, maxLength, pattern (pattern.h says which), format (date-time, date, time, uuid, ipv4; others, as JSON Schema has
 * it, are a remark), minimum and maximum and their exclusive forms (of numbers that are not integers where they are whole),
 * $ref within the schema, anyOf, allOf where its parts can be merged, and oneOf where no two of its options can both be.
 * What else JSON Schema has to restrict values is refused, never ignored. */
#pragma once

#include <stddef.h>

#include "text/grammar.h"

/* Compiles the schema into a new grammar and finishes that. -EINVAL: what is wrong where, the place beginning with `name`;
 * -E2BIG, -ENOMEM. */
int schema_compile(const char *name, const char *text, size_t len, Grammar *g, Error *e);
