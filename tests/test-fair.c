/* The fair queue: users who always want more get service in proportion to their weights, within the bound that the
 * largest item sets; nobody waits for ever; being away earns nothing; and the books balance under random operations. */
#include <math.h>

#include "unit.h"
#include "engine/fair.h"

enum { USERS = 5, ITEMS = 40 };

typedef struct Thing {
        FairItem item;
        uint32_t uid;
        int where; /* 0 out, 1 waiting, 2 running */
        uint64_t order; /* in the queue, or of running */
} Thing;

/* Backlogged users: after any time the difference of weighted service is at most one item's, the bound of the paper
 * for one slot. */
static void test_shares(void **state) {
        static const double weights[USERS] = {1, 1, 2, 4, 0.5};
        Thing things[USERS][2] = {0};
        double had[USERS] = {0};
        enum { PROMPT = 100, OUTPUT = 50, COST = PROMPT + 2 * OUTPUT };
        Fair f;
        fair_init(&f);
        srand(3);
        for (uint32_t u = 0; u < USERS; u++)
                for (int i = 0; i < 2; i++)
                        assert_int_equal(
                                fair_put(&f, &things[u][i].item, things[u][i].uid = u, weights[u], FAIR_INTERACTIVE),
                                0);
        for (int round = 0; round < 20000; round++) {
                FairItem *next = fair_next(&f);
                Thing *t = container_of(next, Thing, item);
                uint32_t prompt = (uint32_t)rand() % PROMPT, output = (uint32_t)rand() % OUTPUT;
                fair_take(&f, next);
                fair_charge(next, prompt, output);
                had[t->uid] += (prompt + 2.0 * output) / weights[t->uid];
                fair_remove(&f, next);
                assert_int_equal(fair_put(&f, next, t->uid, weights[t->uid], FAIR_INTERACTIVE), 0);
                for (uint32_t a = 0; a < USERS; a++)
                        for (uint32_t b = 0; b < USERS; b++)
                                assert_true(fabs(had[a] - had[b]) <= COST / 0.5);
        }
        fair_deinit(&f);
}

static void test_return(void **state) {
        Thing busy[2] = {0}, back = {0};
        Fair f;
        fair_init(&f);
        for (int i = 0; i < 2; i++)
                assert_int_equal(fair_put(&f, &busy[i].item, 1, 1, FAIR_INTERACTIVE), 0);
        fair_charge(&busy[0].item, 5000, 0);
        assert_int_equal(fair_put(&f, &back.item, 2, 1, FAIR_INTERACTIVE), 0);
        assert_true(fair_service(&back.item) == 5000); /* lifted: no credit for the time away */
        fair_charge(&back.item, 1, 0);
        fair_remove(&f, &back.item);
        assert_int_equal(fair_put(&f, &back.item, 2, 1, FAIR_INTERACTIVE), 0);
        assert_true(fair_service(&back.item) == 5001); /* and leaving for a moment forgives nothing */
        assert_ptr_equal(fair_next(&f), &busy[0].item);
        fair_deinit(&f);
}

static void test_pause(void **state) {
        Thing a[2] = {0}, b = {0};
        Fair f;
        fair_init(&f);
        for (int i = 0; i < 2; i++)
                assert_int_equal(fair_put(&f, &a[i].item, 1, 1, FAIR_INTERACTIVE), 0);
        fair_take(&f, &a[0].item);
        fair_charge(&a[0].item, 1000, 0);
        fair_pause(&f, &a[0].item);
        fair_pause(&f, &a[1].item); /* out of the queue */
        assert_null(fair_next(&f));
        assert_int_equal(fair_put(&f, &b.item, 2, 1, FAIR_INTERACTIVE), 0);
        assert_true(fair_service(&b.item) == 1000); /* nobody is active: who comes starts as an equal */
        fair_charge(&b.item, 500, 0);
        fair_resume(&f, &a[0].item);
        assert_true(fair_service(&a[0].item) == 1500); /* being paused earns no credit */
        fair_resume(&f, &a[1].item);
        assert_ptr_equal(fair_next(&f), &b.item); /* equal service, and fewer running */
        assert_ptr_equal(fair_ousted(&f, &b.item), &a[1].item); /* the latest to go on */
        fair_put_back(&f, &a[1].item);
        assert_null(fair_ousted(&f, &b.item)); /* the only place they have */
        fair_remove(&f, &a[0].item);
        fair_remove(&f, &a[1].item);
        fair_remove(&f, &b.item);
        fair_deinit(&f);
}

