/* The engine as the daemon meets it: over its socketpair, with real small models on the CPU. Both ends live on one
 * loop in this process. The references are the numpy results beside the models, and the engine's promise that what a
 * job says does not depend on what else is going on: neighbours, chunks, being pushed out, being posted again. */
#include <jansson.h>
#include <math.h>

#include "engine-client.h"

#define STORIES "models/stories260K-f32.gguf"

/* Any model does where it is only about being the same; the demo model comes with the source. */
static const char *any_model(void) {
        static char demo[4096];
        const char *dir = getenv("top_srcdir");
        snprintf(demo, sizeof(demo), "%s/demo/demo.gguf", dir ? dir : ".");
        return test_data(STORIES) ? test_data(STORIES) : demo;
}

/* ---- against the references ---- */

/* The difference of the two best logits of a step. */
static double margin_of(const json_t *top) {
        return json_number_value(json_array_get(json_array_get(top, 0), 1)) -
               json_number_value(json_array_get(json_array_get(top, 1), 1));
}

/* Greedy ids and the distance to the runners-up are the reference's, up to the first step whose margin is within reach
 * of the rounding `error`. Returns how many could be compared. */
static size_t check_case(const char *model, const json_t *want, double error) {
        json_t *ids = json_object_get(want, "generated_ids"), *steps = json_object_get(want, "steps");
        IpcJob job = ask(json_string_value(json_object_get(want, "prompt")), (int32_t)json_array_size(ids));
        job.parse_special = true;
        job.n_top = 2;
        Result r = {0};
        Plan p = {.model = model, .n = 1, .jobs = &job, .cancel = -1};
        run(&p, &r);
        size_t i = 0;
        assert_int_equal(r.prompt_tokens, json_array_size(json_object_get(want, "prompt_ids")));
        for (; i < n_ids(&r); i++) {
                json_t *top = json_object_get(json_array_get(steps, i), "top5");
                double margin = top ? margin_of(top) : json_number_value(json_object_get(want, "min_margin"));
                if (margin < error)
                        break;
                assert_int_equal(ids_of(&r)[i], json_integer_value(json_array_get(ids, i)));
                if (!top) /* the file records the first steps alone */
                        continue;
                const float *logprobs = (const float *)(const void *)r.logprobs.data + 3 * i;
                const int32_t *top_ids = (const int32_t *)(const void *)r.top_ids.data + 3 * i;
                assert_int_equal(top_ids[0], ids_of(&r)[i]);
                assert_int_equal(top_ids[1], ids_of(&r)[i]);
                assert_true(fabs((double)(logprobs[1] - logprobs[2]) - margin) < error);
        }
        result_deinit(&r);
        return i;
}

static void check_model(const char *model) {
        char gguf[256], expected[256];
        snprintf(gguf, sizeof(gguf), "models/%s.gguf", model);
        snprintf(expected, sizeof(expected), "models/%s.expected.json", model);
        skip_without(expected);
        json_t *cases = json_load_file(test_data(expected), 0, NULL), *want;
        size_t i;
        assert_non_null(cases);
        json_array_foreach(cases, i, want)
                assert_true(check_case(test_data(gguf), want, 0.05) >= 60);
        json_decref(cases);
}

static void test_reference(void **state) {
        check_model("stories260K-f32");
        check_model("stories260K-f16");
        check_model("babyllama105-f16");
        check_model("babyllama105-q8_0");
        check_model("babyllama105-q4_0");
}

/* The model that comes with the source, and its own references: chats, which end by themselves. */
static void test_demo(void **state) {
        char gguf[4096], expected[4096];
        const char *dir = getenv("top_srcdir");
        snprintf(gguf, sizeof(gguf), "%s/demo/demo.gguf", dir ? dir : ".");
        snprintf(expected, sizeof(expected), "%s/demo/expected.json", dir ? dir : ".");
        json_t *cases = json_load_file(expected, 0, NULL), *want;
        size_t i, compared = 0;
        assert_non_null(cases);
        json_array_foreach(cases, i, want)
                compared += check_case(gguf, want, 0.1);
        assert_true(compared >= 150);
        json_decref(cases);
}

/* ---- a job says the same whatever goes on around it ---- */

static const char *const prompts[] = {
        "Once upon a time",
        "",
        "The dog",
        "Lily and Tom went to the park. They saw a big tree and",
        "One day",
        "She was so happy that she",
        "Tim had a red ball",
        "It was a sunny day. The little bird wanted to fly high in the sky, but",
};
enum { N_PROMPTS = ARRAY_SIZE(prompts) };

