/* Who follows a text through a grammar, byte by byte.
 *
 * What a text can go on with is a set of stacks: each is what must come next, then what after that, and so on. Stacks
 * share their ends, and equal ones are the same; a set of them is a state, numbered when it is first seen, and where a
 * byte leads from a state is worked out once and then remembered. So most steps are one look into a table, and from a
 * state that was not left for good the text can be completed (grammar.c says why).
 *
 * What is remembered is bounded: when it is full, all but a path of states is forgotten, and those get new numbers. A
 * grammar so ambiguous that even so there is no room may have its texts, but not all of them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/grammar.h"

typedef struct Matcher Matcher;

enum { MATCHER_DEAD = 0, MATCHER_PATH_MAX = 256 };

/* The grammar, which is finished, must outlive it. -ENOMEM. */
int matcher_new(const Grammar *g, Matcher **ret);
void matcher_free(Matcher *m);
DEFINE_CLEANUP(Matcher, matcher_free)

/* The state of the empty text. Others may be forgotten. */
uint32_t matcher_start(Matcher *m);
/* Where `byte` leads from path[n - 1]; MATCHER_DEAD: nowhere. Other states than path[0..n), n up to MATCHER_PATH_MAX,
 * may be forgotten, and these be numbered anew. */
uint32_t matcher_step(Matcher *m, uint32_t *path, size_t n, uint8_t byte);
/* Whether the text may end here. */
bool matcher_accepts(const Matcher *m, uint32_t state);
/* Whether it must. */
bool matcher_is_final(const Matcher *m, uint32_t state);

/* Counts up: another number than before, and the states that were numbered are not any more. */
uint32_t matcher_epoch(const Matcher *m);
/* How much was done so far: about a nanosecond's worth ten times over. */
uint64_t matcher_work(const Matcher *m);
