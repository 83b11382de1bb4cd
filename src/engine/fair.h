/* Who is next: a queue by user with virtual token counters.
 *
 * After Sheng et al., "Fairness in Serving Large Language Models" (OSDI 2024): every user has a counter of the
 * service they got, weighted by cost (a prompt token 1, an output token 2) and divided by the user's weight. The
 * waiting item of the user with the smallest counter goes next, so that a user who floods the queue delays themselves.
 * A user who comes back after a pause is lifted to the smallest counter among the active ones: being away earns no
 * credit. Of users with equal counters the one with fewer running items goes first. Interactive items of any user go
 * before batch items.
 *
 * An item is active from fair_put() to fair_remove(): first waiting, after fair_take() running, and after
 * fair_put_back() waiting again, in front of its user's others. From fair_pause() to fair_resume(), which leaves it as
 * if it ran, it is not active: its user may be away. Items are embedded in their owners. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "util/list.h"

typedef enum FairClass { FAIR_INTERACTIVE, FAIR_BATCH, FAIR_CLASSES } FairClass;

typedef struct FairUser FairUser;

typedef enum FairState { FAIR_WAITING, FAIR_RUNNING, FAIR_PAUSED } FairState;

typedef struct FairItem {
        ListNode node; /* of its user's that wait, or run */
        FairUser *user; /* NULL when it is not in */
        FairClass class;
        FairState state;
} FairItem;

typedef struct Fair {
        List users;
        uint32_t n_waiting;
        double level; /* what a user is lifted to while nobody is active */
} Fair;

void fair_init(Fair *f);
void fair_deinit(Fair *f);

/* A new item, last of its user's. The weight is the user's from now on; what is no positive number counts as 1.
 * -ENOMEM. */
int fair_put(Fair *f, FairItem *item, uint32_t uid, double weight, FairClass class);
/* The item that goes next, or NULL. */
FairItem *fair_next(const Fair *f);
void fair_take(Fair *f, FairItem *item);
void fair_put_back(Fair *f, FairItem *item);
/* It waits, and lets its user's others of its class go first. */
void fair_pass(FairItem *item);
void fair_pause(Fair *f, FairItem *item); /* waiting or running */
void fair_resume(Fair *f, FairItem *item);
/* The item is done, waiting, running or paused. */
void fair_remove(Fair *f, FairItem *item);

void fair_charge(FairItem *item, uint32_t prompt_tokens, uint32_t output_tokens);
/* The running item with the least claim: batch before interactive, then that of the user who had most, then the one that
 * runs for the shortest time. NULL: none runs. */
FairItem *fair_least(const Fair *f);
/* The running item whose place `next`, waiting, may have at once, or NULL: a batch item's if `next` is none; else, if the
 * user of `next` has no place, that of a user who has several and had no less service. Of those the one with the least
 * claim. Put back, it is not next before `next` has a place, and each time more users have one: so this comes to an
 * end. */
FairItem *fair_ousted(const Fair *f, const FairItem *next);
/* True for one item of each user in a round, the first that is asked about. Rounds count up from 1. */
bool fair_first_of_user(const FairItem *item, uint64_t round);
double fair_service(const FairItem *item);