static void make_jobs(IpcJob jobs[static N_PROMPTS], int32_t max_tokens) {
        for (size_t i = 0; i < N_PROMPTS; i++) {
                jobs[i] = ask(prompts[i], max_tokens);
                jobs[i].uid = (uint32_t)(i % 3);
                jobs[i].seed = i;
                jobs[i].temperature = i % 2 ? 0.8f : 0; /* greedy and drawn ones */
                jobs[i].ignore_eos = true;
        }
}

static void test_neighbours(void **state) {
        IpcJob jobs[N_PROMPTS];
        Result alone[N_PROMPTS] = {0}, together[N_PROMPTS] = {0};
        make_jobs(jobs, 60);
        Plan a = {.model = any_model(),
                  .n = N_PROMPTS,
                  .jobs = jobs,
                  .cancel = -1,
                  .one_by_one = true,
                  .slots = 1};
        run(&a, alone);
        for (uint32_t batch = 5; batch <= 128; batch = batch * 4 - 3) {
                Plan t = {.model = any_model(),
                          .n = N_PROMPTS,
                          .jobs = jobs,
                          .cancel = -1,
                          .slots = batch == 17 ? 3 : 8,
                          .batch_tokens = batch,
                          .threads = batch == 65 ? 3 : 1};
                run(&t, together);
                for (size_t i = 0; i < N_PROMPTS; i++)
                        assert_same(&alone[i], &together[i]);
                results_deinit(together, N_PROMPTS);
        }
        results_deinit(alone, N_PROMPTS);
}

/* With memory for hardly more than one context, sequences push each other out. */
static void test_preemption(void **state) {
        IpcJob jobs[N_PROMPTS];
        Result free_run[N_PROMPTS] = {0}, tight[N_PROMPTS] = {0};
        make_jobs(jobs, 150);
        Plan a = {.model = any_model(), .n = N_PROMPTS, .jobs = jobs, .cancel = -1, .slots = 8, .context = 256};
        run(&a, free_run);
        assert_int_equal(a.pages, 8 * 8);
        assert_int_equal(a.preemptions, 0);
        Plan b = a;
        b.memory = a.memory_used - a.kv + 10 * (a.kv / a.pages);
        run(&b, tight);
        assert_int_equal(b.pages, 10);
        assert_true(b.preemptions > 0);
        for (size_t i = 0; i < N_PROMPTS; i++)
                assert_same(&free_run[i], &tight[i]);
        results_deinit(free_run, N_PROMPTS);
        results_deinit(tight, N_PROMPTS);
}

/* Two models on one stream and on two: each job says what it says alone. */
static void test_streams(void **state) {
        enum { N = 16 };
        static IpcJob jobs[N];
        static Result alone[N], shared[N];
        for (size_t i = 0; i < N; i++)
                jobs[i] = ask(prompts[i % N_PROMPTS], 60);
        Plan p = {.model = any_model(), .n = N, .jobs = jobs, .cancel = -1, .one_by_one = true, .threads = 2};
        run(&p, alone);
        p.one_by_one = false;
        p.twice = true;
        for (size_t i = 0; i < N; i += 2)
                jobs[i].model = ipc_str("n");
        for (p.streams = 1; p.streams <= 2; p.streams++) {
                run(&p, shared);
                for (size_t i = 0; i < N; i++)
                        assert_same(&alone[i], &shared[i]);
                results_deinit(shared, N);
        }
        results_deinit(alone, N);
}

/* Sixty-four of all lengths, many beginning alike, in small chunks and with hardly any memory: each says what it says
 * alone, and all pages are free afterwards (which run() checks). */
