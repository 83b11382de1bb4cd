/* The HTTP API: one table of routes, one file per dialect. A dialect turns a request's JSON into neutral jobs and their
 * pieces into its own JSON; nothing else knows it. */
#pragma once

#include "daemon/http.h"

/* Once, before any other thread. */
void api_init(void);
/* The HttpHandler of the daemon; `arg` is the Daemon. */
void api_handle(Request *r, void *arg);
