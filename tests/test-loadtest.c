/* The load-test models, through the engine as any model is: what they say is what is written down for them, so here it
 * is compared with that, and the time they take with the clock, from below. */
#include <config.h>

#include <jansson.h>
#include <unistd.h>

#include "engine-client.h"
#include "engine/show.h"

enum { MANY = 4096 };

static void expect_null(const Result *r, size_t n) {
        assert_int_equal(r->finish, IPC_FINISH_LENGTH);
        assert_int_equal(r->completion_tokens, n);
        assert_int_equal(n_ids(r), n);
        assert_int_equal(r->text.len, 2 * n);
        for (size_t i = 0; i < n; i++)
                assert_memory_equal(r->text.data + 2 * i, "a ", 2);
}

static void test_null(void **state) {
        IpcJob jobs[] = {ask("hello there", 5), ask("", -1), ask("x", 1000), ask("x", 0)};
        Result r[ARRAY_SIZE(jobs)] = {0};
        jobs[2].n_top = 3;
        Plan p = {.model = IPC_PATH_NULL, .n = ARRAY_SIZE(jobs), .jobs = jobs, .cancel = -1};
        run(&p, r);
        expect_null(&r[0], 5);
        expect_null(&r[1], 16);
        expect_null(&r[2], 1000);
        expect_null(&r[3], 0);
        assert_int_equal(r[0].prompt_tokens, 11); /* bytes */
        assert_int_equal(r[1].prompt_tokens, 1);  /* the token that begins a text */
        assert_int_equal(r[2].top_ids.len, 4 * 1000 * sizeof(int32_t));
        results_deinit(r, ARRAY_SIZE(jobs));
}

static void test_null_many(void **state) {
        static IpcJob jobs[MANY + 100];
        static Result r[MANY + 100];
        for (size_t i = 0; i < ARRAY_SIZE(jobs); i++)
                jobs[i] = ask("x", (int32_t)(i % 7));
        Plan p = {.model = IPC_PATH_NULL, .n = ARRAY_SIZE(jobs), .jobs = jobs, .cancel = -1, .slots = MANY};
        run(&p, r);
        for (size_t i = 0; i < ARRAY_SIZE(jobs); i++)
                expect_null(&r[i], i % 7);
        results_deinit(r, ARRAY_SIZE(jobs));
}

static void test_null_stop(void **state) {
        _cleanup_buf_ Buf lens = BUF_NULL, bytes = BUF_NULL;
        IpcJob job = ask("x", 50);
        Result r = {0};
        ipc_strs_put(&lens, &bytes, " a a", 4);
        job.stop = ipc_strs(&lens, &bytes);
        Plan p = {.model = IPC_PATH_NULL, .n = 1, .jobs = &job, .cancel = -1};
        run(&p, &r);
        assert_int_equal(r.finish, IPC_FINISH_STOP);
        assert_int_equal(r.text.len, 1);
        assert_memory_equal(r.text.data, "a", 1);
        result_deinit(&r);
}

/* Posted again with some of its tokens, it says the rest. */
static void test_null_replay(void **state) {
        IpcJob job = ask("x", 20), again;
        Result first = {0}, rest = {0};
        Plan p = {.model = IPC_PATH_NULL, .n = 1, .jobs = &job, .cancel = -1};
        run(&p, &first);
        again = job;
        again.produced = (IpcInts){ids_of(&first), 8};
        again.text_sent = 16;
        p.jobs = &again;
        run(&p, &rest);
        assert_int_equal(n_ids(&rest), 12);
        assert_int_equal(rest.completion_tokens, 20);
        assert_int_equal(rest.text.len, 24);
        result_deinit(&first);
        result_deinit(&rest);
}

/* The first job is paused with its first piece and goes on when the second, posted then, has ended, though there is
 * one slot only. The pause comes in time, though engine and client share a loop that the engine keeps busy: the answer
 * is so long that the engine would have to be deaf for hundreds of turns to come to its end. */
enum { LONG_ANSWER = 1000000 };

static void pause_first(Client *c, size_t i) {
        if (c->n_posted > 1)
                return;
        tell_job(c, IPC_PAUSE, 0);
        post(c, 1);
}

static void resume_first(Client *c, size_t i) {
        if (i != 1)
                return;
        assert_true(n_ids(&c->results[0]) < LONG_ANSWER / 2);
        tell_job(c, IPC_RESUME, 0);
}

static void test_null_pause(void **state) {
        IpcJob jobs[] = {ask("x", LONG_ANSWER), ask("x", 1000)};
        Result r[2] = {0};
        Plan p = {.model = IPC_PATH_NULL, .n = 2, .jobs = jobs, .cancel = -1, .slots = 1, .one_by_one = true,
                  .piece = pause_first, .end = resume_first};
        run(&p, r);
        assert_int_equal(r[1].order, 0);
        expect_null(&r[0], LONG_ANSWER);
        expect_null(&r[1], 1000);
        results_deinit(r, 2);
}

/* A vocabulary of bytes tells what the tokens are. Each character is three of them, so that it lies across the borders of pieces. */
enum { CHARACTERS = 10000 };