static void test_mixed(void **state) {
        enum { N = 64 };
        static IpcJob jobs[N];
        static Result alone[N], together[N];
        static char texts[N][512];
        for (size_t i = 0; i < N; i++) {
                for (size_t k = 0; k <= 4 + i % 3; k++)
                        strcat(texts[i], prompts[(i / 16 + k) % N_PROMPTS]);
                jobs[i] = ask(texts[i], (int32_t)(10 + i * 7 % 60) / (1 + 2 * SANITIZED));
                jobs[i].uid = (uint32_t)(i % 3);
                jobs[i].ignore_eos = i % 2;
        }
        Plan a = {.model = any_model(), .n = N, .jobs = jobs, .cancel = -1, .one_by_one = true, .slots = 1,
                  .context = 256, .batch_tokens = 512};
        run(&a, alone);
        Plan b = a;
        b.one_by_one = false;
        b.slots = 8;
        b.batch_tokens = 24;
        run(&b, together);
        results_deinit(together, N);
        b.memory = b.memory_used - b.kv + 12 * (b.kv / b.pages);
        b.preemptions = 0;
        b.kv = 0;
        run(&b, together);
        assert_int_equal(b.pages, 12);
        assert_true(b.preemptions > 0);
        size_t cached = 0;
        for (size_t i = 0; i < N; i++) {
                assert_same(&alone[i], &together[i]);
                cached += together[i].cached_tokens;
        }
        assert_true(cached > 0);
        results_deinit(alone, N);
        results_deinit(together, N);
}

/* Jobs whose prompts, and then texts, repeat themselves. */
static void make_repeating(IpcJob jobs[static N_PROMPTS]) {
        static char texts[N_PROMPTS][512];
        make_jobs(jobs, 120);
        for (size_t i = 0; i < N_PROMPTS; i++) {
                snprintf(texts[i], sizeof(texts[i]), "%s. Tim had a red ball. %s. Tim had a red ball. %s", prompts[i], prompts[i], prompts[i]);
                jobs[i].prompt = ipc_str(texts[i]);
        }
}

/* Stop strings wherever they are, in the midst of guesses that were right, too. */
static void test_guesses_stop(void **state) {
        enum { PLACES = 12 };
        IpcJob jobs[N_PROMPTS];
        Result whole[N_PROMPTS] = {0}, plainly[N_PROMPTS] = {0}, guessed[N_PROMPTS] = {0};
        int32_t len = 2;
        make_repeating(jobs);
        for (size_t i = 0; i < N_PROMPTS; i++)
                jobs[i].temperature = 0;
        Plan a = {.model = any_model(), .n = N_PROMPTS, .jobs = jobs, .cancel = -1, .slots = 2, .context = 256};
        run(&a, whole);
        for (size_t place = 1; place <= PLACES; place++) {
                for (size_t i = 0; i < N_PROMPTS; i++)
                        jobs[i].stop = (IpcStrs){{&len, 1}, {whole[i].text.data + whole[i].text.len * place / (PLACES + 1), 2}};
                Plan b = a;
                run(&b, plainly);
                b.lookup_tokens = 7;
                run(&b, guessed);
                for (size_t i = 0; i < N_PROMPTS; i++)
                        assert_same(&plainly[i], &guessed[i]);
                results_deinit(plainly, N_PROMPTS);
                results_deinit(guessed, N_PROMPTS);
        }
        results_deinit(whole, N_PROMPTS);
}

/* Texts that repeat themselves are guessed, and are the same: tokens, text, logprobs; greedy and drawn, with penalties, which look
 * at the guesses before a row; alone, beside others, with little memory. */
static void test_guesses(void **state) {
        IpcJob jobs[N_PROMPTS];
        Result plainly[N_PROMPTS] = {0}, guessed[N_PROMPTS] = {0};
        make_repeating(jobs);
        for (size_t i = 0; i < N_PROMPTS; i++) {
                jobs[i].n_top = i % 3 ? 2 : -1;
                jobs[i].repeat_penalty = i % 4 == 2 ? 1.2f : 1;
                jobs[i].penalty_last = 64;
                jobs[i].ignore_eos = i > 1;
        }
        Plan a = {.model = any_model(), .n = N_PROMPTS, .jobs = jobs, .cancel = -1, .slots = 8, .context = 256};
        run(&a, plainly);
        assert_int_equal(a.guessed, 0);
        static const struct {
                uint32_t lookup_tokens, slots;
                bool one_by_one, tight;
        } runs[] = {{15, 1, true, false}, {7, 2, false, false}, {1, 1, true, false}, {15, 2, false, false}, {15, 2, false, true}};
        Plan b = a;
        uint64_t wrong = 0;
        for (size_t k = 0; k < ARRAY_SIZE(runs); k++) {
                b.lookup_tokens = runs[k].lookup_tokens;
                b.slots = runs[k].slots;
                b.one_by_one = runs[k].one_by_one;
                b.memory = runs[k].tight ? b.memory_used - b.kv + 10 * (b.kv / b.pages) : 0;
                b.kv = 0;
                run(&b, guessed);
                assert_true(b.guessed_right > 0);
                wrong += b.guessed - b.guessed_right;
                assert_int_equal(b.pages, runs[k].tight ? 10 : 8 * b.slots);
                for (size_t i = 0; i < N_PROMPTS; i++)
                        assert_same(&plainly[i], &guessed[i]);
                print_message("%u at a time, %u slots: %llu of %llu right, %llu steps\n", b.lookup_tokens, b.slots,
                              (unsigned long long)b.guessed_right, (unsigned long long)b.guessed, (unsigned long long)b.steps);
                results_deinit(guessed, N_PROMPTS);
        }
        assert_true(wrong > 0);
        results_deinit(plainly, N_PROMPTS);
}

