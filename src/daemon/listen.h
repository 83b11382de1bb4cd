/* The sockets clients connect to: passed by the service manager, or opened by ourselves as the config says.
 *
 * A socket that was passed is never unlinked or rebound. One of our own replaces a stale socket file (nobody answers
 * on it) and never a live one. Accepting is bounded per turn of the loop, and pauses while the daemon is at its
 * connection limit or out of descriptors, so that waiting clients wait in the kernel instead of being dropped. */
#pragma once

#include <stdbool.h>

#include "daemon/config.h"
#include "event/event.h"
#include "util/list.h"

typedef struct Listener Listener;

/* Takes `fd` over. False: no more now; the listener then pauses until listener_resume(). */
typedef bool (*ListenerAccept)(Listener *l, int fd, void *arg);

struct Listener {
        ListNode node;
        EventSource source, retry;
        int fd;
        char *address;    /* as people write it */
        char *unlink_path; /* our own socket file, removed at the end */
        bool tcp, loopback, passed, paused;
        char *key;        /* bearer key asked from TCP callers; NULL: none */
        char *next_key;   /* between listener_prepare() and listener_commit() */
        ListenerAccept accept;
        void *arg;
};

/* Whether what `c` needs beside a socket is there: its key. Any thread. */
int listen_check(const ConfigListen *c, Error *e);
/* Opens what `c` says. Errors name the path component or address. */
int listener_open(EventLoop *loop, const ConfigListen *c, ListenerAccept accept, void *arg, Listener **ret, Error *e);
/* Takes over a listening socket that was passed. */
int listener_adopt(EventLoop *loop, int fd, ListenerAccept accept, void *arg, Listener **ret, Error *e);
/* A reload, for a socket that stays open: reads the key `c` asks for (NULL: none), so that what can fail fails before
 * anything is changed; then commits it, with owner and mode of a socket file of our own. */
int listener_prepare(Listener *l, const ConfigListen *c, Error *e);
void listener_commit(Listener *l, const ConfigListen *c);
void listener_free(Listener *l);
DEFINE_CLEANUP(Listener, listener_free)
void listener_pause(Listener *l);
void listener_resume(Listener *l);
/* The address a config entry would have. Caller frees. */
char *listen_address(const ConfigListen *c);
