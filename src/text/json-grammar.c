/* See json-grammar.h. */
#include <string.h>

#include "text/json-grammar.h"
#include "util/macro.h"

enum { INDENTATION_MAX = 20, TABS_MAX = 8, DIGITS_MAX = 16, EXPONENT_DIGITS_MAX = 2 };

GrammarNode json_literal(Grammar *g, const char *text) {
        return grammar_text(g, text, strlen(text));
}

GrammarNode json_any_of(Grammar *g, const char *characters) {
        CharRange ranges[32];
        size_t n = MIN(strlen(characters), ARRAY_SIZE(ranges));
        for (size_t i = 0; i < n; i++)
                ranges[i].first = ranges[i].last = (uint8_t)characters[i];
        return grammar_char(g, ranges, n);
}

static GrammarNode char_of(Grammar *g, uint32_t first, uint32_t last) {
        return grammar_char(g, &(CharRange){first, last}, 1);
}

static GrammarNode space(Grammar *g) {
        GrammarNode blank = json_literal(g, " "), tab = json_literal(g, "\t");
        GrammarNode indentation = grammar_choice_of(g, grammar_repeat(g, blank, 0, INDENTATION_MAX), grammar_repeat(g, tab, 1, TABS_MAX));
        return grammar_optional(g, grammar_choice_of(g, blank, grammar_sequence_of(g, json_literal(g, "\n"), indentation)));
}

/* Surrogates come in pairs. */
static GrammarNode unicode_escape(Grammar *g) {
        GrammarNode hex = json_any_of(g, "0123456789abcdefABCDEF"), d = json_any_of(g, "dD");
        GrammarNode plain = grammar_choice_of(g, grammar_sequence_of(g, json_any_of(g, "0123456789abcefABCEF"), hex),
                                              grammar_sequence_of(g, d, json_any_of(g, "01234567")));
        GrammarNode high = grammar_sequence_of(g, d, json_any_of(g, "89abAB")), low = grammar_sequence_of(g, d, json_any_of(g, "cdefCDEF"));
        GrammarNode pair = grammar_sequence_of(g, high, hex, hex, json_literal(g, "\\u"), low, hex, hex);
        return grammar_sequence_of(g, json_literal(g, "\\u"), grammar_choice_of(g, grammar_sequence_of(g, plain, hex, hex), pair));
}

static GrammarNode character(Grammar *g, GrammarNode escape) {
        static const CharRange plain[] = {{' ', '!'}, {'#', '['}, {']', 0x10ffff}};
        return grammar_choice_of(g, grammar_char(g, plain, ARRAY_SIZE(plain)), escape);
}

static GrammarNode integer(const JsonGrammar *j) {
        GrammarNode more = grammar_sequence_of(j->g, char_of(j->g, '1', '9'), grammar_repeat(j->g, j->digit, 0, DIGITS_MAX - 1));
        return grammar_sequence_of(j->g, grammar_optional(j->g, json_literal(j->g, "-")), grammar_choice_of(j->g, json_literal(j->g, "0"), more));
}

static GrammarNode fraction(const JsonGrammar *j) {
        return grammar_sequence_of(j->g, json_literal(j->g, "."), grammar_repeat(j->g, j->digit, 1, DIGITS_MAX));
}

static GrammarNode exponent(const JsonGrammar *j) {
        return grammar_sequence_of(j->g, json_any_of(j->g, "eE"), grammar_optional(j->g, json_any_of(j->g, "+-")),
                                   grammar_repeat(j->g, j->digit, 1, EXPONENT_DIGITS_MAX));
}

GrammarNode json_string_of(const JsonGrammar *j, uint32_t least, uint32_t most) {
        return grammar_sequence_of(j->g, j->quote, grammar_repeat(j->g, j->one, least, most), j->quote);
}

GrammarNode json_enclosed(const JsonGrammar *j, const char *open, GrammarNode what, const char *close) {
        return grammar_sequence_of(j->g, json_literal(j->g, open), j->space, what, json_literal(j->g, close));
}

GrammarNode json_list_of(const JsonGrammar *j, GrammarNode what) {
        return grammar_sequence_of(j->g, what, grammar_repeat(j->g, grammar_sequence_of(j->g, j->comma, what), 0, GRAMMAR_EVER), j->space);
}

JsonGrammar json_grammar(Grammar *g) {
        JsonGrammar j = {.g = g, .space = space(g), .quote = json_literal(g, "\""), .digit = char_of(g, '0', '9')};
        j.comma = grammar_sequence_of(g, json_literal(g, ","), j.space);
        j.colon = grammar_sequence_of(g, json_literal(g, ":"), j.space);
        GrammarNode short_escape = grammar_sequence_of(g, json_literal(g, "\\"), json_any_of(g, "\"\\/bfnrt"));
        j.escape = grammar_choice_of(g, short_escape, unicode_escape(g));
        j.one = character(g, j.escape);
        j.string = json_string_of(&j, 0, GRAMMAR_EVER);
        j.integer = integer(&j);
        j.fraction = fraction(&j);
        j.exponent = exponent(&j);
        j.number = grammar_sequence_of(g, j.integer, grammar_optional(g, j.fraction), grammar_optional(g, j.exponent));
        j.boolean = grammar_choice_of(g, json_literal(g, "true"), json_literal(g, "false"));
        j.null = json_literal(g, "null");
        j.value = grammar_reserve(g);
        GrammarNode members = json_list_of(&j, grammar_sequence_of(g, j.string, j.colon, j.value));
        j.object = json_enclosed(&j, "{", grammar_optional(g, members), "}");
        j.array = json_enclosed(&j, "[", grammar_optional(g, json_list_of(&j, j.value)), "]");
        j.never = grammar_choice(g, NULL, 0);
        grammar_define(g, j.value, grammar_choice_of(g, j.object, j.array, j.string, j.number, j.boolean, j.null));
        return j;
}
