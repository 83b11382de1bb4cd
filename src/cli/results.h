/* Results of `zerollama map`, one JSON object a line, in a file that later runs of the same command go on with. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "util/error.h"
#include "util/macro.h"

typedef struct Results Results;

/* `path` NULL: stdout, where nothing is found again. Else the file is made, or read: what it holds counts as done, but
 * not failures when `redo_failed`; a last line that was cut off is removed. Only one process may have it open. */
int results_open(const char *path, bool redo_failed, Results **ret, Error *e);
void results_free(Results *r);
DEFINE_CLEANUP(Results, results_free)
/* Whether the input with this id, or without one (NULL) at this index, has its result. */
bool results_have(const Results *r, uint64_t index, const json_t *id);
/* Lines that the file held. */
uint64_t results_found(const Results *r);
/* Appends a line (without its end) as a whole. */
int results_add(Results *r, const char *line, Error *e);
/* Everything is on the disk when this returns 0. */
int results_sync(Results *r, Error *e);
