/* A lane: one stream of the device, and the turns that models take on it.
 *
 * A pool's device has as many lanes as the pool has `streams`. A model is bound to the least used one when it is
 * loaded, until it is closed. Of those bound to a lane that have something to compute, the one whose last turn is
 * longest ago has the next: one step each, whatever a step costs. Who is alone has all turns.
 *
 * At most two steps are in flight, so that the device has the next one when it comes to the end of one. The second is
 * enqueued when the first is nearly done, so that who comes while a step runs is in the next one; where a step puts
 * no mark for that, at once.
 *
 * Who leaves may have steps in flight, and operations that no mark follows: lane_leave() puts a mark behind them all,
 * and before lane_wait() has come back the memory they use must stay. The others go on meanwhile.
 *
 * All of it on the loop's thread, but for lane_wait(). */
#pragma once

#include "device/device.h"
#include "event/event.h"
#include "util/list.h"

enum { LANE_DEPTH = 2, LANES_MAX = 16 };

typedef struct LaneMember LaneMember;

typedef struct LaneOps {
        /* It is its turn: enqueues a step on the stream, without a mark at its end. False when there is nothing to do.
         * *ret_nearly, 0 before, may be the ticket of a mark that says when it is time to enqueue the next. */
        bool (*step)(LaneMember *m, uint64_t *ret_nearly);
        /* The oldest of its steps in flight has been computed. */
        void (*done)(LaneMember *m);
        /* The stream, and with it the device, is lost. */
        void (*failed)(LaneMember *m, int error);
} LaneOps;

typedef struct Lane {
        Device *device;
        Stream *stream;
        uint32_t n_bound; /* models, from before they are loaded until they are closed; the engine's */
        List members;     /* who had no turn for longest first */
        struct {
                uint64_t nearly, end; /* tickets */
                LaneMember *member;   /* NULL when it left */
        } steps[LANE_DEPTH];          /* a ring: n_flight from `oldest` on */
        uint32_t oldest, n_flight;
        uint64_t ticket; /* the last one known to be reached */
        EventSource reached, turns;
} Lane;

struct LaneMember {
        ListNode node;
        const LaneOps *ops;
        Lane *lane;
        bool wants;    /* it may have something to do */
        uint64_t last; /* the ticket after which nothing of it is on the stream */
};

int lane_init(Lane *l, Device *d, EventLoop *loop, Error *e);
/* Waits for what runs; nobody is bound. */
void lane_deinit(Lane *l);

void lane_join(Lane *l, LaneMember *m, const LaneOps *ops);
void lane_leave(LaneMember *m);
/* Blocks until all that a member that left has enqueued was computed; on a worker. */
void lane_wait(const LaneMember *m);
/* There may be something to do: the member will be asked. */
void lane_want(LaneMember *m);
