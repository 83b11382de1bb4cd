/* What the text of a sequence must be, and which tokens it may go on with.
 *
 *   constraint_new()     worker: compiles what the job asks for
 *   constraint_accept()  after each token of the text
 *   constraint_update()  finds the tokens that may come next: at once where that is little work, else on a worker
 *   constraint_allowed() what was found, for the device
 *
 * A state is reached by the text alone, so a sequence that is resumed elsewhere comes to the same one. One side at a
 * time has it: the loop, or the worker that updates it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/ipc.h"
#include "text/token-tree.h"
#include "util/error.h"

typedef struct Constraint Constraint;

/* For a vocabulary of n_vocab tokens, of which the tree has those with text. -EINVAL: what is wrong with it, by the name
 * that the client gave it. -ENOMEM. */
int constraint_new(const IpcJob *job, const TokenTree *tree, uint32_t n_vocab, Constraint **ret, Error *e);
void constraint_free(Constraint *c);
DEFINE_CLEANUP(Constraint, constraint_free)

/* False: the text cannot be this. */
bool constraint_accept(Constraint *c, const char *text, size_t len);
/* The text is whole, and nothing can follow. */
bool constraint_is_done(const Constraint *c);

typedef enum ConstraintWork {
        CONSTRAINT_LITTLE, /* no more than the loop may do */
        CONSTRAINT_ALL,
} ConstraintWork;

/* Negative: it is not possible, see constraint_why(); 0: there is more to do than that; 1: it is done. */
int constraint_update(Constraint *c, ConstraintWork most);
const char *constraint_why(int error);
IpcFailCode constraint_fail_code(int error);
/* After an update that is done: n_vocab bits, as constraint_words() words of 32, which stay until the next one. */
const uint32_t *constraint_allowed(const Constraint *c);
static inline uint32_t constraint_words(uint32_t n_vocab) {
        return (n_vocab + 31) / 32;
}
