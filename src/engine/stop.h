/* Stop strings in text that grows token by token.
 *
 * Matches are found wherever token borders fall: of several, the one that ends first counts, and of those that end
 * together the longest. So the result depends on the text alone, never on how it was cut into tokens. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "ipc/ipc.h"
#include "util/error.h"

/* -EINVAL: more or longer strings than we look for, or one that is not UTF-8. */
int stop_check(const IpcStrs *stops, Error *e);
/* How many of the `n` bytes may be shown. Where a stop string begins there, which *ret_hit then is, the text ends; otherwise
 * that is empty, and what is kept back is only what a stop string could begin with. */
size_t stop_scan(const IpcStrs *stops, const char *text, size_t n, IpcStr *ret_hit);
