/* The machine's sleep, as systemd-logind announces it: engines must have left their devices before, because a driver may
 * lose what is in a GPU's memory, and a suspend that fails for it is worse than a model that is loaded again.
 *
 * We hold a "delay" inhibitor, so that logind waits for us a few seconds; without one (no policy lets us) we are told all
 * the same. Where there is no bus or no logind nothing is ever announced. */
#pragma once

#include <stdbool.h>

#include "event/event.h"

typedef struct SleepWatch SleepWatch;

/* True: about to sleep; sleep_allow() when ready. False: awake again. */
typedef void (*SleepHandler)(bool asleep, void *arg);

#ifdef HAVE_SYSTEMD
/* NULL where there is no bus. */
SleepWatch *sleep_watch(EventLoop *loop, SleepHandler handler, void *arg);
/* All is done that had to be done before. */
void sleep_allow(SleepWatch *w);
void sleep_free(SleepWatch *w);
#else
static inline SleepWatch *sleep_watch(EventLoop *loop _unused_, SleepHandler handler _unused_, void *arg _unused_) {
        return NULL;
}
static inline void sleep_allow(SleepWatch *w _unused_) {}
static inline void sleep_free(SleepWatch *w _unused_) {}
#endif
