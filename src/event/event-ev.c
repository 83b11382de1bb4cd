/* The event loop on libev, for systems without libsystemd. `impl` is an Impl that embeds the watcher.
 *
 * libev removes a pending event with its watcher, so removing any source from any callback is safe, and its Impl is
 * freed at once. In libev's priorities higher runs first. A deferred call is a timer of zero: it comes
 * in the next iteration, whatever else is going on. (An event fed by hand runs in this one, so a call that defers
 * itself again would never let the loop go on; an idle watcher would wait for a quiet moment.) */
#include <assert.h>
#include <errno.h>
#include <ev.h>

#include "event/event-private.h"

struct EventLoop {
        struct ev_loop *ev;
        int code;
        EventLongest longest;
};

typedef union Impl {
        ev_io io;
        ev_timer timer; /* and deferred calls */
} Impl;

int event_loop_new(EventLoop **ret) {
        EventLoop *l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        l->ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
        if (!l->ev) {
                free(l);
                return -ENOMEM;
        }
        l->longest = EVENT_LONGEST_NULL;
        *ret = l;
        return 0;
}

void event_loop_free(EventLoop *l) {
        if (!l)
                return;
        ev_loop_destroy(l->ev);
        free(l);
}

EventLongest *event_loop_stats(EventLoop *l) {
        return &l->longest;
}

int event_loop_run(EventLoop *l) {
        l->code = 0;
        ev_ref(l->ev); /* run until told to exit, also while nothing is watched */
        ev_run(l->ev, 0);
        ev_unref(l->ev);
        return l->code;
}

void event_loop_exit(EventLoop *l, int code) {
        l->code = code;
        ev_break(l->ev, EVBREAK_ALL);
}

static int ev_priority_of(int priority) {
        return priority < 0 ? 1 : 0;
}

static Impl *source_new(EventLoop *l, EventSource *s, EventType type, const char *name, EventHandler h) {
        Impl *impl = calloc(1, sizeof(*impl));
        if (impl)
                *s = (EventSource){.loop = l, .type = type, .handler = h, .name = name, .impl = impl, .fd = -1};
        return impl;
}

static int ev_events_of(uint32_t events) {
        return (events & EPOLLIN ? EV_READ : 0) | (events & EPOLLOUT ? EV_WRITE : 0);
}

static void on_io(struct ev_loop *loop _unused_, ev_io *w, int revents) {
        event_dispatch(w->data, (revents & EV_READ ? EPOLLIN : 0u) | (revents & EV_WRITE ? EPOLLOUT : 0u) |
                                        (revents & EV_ERROR ? EPOLLERR : 0u));
}

static void on_timer(struct ev_loop *loop _unused_, ev_timer *w, int revents _unused_) {
        event_dispatch(w->data, 0);
}

int event_add_io(EventLoop *l, EventSource *s, int fd, uint32_t events, int priority, const char *name, EventHandler h) {
        Impl *impl = source_new(l, s, EVENT_IO, name, h);
        if (!impl)
                return -ENOMEM;
        ev_io_init(&impl->io, on_io, fd, ev_events_of(events));
        impl->io.data = s;
        ev_set_priority(&impl->io, ev_priority_of(priority));
        if (events)
                ev_io_start(l->ev, &impl->io);
        return 0;
}

/* libev drops what is pending for a watcher that is stopped. So that somebody who changes what is watched in each
 * iteration does not keep its own events away, what was seen and is still wanted stays pending. */
int event_io_set(EventSource *s, uint32_t events) {
        assert(s->type == EVENT_IO);
        Impl *impl = s->impl;
        struct ev_loop *ev = s->loop->ev;
        int wanted = ev_events_of(events), seen;
        if (wanted == (impl->io.events & (EV_READ | EV_WRITE)) && ev_is_active(&impl->io) == (events != 0))
                return 0;
        seen = ev_clear_pending(ev, &impl->io) & wanted;
        ev_io_stop(ev, &impl->io);
        ev_io_modify(&impl->io, wanted);
        if (events)
                ev_io_start(ev, &impl->io);
        if (seen)
                ev_feed_event(ev, &impl->io, seen);
        return 0;
}

static int add_timer(EventLoop *l, EventSource *s, EventType type, int priority, const char *name, EventHandler h) {
        Impl *impl = source_new(l, s, type, name, h);
        if (!impl)
                return -ENOMEM;
        ev_timer_init(&impl->timer, on_timer, 0, 0);
        impl->timer.data = s;
        ev_set_priority(&impl->timer, ev_priority_of(priority));
        return 0;
}

int event_add_timer(EventLoop *l, EventSource *s, int priority, const char *name, EventHandler h) {
        return add_timer(l, s, EVENT_TIMER, priority, name, h);
}

int event_timer_set(EventSource *s, uint64_t delay_usec) {
        assert(s->type == EVENT_TIMER);
        Impl *impl = s->impl;
        ev_timer_stop(s->loop->ev, &impl->timer);
        if (delay_usec == UINT64_MAX)
                return 0;
        ev_now_update(s->loop->ev); /* the delay counts from now, not from when this iteration began */
        ev_timer_set(&impl->timer, (double)delay_usec / 1e6, 0);
        ev_timer_start(s->loop->ev, &impl->timer);
        return 0;
}

int event_add_defer(EventLoop *l, EventSource *s, const char *name, EventHandler h) {
        return add_timer(l, s, EVENT_DEFER, EVENT_PRIORITY_NORMAL, name, h);
}

void event_defer_set(EventSource *s) {
        assert(s->type == EVENT_DEFER);
        Impl *impl = s->impl;
        ev_timer_start(s->loop->ev, &impl->timer); /* no effect when it runs already */
}

void event_impl_remove(EventSource *s) {
        Impl *impl = s->impl;
        struct ev_loop *ev = s->loop->ev;
        if (s->type == EVENT_IO)
                ev_io_stop(ev, &impl->io);
        else
                ev_timer_stop(ev, &impl->timer);
        free(impl);
}
