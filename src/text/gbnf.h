/* GBNF, the grammars of llama.cpp (grammars/README.md there): rules "name ::= ...", of which the text is `root`.
 *
 *   "text"  [a-z0-9_]  [^"]  .            a text; a character of a class, or of none in it; any character
 *   name  ( )  |                          another rule, a group, a choice
 *   * + ? {m} {m,} {m,n}                  of what stands before it
 *   \n \r \t \\ \" \[ \] \- \xHH \uHHHH \UHHHHHHHH in texts and classes; # begins a comment
 *
 * A rule ends with its line, but goes on in brackets, after ::= and |, and where the next line begins with |. Its name has
 * letters, digits, - and _. Rules that can begin with themselves or are defined twice, and tokens
 * (<[1]>), are not supported. */
#pragma once

#include "text/grammar.h"

/* Compiles into a new grammar and finishes that. -EINVAL: what is wrong in which line, beginning with `name`; -E2BIG, -ENOMEM. */
int gbnf_compile(const char *name, const char *text, size_t len, Grammar *g, Error *e);
