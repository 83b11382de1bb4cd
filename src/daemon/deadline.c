/* A binary heap of deadlines; see deadline.h. The timer is only ever set to an earlier time: most deadlines are removed
 * long before they pass, and a timer that fires for one that is gone costs less than setting it each time. */
#include <errno.h>

#include "daemon/deadline.h"
#include "util/str.h"

enum { PASSED_PER_TURN = 32, ROOM_MIN = 64 };

static void set_timer(Deadlines *ds) {
        uint64_t next = ds->n > 0 ? ds->heap[0]->at : UINT64_MAX, now = now_usec();
        if (next >= ds->wake)
                return;
        ds->wake = next;
        event_timer_set(&ds->timer, next > now ? next - now : 0);
}

/* Many may pass together; what follows on one is some work, so the loop gets its turn in between. */
static void on_timer(EventSource *s, uint32_t revents _unused_) {
        Deadlines *ds = container_of(s, Deadlines, timer);
        uint64_t now = now_usec();
        for (int i = 0; i < PASSED_PER_TURN && ds->n > 0 && ds->heap[0]->at <= now; i++)
                ds->passed(ds->heap[0]);
        ds->wake = UINT64_MAX;
        set_timer(ds);
}

int deadlines_init(Deadlines *ds, EventLoop *l, DeadlinePassed passed) {
        *ds = (Deadlines){.timer = EVENT_SOURCE_NULL, .wake = UINT64_MAX, .passed = passed};
        return event_add_timer(l, &ds->timer, EVENT_PRIORITY_NORMAL, "deadline", on_timer);
}

void deadlines_deinit(Deadlines *ds) {
        event_remove(&ds->timer);
        free(ds->heap);
}

static void place(Deadlines *ds, size_t i, Deadline *d) {
        ds->heap[i] = d;
        d->index = i;
}

/* Puts `d` where it belongs, from the free place `i`. */
static void sift(Deadlines *ds, size_t i, Deadline *d) {
        for (; i > 0 && ds->heap[(i - 1) / 2]->at > d->at; i = (i - 1) / 2)
                place(ds, i, ds->heap[(i - 1) / 2]);
        for (size_t child; (child = 2 * i + 1) < ds->n; i = child) {
                if (child + 1 < ds->n && ds->heap[child + 1]->at < ds->heap[child]->at)
                        child++;
                if (ds->heap[child]->at >= d->at)
                        break;
                place(ds, i, ds->heap[child]);
        }
        place(ds, i, d);
}

int deadlines_add(Deadlines *ds, Deadline *d, uint64_t at) {
        if (ds->n == ds->room) {
                size_t room = MAX(2 * ds->room, (size_t)ROOM_MIN);
                Deadline **heap = reallocarray(ds->heap, room, sizeof(Deadline *));
                if (!heap)
                        return -ENOMEM;
                ds->heap = heap;
                ds->room = room;
        }
        d->at = at;
        ds->n++;
        sift(ds, ds->n - 1, d);
        set_timer(ds);
        return 0;
}

void deadlines_move(Deadlines *ds, Deadline *d, uint64_t at) {
        d->at = at;
        sift(ds, d->index, d);
        set_timer(ds);
}

void deadlines_remove(Deadlines *ds, Deadline *d) {
        Deadline *last = ds->heap[--ds->n];
        if (last != d)
                sift(ds, d->index, last);
}