static void expect_bytes(const Result *r, const char *text, size_t n) {
        assert_int_equal(r->finish, IPC_FINISH_STOP);
        assert_int_equal(r->code, 0);
        assert_int_equal(n_ids(r), n);
        for (size_t i = 0; i < n; i++)
                assert_int_equal(ids_of(r)[i], (unsigned char)text[i]);
}

/* The first waits with its first piece until the second, posted then, has ended. */
static void next_piece(Client *c, size_t i) {
        if (c->n_posted > 1)
                tell_job(c, IPC_RESUME, i);
        else
                post(c, 1);
}

static void resume_waiting(Client *c, size_t i) {
        if (i == 1)
                tell_job(c, IPC_RESUME, 0);
}

static void test_tokens(void **state) {
        static char text[3 * CHARACTERS + 1];
        static int32_t ids[3 * CHARACTERS];
        for (size_t i = 0; i < CHARACTERS; i++)
                memcpy(text + 3 * i, i % 2 ? "\u65e5" : "\u672c", 4);
        for (size_t i = 0; i < 3 * CHARACTERS; i++)
                ids[i] = (unsigned char)text[i];
        IpcJob jobs[] = {ask(text, 5), ask("", 0), plain, ask(text, -1), plain, plain};
        Result r[ARRAY_SIZE(jobs)] = {0};
        for (size_t i = 0; i < ARRAY_SIZE(jobs); i++)
                jobs[i].tokens_only = true;
        jobs[0].n_top = 0;
        jobs[2].kind = jobs[5].kind = IPC_PROMPT_IDS;
        jobs[2].prompt_ids = jobs[5].prompt_ids = (IpcInts){ids, ARRAY_SIZE(ids)};
        jobs[3].results_sent = jobs[5].results_sent = 8192; /* of two pieces; the second ends amid a character */
        jobs[4].kind = IPC_PROMPT_CHAT;
        jobs[4].prompt = ipc_str("{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
        Plan p = {.model = IPC_PATH_NULL, .n = ARRAY_SIZE(jobs), .jobs = jobs, .cancel = -1, .slots = 1, .one_by_one = true,
                  .piece = next_piece, .end = resume_waiting};
        run(&p, r);
        assert_int_equal(r[1].order, 0);
        expect_bytes(&r[0], text, sizeof(text) - 1);
        assert_int_equal(r[0].prompt_tokens, sizeof(text) - 1);
        assert_string_equal(r[0].top_text.data, text);
        assert_int_equal(r[0].text.len, 0);
        expect_bytes(&r[1], "", 0);
        expect_bytes(&r[2], text, sizeof(text) - 1);
        assert_string_equal(r[2].text.data, text);
        expect_bytes(&r[3], text + 8192, sizeof(text) - 1 - 8192);
        expect_bytes(&r[4], "hi", 2);
        expect_bytes(&r[5], text + 8192, sizeof(text) - 1 - 8192);
        assert_string_equal(r[5].text.data, text + 8190);
        results_deinit(r, ARRAY_SIZE(jobs));
}

static void test_tokens_refused(void **state) {
        static const int32_t ids[] = {5, 1000};
        IpcJob job = plain;
        Result r = {0};
        job.kind = IPC_PROMPT_IDS;
        job.prompt_ids = (IpcInts){ids, 2};
        job.tokens_only = true;
        Plan p = {.model = IPC_PATH_NULL, .n = 1, .jobs = &job, .cancel = -1};
        run(&p, &r);
        assert_int_equal(r.code, IPC_E_INVALID);
        assert_non_null(strstr(r.error, "token 1 is 1000"));
        result_deinit(&r);
}

static void expect_ok(const Result *r, uint64_t usec) {
        assert_int_equal(r->finish, IPC_FINISH_STOP);
        assert_int_equal(r->completion_tokens, 1);
        assert_int_equal(n_ids(r), 1);
        assert_string_equal(r->text.data, "ok");
        assert_true(r->prefill_usec >= usec);
}

static void test_delay(void **state) {
        IpcJob jobs[] = {ask("20ms", -1), ask(" 0.03", 1), ask("40ms\n", 100), ask("0", 5), ask("50ms", 1)};
        Result r[ARRAY_SIZE(jobs)] = {0};
        jobs[2].ignore_eos = true;
        jobs[4].kind = IPC_PROMPT_CHAT;
        jobs[4].prompt = ipc_str("{\"messages\":[{\"role\":\"system\",\"content\":\"wait\"},"
                                 "{\"role\":\"user\",\"content\":\"50ms\"}]}");
        Plan p = {.model = IPC_PATH_DELAY, .n = ARRAY_SIZE(jobs), .jobs = jobs, .cancel = -1};
        run(&p, r);
        expect_ok(&r[0], 20000);
        expect_ok(&r[1], 30000);
        expect_ok(&r[2], 40000);
        expect_ok(&r[3], 0);
        expect_ok(&r[4], 50000);
        assert_int_equal(r[0].prompt_tokens, 4);
        results_deinit(r, ARRAY_SIZE(jobs));
}

/* All at once, in thousands of slots: nobody comes too early, nobody is forgotten. */
static void test_delay_many(void **state) {
        static IpcJob jobs[MANY];
        static Result r[MANY];
        static char prompts[MANY][16];
        for (size_t i = 0; i < MANY; i++) {
                snprintf(prompts[i], sizeof(prompts[i]), "%zums", 100 + i * 17 % 320);
                jobs[i] = ask(prompts[i], -1);
        }
        Plan p = {.model = IPC_PATH_DELAY, .n = MANY, .jobs = jobs, .cancel = -1, .slots = MANY};
        run(&p, r);
        for (size_t i = 0; i < MANY; i++)
                expect_ok(&r[i], 1000 * (100 + i * 17 % 320));
        results_deinit(r, MANY);
}

/* When the first ends, every other one is taken out, from all over the heap; the rest wait as long as they should. The
 * first need not be the one without a delay: a worker that was preparing that may have been put aside. */
static void cancel_every_other(Client *c, size_t i) {
        if (c->n_ended != 1)
                return;
        for (size_t k = 1; k < c->plan->n; k += 2) {
                if (k == i)
                        continue;
                tell_job(c, IPC_CANCEL, k);
                c->results[k].cancelled = true;
                c->results[k].order = c->n_ended++;
        }
}

static void test_delay_cancel(void **state) {
        static IpcJob jobs[200];
        static Result r[200];
        static char prompts[200][16];
        for (size_t i = 0; i < 200; i++) {
                snprintf(prompts[i], sizeof(prompts[i]), "%zums", i == 0 ? 0 : 200 + i * 77 % 200 * 2);
                jobs[i] = ask(prompts[i], -1);
        }
        Plan p = {.model = IPC_PATH_DELAY, .n = 200, .jobs = jobs, .cancel = -1, .slots = 150,
                  .end = cancel_every_other};
        run(&p, r);
        for (size_t i = 0; i < 200; i += 2)
                expect_ok(&r[i], i == 0 ? 0 : 1000 * (200 + i * 77 % 200 * 2));
        results_deinit(r, 200);
}

/* The loop is held up, the slot is not: who waits has it from when it was due, so that the fifth after the first that ends
 * begins 50 ms later, whatever the loop was doing. The answers are in the order of the slot. */
enum { STALL_USEC = 400000 };

static void stall_once(Client *c, size_t i) {
        if (c->n_ended == 1)
                usleep(STALL_USEC);
}

static void test_delay_late(void **state) {
        IpcJob jobs[7];
        Result r[ARRAY_SIZE(jobs)] = {0}, *by_order[ARRAY_SIZE(jobs)];
        for (size_t i = 0; i < ARRAY_SIZE(jobs); i++)
                jobs[i] = ask("10ms", -1);
        Plan p = {.model = IPC_PATH_DELAY, .n = ARRAY_SIZE(jobs), .jobs = jobs, .cancel = -1, .slots = 1,
                  .end = stall_once};
        run(&p, r);
        for (size_t i = 0; i < ARRAY_SIZE(jobs); i++) {
                expect_ok(&r[i], 10000);
                by_order[r[i].order] = &r[i];
        }
        assert_true(by_order[6]->queue_usec < by_order[1]->queue_usec + STALL_USEC / 2);
        results_deinit(r, ARRAY_SIZE(jobs));
}

static void test_delay_refused(void **state) {
        IpcJob jobs[] = {ask("", 5), ask("soon", 5), ask("10ms please", 5), ask("-1s", 5), ask("99999999999999d", 5)};
        Result r[ARRAY_SIZE(jobs)] = {0};
        Plan p = {.model = IPC_PATH_DELAY, .n = ARRAY_SIZE(jobs), .jobs = jobs, .cancel = -1};
        run(&p, r);
        for (size_t i = 0; i < ARRAY_SIZE(jobs); i++)
                assert_int_equal(r[i].code, IPC_E_INVALID);
        assert_non_null(strstr(r[0].error, "it is empty"));
        assert_non_null(strstr(r[1].error, "not \"soon\""));
        results_deinit(r, ARRAY_SIZE(jobs));
}

static void test_show(void **state) {
        json_t *shown = NULL;
        Error e = ERROR_NULL;
        assert_int_equal(show_file(IPC_PATH_DELAY, &shown, &e), 0);
        assert_string_equal(json_string_value(json_object_get(json_object_get(shown, "details"), "family")),
                            "load-test");
        json_decref(shown);
}

int main(void) {
        log_init("test-loadtest");
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_null),        cmocka_unit_test(test_null_many),
                cmocka_unit_test(test_null_stop),   cmocka_unit_test(test_null_replay),
                cmocka_unit_test(test_null_pause),  cmocka_unit_test(test_delay),
                cmocka_unit_test(test_delay_many), cmocka_unit_test(test_delay_cancel),
                cmocka_unit_test(test_delay_late),   cmocka_unit_test(test_delay_refused),
                cmocka_unit_test(test_tokens),       cmocka_unit_test(test_tokens_refused),
                cmocka_unit_test(test_show),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
