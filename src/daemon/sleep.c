/* The machine's sleep; see sleep.h. sd-bus on our loop: its descriptor and its timeouts are sources of ours. All calls are
 * asynchronous, and none starts a service. A bus that goes away is not looked for again.
 *
 * What we watch is a duplicate of the descriptor: sd-bus closes its own where it finds the bus gone, and a source must be
 * removed before its descriptor is closed. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <systemd/sd-bus.h>

#include <config.h>
#include "daemon/sleep.h"
#include "util/log.h"
#include "util/str.h"

#define LOGIND "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"

struct SleepWatch {
        sd_bus *bus;
        int fd;
        EventSource io, timer;
        int inhibitor; /* -1: none */
        SleepHandler handler;
        void *arg;
};

static void set_inhibitor(SleepWatch *w, int fd) {
        if (w->inhibitor >= 0)
                close(w->inhibitor);
        w->inhibitor = fd;
}

static int on_inhibited(sd_bus_message *m, void *userdata, sd_bus_error *e _unused_) {
        int fd;
        if (sd_bus_message_is_method_error(m, NULL))
                log_debug("the machine may go to sleep before engines have left their devices: %s", sd_bus_message_get_error(m)->message);
        else if (sd_bus_message_read(m, "h", &fd) >= 0)
                set_inhibitor(userdata, fcntl(fd, F_DUPFD_CLOEXEC, 3));
        return 0;
}

static int inhibit(SleepWatch *w) {
        sd_bus_message *m = NULL;
        int r = sd_bus_message_new_method_call(w->bus, &m, LOGIND, "Inhibit");
        if (r >= 0)
                r = sd_bus_message_set_auto_start(m, 0);
        if (r >= 0)
                r = sd_bus_message_append(m, "ssss", "sleep", "zerollama", "Engines leave their devices", "delay");
        if (r >= 0)
                r = sd_bus_call_async(w->bus, NULL, m, on_inhibited, w, 0);
        sd_bus_message_unref(m);
        return r;
}

static int on_prepare(sd_bus_message *m, void *userdata, sd_bus_error *e _unused_) {
        SleepWatch *w = userdata;
        int asleep;
        if (sd_bus_message_read(m, "b", &asleep) < 0)
                return 0;
        w->handler(asleep, w->arg);
        if (!asleep)
                inhibit(w);
        return 0;
}

static void unwatch(SleepWatch *w) {
        event_remove(&w->io);
        event_remove(&w->timer);
        if (w->fd >= 0)
                close(w->fd);
        w->fd = -1;
}

/* Does what is to be done, and watches for the next. */
static void process(SleepWatch *w) {
        uint64_t until;
        int r, events;
        while ((r = sd_bus_process(w->bus, NULL)) > 0)
                ;
        events = r < 0 ? r : sd_bus_get_events(w->bus);
        if (events < 0 || sd_bus_get_timeout(w->bus, &until) < 0) {
                log_debug("the system bus is gone: the machine's sleep is not heard of any more");
                unwatch(w);
                return;
        }
        uint64_t now = now_usec();
        event_io_set(&w->io, (uint32_t)events);
        event_timer_set(&w->timer, until == UINT64_MAX ? UINT64_MAX : until > now ? until - now : 0);
}

static void on_io(EventSource *s, uint32_t revents _unused_) {
        process(container_of(s, SleepWatch, io));
}

static void on_timer(EventSource *s, uint32_t revents _unused_) {
        process(container_of(s, SleepWatch, timer));
}

static int sleep_start(SleepWatch *w, EventLoop *loop) {
        int r = sd_bus_open_system(&w->bus);
        if (r >= 0)
                r = sd_bus_match_signal_async(w->bus, NULL, LOGIND, "PrepareForSleep", on_prepare, NULL, w);
        if (r >= 0)
                r = inhibit(w);
        if (r >= 0)
                r = event_add_timer(loop, &w->timer, EVENT_PRIORITY_NORMAL, "sleep timer", on_timer);
        if (r >= 0)
                r = w->fd = fcntl(sd_bus_get_fd(w->bus), F_DUPFD_CLOEXEC, 3);
        if (r >= 0)
                r = event_add_io(loop, &w->io, w->fd, 0, EVENT_PRIORITY_NORMAL, "sleep", on_io);
        return r;
}

SleepWatch *sleep_watch(EventLoop *loop, SleepHandler handler, void *arg) {
        SleepWatch *w = calloc(1, sizeof(*w));
        if (!w)
                return NULL;
        *w = (SleepWatch){.io = EVENT_SOURCE_NULL, .timer = EVENT_SOURCE_NULL, .fd = -1, .inhibitor = -1, .handler = handler, .arg = arg};
        int r = sleep_start(w, loop);
        if (r < 0) {
                log_debug("no system bus, so the machine's sleep will not be heard of: %s", strerror(-r));
                sleep_free(w);
                return NULL;
        }
        process(w);
        return w;
}

void sleep_allow(SleepWatch *w) {
        if (w)
                set_inhibitor(w, -1);
}

void sleep_free(SleepWatch *w) {
        if (!w)
                return;
        unwatch(w);
        set_inhibitor(w, -1);
        sd_bus_flush_close_unref(w->bus);
        free(w);
}
