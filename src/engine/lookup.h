/* Guessing what comes next in a sequence from what was there before: prompt lookup decoding (Saxena 2023).
 *
 * Texts repeat what they were given or have said: a name, a quote, a line of code that is changed a little. Where the last
 * LOOKUP_GRAM tokens stand earlier in the sequence, what followed there is guessed to follow here. The scheduler has the model
 * compute the guesses with the last token, in one step, and keeps of them what the model then chooses itself: what comes out is
 * the same, in fewer steps.
 *
 * More is guessed after guesses that were right, less after others; after a miss, also of a guess that nobody had computed, there is
 * a rest, longer after each, so that a text that repeats nothing costs next to nothing. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOOKUP_GRAM = 3, LOOKUP_MAX = 15 };

typedef struct Lookup {
        uint32_t most;    /* guesses at a time; 0: none */
        uint32_t *after;  /* [mask + 1], by hash: the index of the token after the last such gram; 0: there is none */
        uint32_t mask;
        uint32_t learned; /* tokens of the sequence that are in it */
        uint32_t from;    /* where in the sequence stands what is guessed to come next; 0: nothing is guessed */
        uint32_t length;  /* how many are guessed at a time, for now */
        uint32_t misses;  /* since a guess was right */
        uint32_t rest;    /* tokens to come before the next guess */
        bool judged;      /* lookup_outcome() has been told of what it guesses */
} Lookup;

/* For a sequence of at most `longest` tokens. Without memory it guesses nothing. */
void lookup_init(Lookup *l, uint32_t most, uint32_t longest);
void lookup_deinit(Lookup *l);

/* The sequence has come to `n` tokens. */
void lookup_learn(Lookup *l, const int32_t *ids, uint32_t n);
static inline bool lookup_guesses(const Lookup *l) {
        return l->from > 0;
}
/* What comes after the tokens that were learned, at most `room` of it, into `ret`. How many. */
uint32_t lookup_guess(const Lookup *l, const int32_t *ids, uint32_t room, int32_t ret[LOOKUP_MAX]);
/* Of so many guesses so many, from the first on, were right. */
void lookup_outcome(Lookup *l, uint32_t guesses, uint32_t right);
