/* JSON (RFC 8259) as a grammar, to be built upon.
 *
 * What says nothing is bounded, so that a model cannot go on with it for ever: white space stands only after "{", "[",
 * "," and ":" and before "}" and "]", and is nothing, a space, or a line break with an indentation; numbers have at most
 * so many digits as a double keeps. */
#pragma once

#include "text/grammar.h"

typedef struct JsonGrammar {
        Grammar *g;
        GrammarNode space;   /* white space, or none */
        GrammarNode comma;   /* between members or items, with the space after it */
        GrammarNode colon;
        GrammarNode quote;
        GrammarNode digit;
        GrammarNode escape;  /* of a character, as \n or \u000a */
        GrammarNode one;     /* character of a string, escaped or not */
        GrammarNode string, number, integer, boolean, null;
        GrammarNode fraction, exponent; /* with their signs, not optional */
        GrammarNode value, object, array; /* anything of that kind */
        GrammarNode never;                /* nothing is this */
} JsonGrammar;

JsonGrammar json_grammar(Grammar *g);
/* A string of so many characters. */
GrammarNode json_string_of(const JsonGrammar *j, uint32_t least, uint32_t most);
/* What stands between `open` and `close`: nothing, or something with white space after it. */
GrammarNode json_enclosed(const JsonGrammar *j, const char *open, GrammarNode what, const char *close);
/* One or more, with commas between them and white space after them. */
GrammarNode json_list_of(const JsonGrammar *j, GrammarNode what);
/* A JSON text as it is, a string in quotes, any of some bytes. */
GrammarNode json_literal(Grammar *g, const char *text);
GrammarNode json_any_of(Grammar *g, const char *characters);
