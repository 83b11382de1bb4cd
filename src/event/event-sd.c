/* The event loop on sd-event. `impl` is the sd_event_source. sd-event calls one handler per iteration, highest
 * priority first, and survives removal of a source from its own handler because it holds a reference meanwhile.
 *
 * Deferred calls are not sd-event's: while one of those is pending it looks at no timer, so one that defers itself again
 * would keep timers waiting for ever (seen in version 252). Ours queue in `deferred`, and an eventfd, which the loop
 * serves in turn with all else, says that there are some. Their `impl` is a Deferred. */
#include <assert.h>
#include <errno.h>
#include <sys/eventfd.h>
#include <systemd/sd-event.h>

#include "event/event-private.h"
#include "util/list.h"
#include "util/str.h"

struct EventLoop {
        sd_event *event;
        EventLongest longest;
        List deferred;
        sd_event_source *wake;
        int wake_fd;
};

typedef struct Deferred {
        ListNode node; /* linked: it is to be called */
        EventSource *source;
} Deferred;

static int on_wake(sd_event_source *impl, int fd, uint32_t revents, void *userdata);

int event_loop_new(EventLoop **ret) {
        EventLoop *l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        l->longest = EVENT_LONGEST_NULL;
        list_init(&l->deferred);
        l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        int r = l->wake_fd < 0 ? -errno : sd_event_new(&l->event);
        if (r >= 0)
                r = sd_event_add_io(l->event, &l->wake, l->wake_fd, EPOLLIN, on_wake, l);
        if (r < 0) {
                event_loop_free(l);
                return r;
        }
        *ret = l;
        return 0;
}

void event_loop_free(EventLoop *l) {
        if (!l)
                return;
        sd_event_source_unref(l->wake);
        sd_event_unref(l->event);
        if (l->wake_fd >= 0)
                close(l->wake_fd);
        free(l);
}

EventLongest *event_loop_stats(EventLoop *l) {
        return &l->longest;
}

int event_loop_run(EventLoop *l) {
        return sd_event_loop(l->event);
}

void event_loop_exit(EventLoop *l, int code) {
        sd_event_exit(l->event, code);
}

static int source_init(EventLoop *l, EventSource *s, EventType type, sd_event_source *impl, int priority,
                       const char *name, EventHandler h) {
        *s = (EventSource){.loop = l, .type = type, .handler = h, .name = name, .impl = impl, .fd = -1};
        sd_event_source_set_description(impl, name);
        return sd_event_source_set_priority(impl, priority);
}

static int on_io(sd_event_source *impl _unused_, int fd _unused_, uint32_t revents, void *userdata) {
        event_dispatch(userdata, revents);
        return 0;
}

static int on_time(sd_event_source *impl _unused_, uint64_t usec _unused_, void *userdata) {
        event_dispatch(userdata, 0);
        return 0;
}

/* Those that are set meanwhile have their turn after everybody else's. */
static int on_wake(sd_event_source *impl _unused_, int fd, uint32_t revents _unused_, void *userdata) {
        EventLoop *l = userdata;
        eventfd_t count;
        List now;
        list_init(&now);
        eventfd_read(fd, &count);
        for (Deferred *d; (d = list_first(&l->deferred, Deferred, node));) {
                list_remove(&d->node);
                list_append(&now, &d->node);
        }
        for (Deferred *d; (d = list_first(&now, Deferred, node));) {
                list_remove(&d->node);
                event_dispatch(d->source, 0); /* may remove any of the others */
        }
        return 0;
}

int event_add_io(EventLoop *l, EventSource *s, int fd, uint32_t events, int priority, const char *name, EventHandler h) {
        sd_event_source *impl;
        int r = sd_event_add_io(l->event, &impl, fd, events, on_io, s);
        return r < 0 ? r : source_init(l, s, EVENT_IO, impl, priority, name, h);
}

int event_io_set(EventSource *s, uint32_t events) {
        assert(s->type == EVENT_IO);
        return sd_event_source_set_io_events(s->impl, events);
}

int event_add_timer(EventLoop *l, EventSource *s, int priority, const char *name, EventHandler h) {
        sd_event_source *impl;
        /* Accuracy 1 us: sd-event would else gather wake-ups up to 250 ms late. */
        int r = sd_event_add_time(l->event, &impl, CLOCK_MONOTONIC, UINT64_MAX, 1, on_time, s);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(impl, SD_EVENT_OFF);
        return r < 0 ? r : source_init(l, s, EVENT_TIMER, impl, priority, name, h);
}

int event_timer_set(EventSource *s, uint64_t delay_usec) {
        assert(s->type == EVENT_TIMER);
        if (delay_usec == UINT64_MAX)
                return sd_event_source_set_enabled(s->impl, SD_EVENT_OFF);
        uint64_t now = now_usec(), at = delay_usec > UINT64_MAX - 1 - now ? UINT64_MAX - 1 : now + delay_usec;
        int r = sd_event_source_set_time(s->impl, at);
        return r < 0 ? r : sd_event_source_set_enabled(s->impl, SD_EVENT_ONESHOT);
}

int event_add_defer(EventLoop *l, EventSource *s, const char *name, EventHandler h) {
        Deferred *d = calloc(1, sizeof(*d));
        if (!d)
                return -ENOMEM;
        list_init(&d->node);
        d->source = s;
        *s = (EventSource){.loop = l, .type = EVENT_DEFER, .handler = h, .name = name, .impl = d, .fd = -1};
        return 0;
}

void event_defer_set(EventSource *s) {
        assert(s->type == EVENT_DEFER);
        Deferred *d = s->impl;
        if (list_is_linked(&d->node))
                return;
        if (list_is_empty(&s->loop->deferred))
                eventfd_write(s->loop->wake_fd, 1);
        list_append(&s->loop->deferred, &d->node);
}

void event_impl_remove(EventSource *s) {
        if (s->type != EVENT_DEFER) {
                sd_event_source_disable_unref(s->impl);
                return;
        }
        Deferred *d = s->impl;
        list_remove(&d->node);
        free(d);
}