static void test_classes(void **state) {
        Thing t[3] = {0};
        Fair f;
        fair_init(&f);
        assert_int_equal(fair_put(&f, &t[0].item, 1, 1, FAIR_BATCH), 0);
        assert_int_equal(fair_put(&f, &t[1].item, 2, 1, FAIR_INTERACTIVE), 0);
        assert_int_equal(fair_put(&f, &t[2].item, 2, NAN, FAIR_INTERACTIVE), 0);
        fair_charge(&t[1].item, 100, 0);
        assert_ptr_equal(fair_next(&f), &t[1].item);
        fair_take(&f, &t[0].item);
        assert_ptr_equal(fair_ousted(&f, &t[1].item), &t[0].item);
        fair_take(&f, &t[1].item);
        assert_ptr_equal(fair_least(&f), &t[0].item);
        fair_put_back(&f, &t[0].item);
        assert_ptr_equal(fair_least(&f), &t[1].item);
        assert_null(fair_ousted(&f, &t[0].item)); /* batch waits */
        assert_ptr_equal(fair_next(&f), &t[2].item);
        fair_put_back(&f, &t[1].item); /* before the user's others */
        assert_ptr_equal(fair_next(&f), &t[1].item);
        fair_remove(&f, &t[1].item);
        fair_remove(&f, &t[2].item);
        assert_ptr_equal(fair_next(&f), &t[0].item);
        fair_remove(&f, &t[0].item);
        fair_remove(&f, &t[0].item); /* harmless */
        assert_null(fair_next(&f));
        fair_deinit(&f);
}

/* Whether `a` has less claim than `b`. */
static bool yields(const FairItem *a, const FairItem *b) {
        return a->class != b->class ? a->class > b->class : fair_service(a) > fair_service(b);
}

/* Whom it may oust, found by looking at everything. */
static bool ousts(const Thing *things, const Thing *a, const Thing *b) {
        uint32_t n_a = 0, n_b = 0;
        for (int i = 0; i < ITEMS; i++) {
                n_a += things[i].where == 2 && things[i].uid == a->uid;
                n_b += things[i].where == 2 && things[i].uid == b->uid;
        }
        if (a->item.class != b->item.class)
                return a->item.class < b->item.class;
        return n_a == 0 && n_b > 1 && fair_service(&a->item) <= fair_service(&b->item);
}

/* `chosen` must be the one with the least claim of those that run, if `next` is given of those it ousts. */
static void check_least(const Thing *things, const FairItem *chosen, const FairItem *next) {
        bool any = false;
        for (int i = 0; i < ITEMS; i++) {
                const Thing *t = &things[i];
                if (t->where != 2 || (next && !ousts(things, container_of(next, const Thing, item), t)))
                        continue;
                any = true;
                assert_non_null(chosen);
                assert_false(yields(&t->item, chosen));
                const Thing *c = container_of(chosen, const Thing, item);
                if (t->uid == c->uid && t->item.class == chosen->class)
                        assert_true(c->order >= t->order);
        }
        assert_int_equal(chosen != NULL, any);
}

/* What the queue must choose, found by looking at everything. */
static void check_choice(const Fair *f, Thing *things) {
        uint32_t waiting = 0;
        FairItem *next = fair_next(f);
        for (int i = 0; i < ITEMS; i++) {
                Thing *t = &things[i];
                if (t->where != 1)
                        continue;
                waiting++;
                assert_non_null(next);
                assert_false(yields(next, &t->item)); /* nobody has a better claim */
                Thing *n = container_of(next, Thing, item);
                if (t->uid == n->uid && t->item.class == next->class)
                        assert_true(n->order <= t->order); /* a user's own come in order */
        }
        check_least(things, fair_least(f), NULL);
        if (next)
                check_least(things, fair_ousted(f, next), next);
        assert_int_equal(f->n_waiting, waiting);
        assert_int_equal(next == NULL, waiting == 0);
}

static void test_random(void **state) {
        srand((unsigned)test_seed());
        Thing things[ITEMS] = {0};
        uint64_t order = 1u << 30, front = 1u << 30;
        Fair f;
        fair_init(&f);
        for (int op = 0; op < 30000; op++) {
                Thing *t = &things[rand() % ITEMS];
                int what = rand() % 5;
                if (t->where == 0) {
                        t->uid = (uint32_t)rand() % USERS;
                        t->order = order++;
                        t->where = 1;
                        assert_int_equal(fair_put(&f, &t->item, t->uid, 1 + rand() % 3,
                                                  rand() % 3 ? FAIR_INTERACTIVE : FAIR_BATCH),
                                         0);
                } else if (what == 0) {
                        fair_remove(&f, &t->item);
                        t->where = 0;
                } else if (t->where == 2 && what == 1) {
                        fair_put_back(&f, &t->item);
                        t->order = front--;
                        t->where = 1;
                } else if (fair_next(&f) && what == 2) {
                        Thing *n = container_of(fair_next(&f), Thing, item);
                        fair_take(&f, &n->item);
                        n->where = 2;
                        n->order = order++;
                } else
                        fair_charge(&t->item, (uint32_t)rand() % 100, (uint32_t)rand() % 10);
                check_choice(&f, things);
        }
        fair_deinit(&f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_shares),  cmocka_unit_test(test_return), cmocka_unit_test(test_pause),
                cmocka_unit_test(test_classes), cmocka_unit_test(test_random),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
