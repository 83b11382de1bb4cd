/* Deadlines; see deadline.h. The timer is only ever set to an earlier time: most deadlines are removed
 * long before they pass, and a timer that fires for one that is gone costs less than setting it each time. */
#include "daemon/deadline.h"
#include "util/str.h"

enum { PASSED_PER_TURN = 32 };

static void set_timer(Deadlines *ds) {
        const Deadline *first = heap_first(&ds->heap);
        uint64_t next = first ? first->at : UINT64_MAX, now = now_usec();
        if (next >= ds->wake)
                return;
        ds->wake = next;
        event_timer_set(&ds->timer, next > now ? next - now : 0);
}

/* Many may pass together; what follows on one is some work, so the loop gets its turn in between. */
static void on_timer(EventSource *s, uint32_t revents _unused_) {
        Deadlines *ds = container_of(s, Deadlines, timer);
        uint64_t now = now_usec();
        Deadline *first;
        for (int i = 0; i < PASSED_PER_TURN && (first = heap_first(&ds->heap)) && first->at <= now; i++)
                ds->passed(first);
        ds->wake = UINT64_MAX;
        set_timer(ds);
}

int deadlines_init(Deadlines *ds, EventLoop *l, DeadlinePassed passed) {
        *ds = (Deadlines){.timer = EVENT_SOURCE_NULL, .wake = UINT64_MAX, .passed = passed};
        return event_add_timer(l, &ds->timer, EVENT_PRIORITY_NORMAL, "deadline", on_timer);
}

void deadlines_deinit(Deadlines *ds) {
        event_remove(&ds->timer);
        heap_deinit(&ds->heap);
}

int deadlines_add(Deadlines *ds, Deadline *d, uint64_t at) {
        int r = heap_reserve(&ds->heap, ds->heap.n + 1);
        if (r < 0)
                return r;
        heap_add(&ds->heap, d, at);
        set_timer(ds);
        return 0;
}

void deadlines_move(Deadlines *ds, Deadline *d, uint64_t at) {
        heap_move(&ds->heap, d, at);
        set_timer(ds);
}

void deadlines_remove(Deadlines *ds, Deadline *d) {
        heap_remove(&ds->heap, d);
}