/* The first holds the only slot and is paused; the second, posted then (two posted together are prepared at once, and
 * may come in either order), comes to its end; then the first goes on, and says the same. */
static void pause_first(Client *c, size_t i) {
        if (n_ids(&c->results[0]) < 3 || c->n_posted > 1)
                return;
        tell_job(c, IPC_PAUSE, 0);
        post(c, 1);
}

static void resume_first(Client *c, size_t i) {
        if (i == 1)
                tell_job(c, IPC_RESUME, 0);
}

static void test_pause(void **state) {
        IpcJob jobs[] = {ask("Once upon a time", 200), ask("The dog", 40)};
        Result alone[2] = {0}, paused[2] = {0};
        jobs[0].ignore_eos = jobs[1].ignore_eos = true;
        Plan p = {.model = any_model(), .n = 2, .jobs = jobs, .cancel = -1, .one_by_one = true, .slots = 1};
        run(&p, alone);
        p.piece = pause_first;
        p.end = resume_first;
        run(&p, paused);
        for (size_t i = 0; i < 2; i++)
                assert_same(&alone[i], &paused[i]);
        assert_int_equal(paused[1].order, 0);
        results_deinit(alone, 2);
        results_deinit(paused, 2);
}

/* A prompt that a user had before is taken from the cache, and changes nothing; another user's is computed anew. */
static void test_prefix_cache(void **state) {
#define BEGINNING "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. " \
                  "One day, she saw a big dog. The dog wanted to play with Lily, but Lily was scared of it, and so she"
        static const char first[] = BEGINNING, longer[] = BEGINNING " ran home";
        IpcJob jobs[] = {ask(first, 40), ask(first, 40), ask(longer, 40), ask(first, 40)};
        Result r[4] = {0}, alone = {0};
        jobs[3].uid = 99;
        Plan p = {.model = any_model(), .n = 4, .jobs = jobs, .cancel = -1, .one_by_one = true};
        run(&p, r);
        assert_int_equal(r[0].cached_tokens, 0);
        assert_int_equal(r[1].cached_tokens, (r[1].prompt_tokens - 1) / 32 * 32);
        assert_true(r[1].cached_tokens >= 32);
        assert_true(r[2].cached_tokens >= r[1].cached_tokens);
        assert_int_equal(r[3].cached_tokens, 0);
        assert_same(&r[0], &r[1]);
        assert_same(&r[0], &r[3]);
        Plan q = {.model = any_model(), .n = 1, .jobs = &jobs[2], .cancel = -1};
        run(&q, &alone);
        assert_same(&alone, &r[2]);
        result_deinit(&alone);
        results_deinit(r, 4);
}

/* Posted again after any of its tokens, a job completes the text it had begun. */
static void test_resume(void **state) {
        enum { N = SANITIZED ? 24 : 80 };
        static IpcJob jobs[N];
        static Result again[N];
        Result first = {0};
        for (int drawn = 0; drawn < 2; drawn++) {
                IpcJob job = ask("Once upon a time", N);
                job.temperature = drawn ? 1 : 0;
                job.seed = 5;
                job.ignore_eos = true;
                IpcJob stop = job;
                Plan a = {.model = any_model(), .n = 1, .jobs = &stop, .cancel = -1};
                run(&a, &first);
                assert_int_equal(n_ids(&first), N);
                for (uint32_t k = 0; k < N; k++) {
                        jobs[k] = job;
                        jobs[k].produced = (IpcInts){ids_of(&first), k + 1};
                        memcpy(&jobs[k].text_sent, first.sent_after.data + k * sizeof(uint64_t), sizeof(uint64_t));
                }
                Plan b = {.model = any_model(), .n = N, .jobs = jobs, .cancel = -1};
                run(&b, again);
                for (uint32_t k = 0; k < N; k++) {
                        assert_int_equal(again[k].finish, first.finish);
                        assert_int_equal(again[k].completion_tokens, N);
                        assert_int_equal(n_ids(&again[k]), N - 1 - k);
                        assert_string_equal(again[k].text.data ? again[k].text.data : "",
                                            first.text.data + jobs[k].text_sent);
                        if (k + 1 < N)
                                assert_memory_equal(again[k].ids.data, ids_of(&first) + k + 1, again[k].ids.len);
                }
                results_deinit(again, N);
                result_deinit(&first);
        }
}

