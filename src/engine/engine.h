/* The engine: one device, the models on it and the jobs they run, spoken to over one socketpair (ipc/ipc.h).
 *
 * It lives on an event loop and ends it: with 0 when the daemon says QUIT or goes away, with 1 when the device is lost
 * or the daemon breaks the contract. */
#pragma once

#include "device/device.h"
#include "event/event.h"

typedef struct Engine Engine;

/* Opens the device the daemon asked for, with `threads` threads where that means something. Each engine program
 * brings its own: open-cpu.c, or the CUDA engine's. Where another device than the one asked for has to do (`require`
 * false), `note` (of `note_size` bytes) gets the reason. */
int engine_open_device(const char *name, bool require, uint32_t threads, Device **ret, char *note, size_t note_size,
                       Error *e);

/* Takes `fd` over. */
int engine_new(EventLoop *l, int fd, Engine **ret);
void engine_free(Engine *e);
DEFINE_CLEANUP(Engine, engine_free)
