/* Turns on a stream; see lane.h. */
#include "engine/lane.h"

static void fail_members(Lane *l, int error) {
        list_foreach(m, &l->members, LaneMember, node)
                m->ops->failed(m, error);
}

/* ---- turns ---- */

static LaneMember *next_member(const Lane *l) {
        list_foreach(m, &l->members, LaneMember, node)
                if (m->wants)
                        return m;
        return NULL;
}

/* Whether it is time for the next step. */
static bool is_time(const Lane *l) {
        uint32_t newest = (l->oldest + l->n_flight + LANE_DEPTH - 1) % LANE_DEPTH;
        return l->n_flight == 0 || (l->n_flight < LANE_DEPTH && l->steps[newest].nearly <= l->ticket);
}

static int take_turn(Lane *l, LaneMember *m) {
        uint64_t nearly = 0;
        m->wants = m->ops->step(m, &nearly);
        if (!m->wants)
                return 0;
        int r = l->device->ops->mark(l->stream, &m->last);
        if (r < 0)
                return r;
        uint32_t at = (l->oldest + l->n_flight++) % LANE_DEPTH;
        l->steps[at].nearly = nearly;
        l->steps[at].end = m->last;
        l->steps[at].member = m;
        list_remove(&m->node);
        list_append(&l->members, &m->node);
        return 0;
}

static void on_turns(EventSource *source, uint32_t revents) {
        Lane *l = container_of(source, Lane, turns);
        int r = 0;
        for (LaneMember *m; r >= 0 && is_time(l) && (m = next_member(l));)
                r = take_turn(l, m);
        if (r < 0)
                fail_members(l, r);
}

static void finish_step(Lane *l) {
        LaneMember *m = l->steps[l->oldest].member;
        l->oldest = (l->oldest + 1) % LANE_DEPTH;
        l->n_flight--;
        if (!m)
                return;
        m->wants = true;
        m->ops->done(m);
}

static void on_reached(EventSource *source, uint32_t revents) {
        Lane *l = container_of(source, Lane, reached);
        int r = l->device->ops->poll(l->stream, &l->ticket);
        if (r < 0) {
                fail_members(l, r);
                return;
        }
        while (l->n_flight > 0 && l->steps[l->oldest].end <= l->ticket)
                finish_step(l);
        event_defer_set(&l->turns);
}

/* ---- coming and going ---- */

void lane_want(LaneMember *m) {
        m->wants = true;
        event_defer_set(&m->lane->turns);
}

void lane_join(Lane *l, LaneMember *m, const LaneOps *ops) {
        *m = (LaneMember){.ops = ops, .lane = l};
        list_append(&l->members, &m->node);
}

/* A stream that takes no mark has failed: it executes no more than what was marked before. */
void lane_leave(LaneMember *m) {
        Lane *l = m->lane;
        if (!list_is_linked(&m->node))
                return;
        list_remove(&m->node);
        for (uint32_t i = 0; i < LANE_DEPTH; i++)
                if (l->steps[i].member == m)
                        l->steps[i].member = NULL;
        (void)!l->device->ops->mark(l->stream, &m->last);
}

void lane_wait(const LaneMember *m) {
        if (m->lane && m->last > 0)
                m->lane->device->ops->wait(m->lane->stream, m->last);
}

/* ---- life ---- */

int lane_init(Lane *l, Device *d, EventLoop *loop, Error *e) {
        *l = (Lane){.device = d, .reached = EVENT_SOURCE_NULL, .turns = EVENT_SOURCE_NULL};
        list_init(&l->members);
        int r = d->ops->stream_new(d, STREAM_STEPS, &l->stream, e);
        if (r < 0)
                return r;
        r = event_add_defer(loop, &l->turns, "schedule", on_turns);
        if (r >= 0)
                r = event_add_io(loop, &l->reached, d->ops->eventfd(l->stream), EPOLLIN, EVENT_PRIORITY_NORMAL,
                                 "step done", on_reached);
        if (r < 0) {
                lane_deinit(l);
                return error_set(e, r, "the event loop takes no more sources");
        }
        return 0;
}

void lane_deinit(Lane *l) {
        event_remove(&l->reached);
        event_remove(&l->turns);
        if (l->stream)
                l->device->ops->stream_free(l->stream);
        l->stream = NULL;
}