/* ---- ends ---- */

static IpcStrs one_stop(Buf *lens, Buf *bytes, const char *s, size_t n) {
        ipc_strs_put(lens, bytes, "never in any story", 18);
        ipc_strs_put(lens, bytes, s, n);
        return ipc_strs(lens, bytes);
}

/* Any part of the text as a stop string, wherever token borders fall, cuts the text before its first occurrence. */
static void test_stop(void **state) {
        enum { N = 120 };
        static IpcJob jobs[N];
        static Result r[N];
        static Buf lens[N], bytes[N];
        Result whole = {0};
        IpcJob job = ask("Once upon a time", 60);
        Plan a = {.model = any_model(), .n = 1, .jobs = &job, .cancel = -1};
        run(&a, &whole);
        for (size_t i = 0; i < N; i++) {
                jobs[i] = job;
                jobs[i].stop = one_stop(&lens[i], &bytes[i], whole.text.data + i, 1 + i % 11);
        }
        Plan b = {.model = any_model(), .n = N, .jobs = jobs, .cancel = -1};
        run(&b, r);
        for (size_t i = 0; i < N; i++) {
                const char *at = memmem(whole.text.data, whole.text.len, whole.text.data + i, 1 + i % 11);
                assert_int_equal(r[i].finish, IPC_FINISH_STOP);
                assert_int_equal(r[i].text.len, at - whole.text.data);
                assert_memory_equal(r[i].text.data ? r[i].text.data : "", whole.text.data, r[i].text.len);
                buf_deinit(&lens[i]);
                buf_deinit(&bytes[i]);
        }
        results_deinit(r, N);
        result_deinit(&whole);
}

static void test_limits(void **state) {
        skip_without(STORIES);
        Result r[6] = {0};
        char longer[4096] = "";
        for (int i = 0; i < 200; i++)
                strcat(longer, " and then she");
        IpcJob jobs[] = {ask("Once", -1), ask("Once", 0), ask(longer, 5),
                         ask(longer, 5),  ask("Once", 3), ask("Once", 1000)};
        for (size_t i = 0; i < ARRAY_SIZE(jobs); i++)
                jobs[i].ignore_eos = true;
        jobs[3].truncate = true;
        Plan p = {.model = test_data(STORIES), .n = ARRAY_SIZE(jobs), .jobs = jobs, .cancel = -1, .context = 100};
        run(&p, r);
        assert_int_equal(r[0].finish, IPC_FINISH_LENGTH);
        assert_int_equal(r[0].prompt_tokens + r[0].completion_tokens, 100);
        assert_int_equal(r[1].finish, IPC_FINISH_LENGTH);
        assert_int_equal(r[1].completion_tokens, 0);
        assert_int_equal(r[2].code, IPC_E_CONTEXT);
        assert_non_null(strstr(r[2].error, "the model's context is 100"));
        assert_int_equal(r[3].finish, IPC_FINISH_LENGTH);
        assert_int_equal(r[3].prompt_tokens, 95);
        assert_int_equal(r[3].completion_tokens, 5);
        assert_int_equal(r[4].completion_tokens, 3);
        assert_int_equal(n_ids(&r[4]), 3);
        assert_same(&r[0], &r[5]);
        results_deinit(r, ARRAY_SIZE(r));
}

static void test_cancel(void **state) {
        IpcJob jobs[N_PROMPTS];
        Result all[N_PROMPTS] = {0}, rest[N_PROMPTS] = {0};
        make_jobs(jobs, 40);
        Plan a = {.model = any_model(), .n = N_PROMPTS, .jobs = jobs, .cancel = -1, .slots = 2};
        run(&a, all);
        Plan b = a;
        b.cancel = 1;
        b.cancel_after = 5;
        run(&b, rest);
        for (size_t i = 0; i < N_PROMPTS; i++)
                if (i != 1)
                        assert_same(&all[i], &rest[i]);
        assert_true(rest[1].cancelled);
        results_deinit(all, N_PROMPTS);
        results_deinit(rest, N_PROMPTS);
}

