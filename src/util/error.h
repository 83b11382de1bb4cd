/* How a failure travels: a return code and, where a person will read it, one sentence.
 *
 * Functions return 0 for success, a negative errno for what is fatal to the object at hand, and, where a header
 * says so, a positive code that is an answer to the client. Those that can fail on somebody's input also take an
 * `Error *` and fill it with one message that says what, where and what to do. It is fixed size so that reporting
 * works when memory does not, and may be NULL where the caller does not care. */
#pragma once

#include "util/macro.h"

typedef struct Error {
        int code;
        char text[512];
} Error;

#define ERROR_NULL ((Error){0})

/* Fills `e` (may be NULL) and returns `code`, so that `return error_set(e, -EINVAL, …)` reads as one statement. */
int error_set(Error *e, int code, const char *fmt, ...) _printf_(3, 4);

/* Puts "prefix: " before the message already in `e`; returns its code. */
int error_prefix(Error *e, const char *fmt, ...) _printf_(2, 3);
