/* The engine: one device, the models on it and the jobs they run, spoken to over one socketpair (ipc/ipc.h).
 *
 * It lives on an event loop and ends it: with 0 when the daemon says QUIT or goes away, with 1 when the device is lost
 * or the daemon breaks the contract. */
#pragma once

#include "device/device.h"
#include "event/event.h"

typedef struct Engine Engine;

/* Opens the device that the daemon asked for, on `threads` threads where that means something. Where that one cannot
 * be had but another may do (`require` false), `ret_note` (of `note_size`) says why it is not the one asked for. */
typedef int (*EngineOpenDevice)(const char *name, bool require, uint32_t threads, Device **ret, char *ret_note,
                                size_t note_size, Error *e);

/* Takes `fd` over. The loop's thread must be the caller's. */
int engine_new(EventLoop *l, int fd, EngineOpenDevice open_device, Engine **ret);
void engine_free(Engine *e);
DEFINE_CLEANUP(Engine, engine_free)
