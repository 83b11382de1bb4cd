/* Regular expressions (ECMA-262's, as JSON Schema has them) as a grammar, of JSON strings or of plain text: characters, classes,
 * ., \d \w \s, groups, |, * + ? {m,n}, and ^ and $ at the beginning and end of all, without which anything may come before
 * and after in a JSON string.
 * Assertions, back references, and \b are not supported. */
#pragma once

#include "text/json-grammar.h"

/* A string in its quotes whose content matches. -EINVAL, saying what is not supported. */
int pattern_compile(const JsonGrammar *j, const char *pattern, GrammarNode *ret, Error *e);
/* Compiles into a new grammar, of texts that match as a whole, with or without ^ and $, and finishes that. -EINVAL: why, beginning
 * with `name`; -E2BIG, -ENOMEM. */
int pattern_compile_plain(const char *name, const char *text, size_t len, Grammar *g, Error *e);
