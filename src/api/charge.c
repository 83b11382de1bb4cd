/* What a request's body becomes, charged to its user before the memory is taken: the tree of its JSON, which takes up to a
 * hundred times the text ("[[],[],[],…"), and the prompt or inputs made from it.
 *
 * While a thread is in a charge, between charge_enter() and charge_leave(), all that jansson allocates there is charged, a
 * step at a time, and when the user may hold no more there is none. What it frees there was allocated there. */
#include <malloc.h>

#include "api/api-private.h"

enum { STEP = 16 * 1024, CHUNK_HEAD = 8 }; /* what malloc() takes beside malloc_usable_size() */

static _Thread_local Charge *current;

static bool charge_more(Charge *c, int64_t need) {
        int64_t more = MAX(need, (int64_t)STEP);
        if (!user_charge(c->user, (uint64_t)more, c->most)) {
                more = need;
                if (!user_charge(c->user, (uint64_t)more, c->most)) {
                        c->refused = job_memory_refusal(c->held + (uint64_t)need, c->most);
                        return false;
                }
        }
        c->held += (uint64_t)more;
        c->left += more;
        return true;
}

void *charged_malloc(size_t n) {
        Charge *c = current;
        if (!c)
                return malloc(n);
        if (c->refused || n > INT64_MAX / 2 || ((int64_t)n + CHUNK_HEAD > c->left && !charge_more(c, (int64_t)n + CHUNK_HEAD - c->left)))
                return NULL;
        void *p = malloc(n);
        c->left -= p ? (int64_t)malloc_usable_size(p) + CHUNK_HEAD : 0;
        return p;
}

static void charged_free(void *p) {
        if (p && current)
                current->left += (int64_t)malloc_usable_size(p) + CHUNK_HEAD;
        free(p);
}

void charge_init(void) {
        json_set_alloc_funcs(charged_malloc, charged_free);
}

Charge charge_of(const Request *r, const Daemon *d) {
        return (Charge){.user = r->user, .most = d->config->limits.memory_per_user};
}

void charge_adopt(Charge *c, uint64_t n) {
        c->user->held += n;
        c->held += n;
}

void charge_return(Charge *c, uint64_t n) {
        c->user->held -= n;
        c->held -= n;
}

void charge_enter(Charge *c) {
        current = c;
}

void charge_leave(Charge *c) {
        current = NULL;
        charge_return(c, (uint64_t)c->left);
        c->left = 0;
}

void charge_end(Charge *c) {
        charge_return(c, c->held);
}
