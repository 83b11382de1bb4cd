/* Regular expressions (ECMA-262's, as JSON Schema has them) as a grammar, of JSON strings or of plain text: characters, classes,
 * ., \d \w \s, groups, |, * + ? {m,n}, and ^ and $ at the beginning and end of all, without which anything may come before
 * and after in a JSON string.
 * Assertions, back references, and \b are not supported. */
#pragma once

#include "text/json-grammar.h"

/* A string in its quotes whose content matches. -EINVAL, saying what is not supported. */
int pattern_compile(const JsonGrammar *j, const char *pattern, GrammarNode *ret, Error *e);
/* A text that matches as a whole, with or without ^ and $. */
int pattern_compile_plain(Grammar *g, const char *pattern, GrammarNode *ret, Error *e);
