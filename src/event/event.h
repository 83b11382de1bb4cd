/* The event loop both processes stand on: file descriptors, timers, signals, children, deferred calls.
 *
 * Two implementations of one header, chosen by configure: event-sd.c on sd-event, event-ev.c on libev. An
 * EventSource is embedded in the object it serves; the callback recovers that object with container_of(). Callbacks
 * run on the thread that runs the loop and must not block; the loop times each one and keeps the longest.
 *
 * A source is added by event_add_*(), is removed by event_remove() (safe on EVENT_SOURCE_NULL, on removed ones, and
 * from inside its own callback), and must not move in memory in between.
 *
 * There are two priorities. HIGH is for what is rare and must not wait (signals, the watchdog). Everything else is
 * NORMAL, where the loops take turns: a source of lower priority would never run while a busy one is ready. */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>

#include "util/macro.h"

typedef struct EventLoop EventLoop;
typedef struct EventSource EventSource;

/* `revents`: EPOLL* bits for io, the signal number for signals, the wait status for children, else 0. */
typedef void (*EventHandler)(EventSource *s, uint32_t revents);

typedef enum EventType { EVENT_NONE, EVENT_IO, EVENT_TIMER, EVENT_DEFER, EVENT_SIGNAL, EVENT_CHILD } EventType;

enum { EVENT_PRIORITY_HIGH = -10, EVENT_PRIORITY_NORMAL = 0 };

struct EventSource {
        EventLoop *loop;
        EventType type;
        EventHandler handler;
        const char *name; /* a literal: shown at debug level */
        void *impl;       /* of the implementation; NULL when removed */
        int fd;           /* own descriptor of signal and child sources, else -1 */
        pid_t pid;
};

#define EVENT_SOURCE_NULL ((EventSource){.fd = -1})

int event_loop_new(EventLoop **ret);
void event_loop_free(EventLoop *l);
DEFINE_CLEANUP(EventLoop, event_loop_free)

/* Runs until event_loop_exit(); returns its code, or a negative errno. */
int event_loop_run(EventLoop *l);
void event_loop_exit(EventLoop *l, int code);

/* The longest callbacks so far, microseconds, and the sources they belonged to ("" while there is none). The clock goes on
 * while the machine runs something else; processor time is what the callback itself took. A callback that waits shows
 * in the first, one that computes in both, a machine that is too busy in the first alone. */
typedef struct EventLongest {
        uint64_t clock_usec, cpu_usec;
        const char *clock_name, *cpu_name;
} EventLongest;

const EventLongest *event_loop_longest(const EventLoop *l);

/* Watches `fd` (not taken over) for EPOLLIN and EPOLLOUT. Who has very many descriptors gathers them in an epoll
 * descriptor of its own, and watches that. */
int event_add_io(EventLoop *l, EventSource *s, int fd, uint32_t events, int priority, const char *name, EventHandler h);
/* Changes what is watched; 0 pauses, except that the end of a socket is seen all the same. */
int event_io_set(EventSource *s, uint32_t events);

/* A one-shot timer, not armed until event_timer_set(). */
int event_add_timer(EventLoop *l, EventSource *s, int priority, const char *name, EventHandler h);
/* Fires once at now_usec() + delay; UINT64_MAX disarms. */
int event_timer_set(EventSource *s, uint64_t delay_usec);

/* A deferred call: once per event_defer_set(), from the loop, after what is running now. One that defers itself again takes
 * turns with all other sources. */
int event_add_defer(EventLoop *l, EventSource *s, const char *name, EventHandler h);
void event_defer_set(EventSource *s);

/* Takes the signal for the process (blocks its normal delivery): add before starting threads. */
int event_add_signal(EventLoop *l, EventSource *s, int signo, const char *name, EventHandler h);
/* Once, when the child ended; it has been reaped. `revents` is the wait status. */
int event_add_child(EventLoop *l, EventSource *s, pid_t pid, const char *name, EventHandler h);

void event_remove(EventSource *s);
