/* The fair queue; see fair.h. Users are few (people and services of one machine), so they are a list that is walked.
 * A user without items is kept only while their counter exceeds what a stranger would be lifted to. When nobody is
 * active, that is the largest counter there is: the next who come start as equals. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "engine/fair.h"

enum { PROMPT_COST = 1, OUTPUT_COST = 2 };

struct FairUser {
        ListNode node;
        uint32_t uid;
        double weight, service;
        uint32_t n_active;  /* items, waiting or running */
        uint32_t n_running; /* of these */
        uint32_t n_paused;
        uint64_t round; /* of fair_first_of_user() */
        List waiting[FAIR_CLASSES], running[FAIR_CLASSES]; /* the latest to run is last */
};

void fair_init(Fair *f) {
        *f = (Fair){0};
        list_init(&f->users);
}

void fair_deinit(Fair *f) {
        list_foreach(u, &f->users, FairUser, node)
                free(u);
        fair_init(f);
}

/* The smallest counter of the active users. */
static double least_service(const Fair *f) {
        double least = INFINITY;
        list_foreach(u, &f->users, FairUser, node)
                if (u->n_active > 0)
                        least = fmin(least, u->service);
        return isfinite(least) ? least : f->level;
}

static bool any_active(const Fair *f) {
        list_foreach(u, &f->users, FairUser, node)
                if (u->n_active > 0)
                        return true;
        return false;
}

/* After an item is not active any more. Unless it was its user's last there is nothing to do: idle users wait for
 * somebody else to fall idle. */
static void settle(Fair *f, const FairUser *left) {
        if (left->n_active > 0)
                return;
        if (!any_active(f))
                list_foreach(u, &f->users, FairUser, node)
                        f->level = fmax(f->level, u->service);
        double least = least_service(f);
        list_foreach(u, &f->users, FairUser, node)
                if (u->n_active + u->n_paused == 0 && u->service <= least) {
                        list_remove(&u->node);
                        free(u);
                }
}

static FairUser *find_or_add(Fair *f, uint32_t uid) {
        list_foreach(u, &f->users, FairUser, node)
                if (u->uid == uid)
                        return u;
        FairUser *u = calloc(1, sizeof(*u));
        if (!u)
                return NULL;
        u->uid = uid;
        for (int i = 0; i < FAIR_CLASSES; i++) {
                list_init(&u->waiting[i]);
                list_init(&u->running[i]);
        }
        list_append(&f->users, &u->node);
        return u;
}

/* One more item: who comes back is lifted. */
static void activate(Fair *f, FairUser *u) {
        if (u->n_active == 0)
                u->service = fmax(u->service, least_service(f));
        u->n_active++;
}

int fair_put(Fair *f, FairItem *item, uint32_t uid, double weight, FairClass class) {
        FairUser *u = find_or_add(f, uid);
        if (!u)
                return -ENOMEM;
        activate(f, u);
        u->weight = weight > 0 && isfinite(weight) ? weight : 1;
        *item = (FairItem){.user = u, .class = class};
        list_append(&u->waiting[class], &item->node);
        f->n_waiting++;
        return 0;
}

static bool goes_before(const FairUser *a, const FairUser *b) {
        return a->service < b->service || (a->service <= b->service && a->n_running < b->n_running);
}

FairItem *fair_next(const Fair *f) {
        for (int class = 0; class < FAIR_CLASSES; class++) {
                const FairUser *best = NULL;
                list_foreach(u, &f->users, FairUser, node)
                        if (!list_is_empty(&u->waiting[class]) && (!best || goes_before(u, best)))
                                best = u;
                if (best)
                        return list_first(&best->waiting[class], FairItem, node);
        }
        return NULL;
}

/* An active item neither waits nor runs any more. */
static void detach(Fair *f, FairItem *item) {
        list_remove(&item->node);
        if (item->state == FAIR_WAITING)
                f->n_waiting--;
        else
                item->user->n_running--;
}

static void run(FairItem *item) {
        item->state = FAIR_RUNNING;
        list_append(&item->user->running[item->class], &item->node);
        item->user->n_running++;
}

void fair_take(Fair *f, FairItem *item) {
        detach(f, item);
        run(item);
}

void fair_put_back(Fair *f, FairItem *item) {
        detach(f, item);
        item->state = FAIR_WAITING;
        list_prepend(&item->user->waiting[item->class], &item->node);
        f->n_waiting++;
}

void fair_pass(FairItem *item) {
        list_remove(&item->node);
        list_append(&item->user->waiting[item->class], &item->node);
}

static void deactivate(Fair *f, FairItem *item) {
        detach(f, item);
        item->user->n_active--;
}

void fair_pause(Fair *f, FairItem *item) {
        deactivate(f, item);
        item->state = FAIR_PAUSED;
        item->user->n_paused++;
        settle(f, item->user);
}

void fair_resume(Fair *f, FairItem *item) {
        activate(f, item->user);
        item->user->n_paused--;
        run(item);
}

void fair_remove(Fair *f, FairItem *item) {
        FairUser *u = item->user;
        if (!u)
                return;
        if (item->state == FAIR_PAUSED)
                u->n_paused--;
        else
                deactivate(f, item);
        item->user = NULL;
        settle(f, u);
}

void fair_charge(FairItem *item, uint32_t prompt_tokens, uint32_t output_tokens) {
        FairUser *u = item->user;
        u->service += ((double)prompt_tokens * PROMPT_COST + (double)output_tokens * OUTPUT_COST) / u->weight;
}

/* Whether an item of `next`'s may take a place of `u` in `class`. */
static bool ousts(const FairItem *next, const FairUser *u, FairClass class) {
        if (class != next->class)
                return class > next->class;
        return next->user->n_running == 0 && u->n_running > 1 && next->user->service <= u->service;
}

/* Of all that run, or of those whom `next` ousts. */
static FairItem *find_least(const Fair *f, const FairItem *next) {
        for (int class = FAIR_CLASSES - 1; class >= 0; class--) {
                const FairUser *least = NULL;
                list_foreach(u, &f->users, FairUser, node)
                        if (!list_is_empty(&u->running[class]) && (!next || ousts(next, u, (FairClass)class)) &&
                            (!least || u->service >= least->service))
                                least = u;
                if (least)
                        return list_last(&least->running[class], FairItem, node);
        }
        return NULL;
}

FairItem *fair_least(const Fair *f) {
        return find_least(f, NULL);
}

FairItem *fair_ousted(const Fair *f, const FairItem *next) {
        return find_least(f, next);
}

bool fair_first_of_user(const FairItem *item, uint64_t round) {
        bool first = item->user->round != round;
        item->user->round = round;
        return first;
}

double fair_service(const FairItem *item) {
        return item->user->service;
}
