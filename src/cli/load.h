/* Load for the daemon: many clients in one thread, each with a connection of its own that is kept between requests.
 *
 *   closed loop   a client sends its next request when its last one ended; there are always `clients` requests running
 *   fixed rate    requests are due at fixed times, whatever became of those before; one that finds no client free waits
 *                 for one, and its latency counts from when it was due */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"
#include "util/macro.h"

/* Nanoseconds since the stage began. */
typedef struct LoadSample {
        uint64_t due;     /* when it was to be sent */
        uint64_t sent;    /* when it was */
        uint64_t first;   /* first text of the answer; 0: none came */
        uint64_t end;     /* last byte of the answer; 0: it has not ended */
        uint32_t tokens;
        uint16_t status;  /* HTTP; 0: no answer */
        bool good;
} LoadSample;

typedef struct LoadStage {
        unsigned clients;
        uint64_t requests;     /* to send; 0: any number */
        uint64_t duration_ns;  /* send no more after it; 0: any time. One of the two is given. */
        double rate;           /* requests per second; 0: closed loop */
} LoadStage;

typedef struct LoadResult {
        LoadSample *samples;   /* in the order they were sent */
        size_t n;
        size_t ended, failed;
        uint64_t elapsed_ns;
        uint64_t cpu_ns;       /* that this process spent */
        char error[256];       /* what the first one that failed met; "": none did */
} LoadResult;

typedef struct Load Load;

/* Called about ten times a second while a stage runs; nonzero cancels. */
typedef int (*LoadTick)(void *userdata, const LoadStage *stage, const LoadResult *so_far);

/* `address`: the path of a socket, or "http://host:port". `key`: sent to the latter; NULL: none. */
int load_new(const char *address, const char *key, const char *path, const char *body, Load **ret, Error *e);
void load_free(Load *l);
DEFINE_CLEANUP(Load, load_free)
void load_set_tick(Load *l, LoadTick tick, void *userdata);
/* The longest time without a byte from the daemon before a stage ends with -ETIMEDOUT. */
void load_set_patience(Load *l, uint64_t ns);
/* Runs a stage to its end. Negative: it was not finished (-ECANCELED, -ENOTCONN, …); *ret then holds what there is.
 * In any case load_result_deinit() is due. */
int load_run(Load *l, const LoadStage *stage, LoadResult *ret, Error *e);
void load_result_deinit(LoadResult *r);