static void test_bias(void **state) {
        skip_without(STORIES);
        static const int32_t lily[] = {403, 407};
        static const float never[] = {-INFINITY, -INFINITY};
        IpcJob jobs[] = {ask("", 30), ask("", 30)};
        Result r[2] = {0};
        jobs[1].bias_ids = (IpcInts){lily, 2};
        jobs[1].bias = (IpcFloats){never, 2};
        Plan p = {.model = test_data(STORIES), .n = 2, .jobs = jobs, .cancel = -1};
        run(&p, r);
        assert_int_equal(ids_of(&r[0])[0], 403);
        assert_int_equal(n_ids(&r[1]), 30);
        for (size_t i = 0; i < n_ids(&r[1]); i++)
                assert_true(ids_of(&r[1])[i] != 403 && ids_of(&r[1])[i] != 407);
        results_deinit(r, 2);
}

/* ---- refusals ---- */

static void test_refusals(void **state) {
        skip_without(STORIES);
        static const int32_t wild[] = {1, 512}, negative[] = {-1};
        static const float zero[] = {0};
        IpcJob jobs[8];
        Result r[ARRAY_SIZE(jobs)] = {0};
        for (size_t i = 0; i < ARRAY_SIZE(jobs); i++)
                jobs[i] = plain;
        jobs[0].kind = IPC_PROMPT_IDS, jobs[0].prompt_ids = (IpcInts){wild, 2};
        jobs[1].produced = (IpcInts){negative, 1};
        jobs[2].bias_ids = (IpcInts){wild + 1, 1}, jobs[2].bias = (IpcFloats){zero, 1};
        jobs[3].temperature = NAN;
        jobs[4].kind = IPC_PROMPT_CHAT, jobs[4].prompt = ipc_str("{\"messages\":[]}");
        jobs[5].kind = 77;
        jobs[6].model = ipc_str("nobody");
        jobs[7].n_top = 21;
        Plan p = {.model = test_data(STORIES), .n = ARRAY_SIZE(jobs), .jobs = jobs, .cancel = -1};
        run(&p, r);
        for (size_t i = 0; i < ARRAY_SIZE(jobs); i++)
                assert_int_equal(r[i].code, IPC_E_INVALID);
        assert_non_null(strstr(r[0].error, "512"));
        assert_non_null(strstr(r[4].error, "chat template"));
        results_deinit(r, ARRAY_SIZE(r));
}

static void test_no_model(void **state) {
        IpcJob jobs[] = {plain, plain};
        Result r[2] = {0};
        Plan p = {.model = "/nonexistent/model.gguf", .n = 2, .jobs = jobs, .cancel = -1, .one_by_one = true};
        run(&p, r);
        for (size_t i = 0; i < 2; i++) { /* the second tried again */
                assert_int_equal(r[i].code, IPC_E_MODEL);
                assert_non_null(strstr(r[i].error, "/nonexistent"));
        }
}

static void test_no_memory(void **state) {
        skip_without(STORIES);
        IpcJob job = plain;
        Result r = {0};
        Plan p = {.model = test_data(STORIES), .n = 1, .jobs = &job, .cancel = -1, .memory = 100000};
        run(&p, &r);
        assert_int_equal(r.code, IPC_E_MODEL);
        assert_non_null(strstr(r.error, "97.7 KiB"));
}

int main(void) {
        log_init("test-engine");
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_reference),  cmocka_unit_test(test_demo),
                cmocka_unit_test(test_neighbours),
                cmocka_unit_test(test_streams),
                cmocka_unit_test(test_mixed),      cmocka_unit_test(test_guesses),
                cmocka_unit_test(test_guesses_stop),
                cmocka_unit_test(test_pause),
                cmocka_unit_test(test_preemption), cmocka_unit_test(test_prefix_cache),
                cmocka_unit_test(test_resume),     cmocka_unit_test(test_stop),
                cmocka_unit_test(test_limits),     cmocka_unit_test(test_cancel),
                cmocka_unit_test(test_bias),       cmocka_unit_test(test_refusals),
                cmocka_unit_test(test_no_model),   cmocka_unit_test(test_no_memory),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
