/* The part of the event loop that both implementations share: timing of callbacks, and signals and children, which
 * are descriptors on Linux (signalfd, pidfd) and so need nothing from the library underneath. */
#include <errno.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "event/event-private.h"
#include "util/log.h"
#include "util/str.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static uint64_t cpu_usec(void) {
        struct timespec t;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
        return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void event_dispatch(EventSource *s, uint32_t revents) {
        EventLongest *longest = event_loop_stats(s->loop);
        const char *name = s->name;
        uint64_t cpu = cpu_usec(), start = now_usec();
        s->handler(s, revents); /* may free what embeds the source */
        uint64_t took = now_usec() - start;
        if (took > longest->clock_usec) {
                longest->clock_usec = took;
                longest->clock_name = name;
        }
        if (took <= longest->cpu_usec || (cpu = cpu_usec() - cpu) <= longest->cpu_usec)
                return;
        longest->cpu_usec = cpu;
        longest->cpu_name = name;
        log_debug("longest callback so far: '%s', %.3f ms of processor time", name, (double)cpu / 1e3);
}

const EventLongest *event_loop_longest(const EventLoop *l) {
        return event_loop_stats((EventLoop *)l);
}

/* A signal or child source is an io source on a descriptor of its own whose handler is wrapped: the wrapper below is
 * what the loop calls, the caller's handler is kept in `impl_handler`. */
typedef struct Wrapped {
        EventSource io;
        EventSource *outer;
} Wrapped;

static int add_wrapped(EventLoop *l, EventSource *s, EventType type, int fd, const char *name, EventHandler h,
                       EventHandler inner) {
        Wrapped *w = calloc(1, sizeof(*w));
        if (!w) {
                close(fd);
                return -ENOMEM;
        }
        w->outer = s;
        int priority = type == EVENT_SIGNAL ? EVENT_PRIORITY_HIGH : EVENT_PRIORITY_NORMAL;
        int r = event_add_io(l, &w->io, fd, EPOLLIN, priority, name, inner);
        if (r < 0) {
                free(w);
                close(fd);
                return r;
        }
        *s = (EventSource){.loop = l, .type = type, .handler = h, .name = name, .impl = w, .fd = fd};
        return 0;
}

static void on_signalfd(EventSource *io, uint32_t revents _unused_) {
        EventSource *s = container_of(io, Wrapped, io)->outer;
        struct signalfd_siginfo info;
        if (read(s->fd, &info, sizeof(info)) == sizeof(info))
                s->handler(s, info.ssi_signo);
}

int event_add_signal(EventLoop *l, EventSource *s, int signo, const char *name, EventHandler h) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, signo);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        if (fd < 0)
                return -errno;
        return add_wrapped(l, s, EVENT_SIGNAL, fd, name, h, on_signalfd);
}

static void on_pidfd(EventSource *io, uint32_t revents _unused_) {
        EventSource *s = container_of(io, Wrapped, io)->outer;
        siginfo_t info = {.si_code = CLD_EXITED};
        int r = waitid((idtype_t)P_PIDFD, (id_t)s->fd, &info, WEXITED | WNOHANG);
        if (r < 0 ? errno == EINTR : info.si_pid == 0)
                return; /* any other error (somebody else reaped it) still means that it has ended */
        EventHandler h = s->handler;
        uint32_t status = info.si_code == CLD_EXITED ? (uint32_t)info.si_status << 8 : (uint32_t)info.si_status;
        event_remove(s);
        h(s, status);
}

int event_add_child(EventLoop *l, EventSource *s, pid_t pid, const char *name, EventHandler h) {
        int fd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (fd < 0)
                return -errno;
        int r = add_wrapped(l, s, EVENT_CHILD, fd, name, h, on_pidfd);
        if (r >= 0)
                s->pid = pid;
        return r;
}

void event_remove(EventSource *s) {
        if (!s->impl)
                return;
        if (s->type == EVENT_SIGNAL || s->type == EVENT_CHILD) {
                Wrapped *w = s->impl;
                event_impl_remove(&w->io);
                close(s->fd);
                free(w);
        } else
                event_impl_remove(s);
        s->impl = NULL;
        s->fd = -1;
}
