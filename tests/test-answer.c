/* What becomes of an answer when memory runs out on the way: one that was not begun has a status of its own, a stream ends
 * with an error; its jobs end, and the client is told once. Requests and jobs are stand-ins. */
#include "api-told.h"

void api_reply_text(Request *r, const char *type, const Buf *text) {
        (void)r, (void)type;
        assert_false(text->failed);
        buf_put(&told.replied, text->data, text->len);
}

void job_pause(Job *j, bool pause) {
        (void)j, (void)pause;
}

#include "api/answer.c"

/* ---- a dialect: "!" in a text is where there is no memory ---- */

static void put(const IpcPiece *p, Buf *out) {
        buf_put(out, p->text.data, p->text.len);
        out->failed |= p->text.len > 0 && memchr(p->text.data, '!', p->text.len);
}

static void piece(Choice *c, const IpcPiece *p, Buf *out) {
        (void)p;
        put(&(IpcPiece){.text = {c->split.content.data, (uint32_t)c->split.content.len}}, out);
}

static bool end_fails;

static void stream_end(Answer *a, Buf *out) {
        (void)a;
        buf_puts(out, "|");
        out->failed |= end_fails;
}

static void result(Answer *a, Buf *out) {
        for (uint32_t i = 0; i < a->n_choices; i++)
                put(&(IpcPiece){.text = {a->choices[i].split.content.data, (uint32_t)a->choices[i].split.content.len}}, out);
        stream_end(a, out);
}

static void stream_error(Answer *a, unsigned status, const char *code, const char *text, Buf *out) {
        (void)a, (void)code;
        buf_printf(out, "{%u %s}", status, text);
}

static void logprobs(Choice *c, const IpcPiece *p) {
        put(p, &c->logprobs[1]);
}

static const Dialect dialect = {"text/plain", piece, stream_end, result, stream_error, logprobs};
static const Dialect wordless = {.stream_type = "text/plain", .piece = piece, .stream_end = stream_end};

/* ---- */

static void start(bool stream, uint32_t n) {
        Api api = {.r = &request, .d = &the_daemon};
        Spec s = {.job = {0}};
        begin_anew(1000);
        end_fails = false;
        Answer *a = answer_new(&api, &model, &dialect, n);
        a->stream = stream;
        assert_true(answer_post(a, &s, 0, n));
}

static void say(int job, const char *text, bool last) {
        static const float one = 0;
        static const int32_t id = 7;
        IpcPiece p = {.text = ipc_str(text), .ids = {&id, 1}, .finish = last ? IPC_FINISH_STOP : IPC_FINISH_NONE, .logprobs = {&one, 1}};
        told_events->piece(&jobs[job], &p);
}

static void check(unsigned refused, const char *written, const char *replied, int ended, int cancelled) {
        assert_int_equal(told.refused, refused);
        assert_string_equal(told.written.len ? told.written.data : "", written);
        assert_string_equal(told.replied.len ? told.replied.data : "", replied);
        assert_int_equal(told.ended, ended);
        assert_int_equal(told.cancelled, cancelled);
        if (told.ended > 0 || told.refused || told.replied.len > 0)
                assert_int_equal(user.held, 0);
}

static void test_all_is_well(void **state) {
        (void)state;
        start(true, 2);
        say(0, "a", false);
        say(1, "b", true);
        check(0, "ab", "", 0, 0);
        say(0, "c", true);
        check(0, "abc|", "", 1, 0);
        start(false, 1);
        say(0, "a", false);
        say(0, "b", true);
        check(0, "", "ab|", 0, 0);
}

static void test_streams(void **state) {
        (void)state;
        start(true, 2); /* before anything was written */
        say(0, "!", false);
        check(503, "", "", 0, 2);
        start(true, 1); /* with the last piece */
        say(0, "!", true);
        check(503, "", "", 0, 0);
        start(true, 1); /* with what comes after it */
        end_fails = true;
        say(0, "", true);
        check(503, "", "", 0, 0);
        start(true, 2); /* amid the stream */
        say(1, "a", true);
        say(0, "b!", false);
        check(0, "a{503 no memory}", "", 1, 1);
}

/* One that has no word for it is broken off. */
static void test_broken_off(void **state) {
        (void)state;
        start(true, 2);
        ((Answer *)request.state)->dialect = &wordless;
        say(0, "!", false);
        check(503, "", "", 0, 2);
        start(true, 2);
        ((Answer *)request.state)->dialect = &wordless;
        say(0, "a", true);
        say(1, "b!", false);
        check(0, "a", "", 0, 1);
        assert_int_equal(told.aborted, 1);
        assert_int_equal(user.held, 0);
}

static void test_whole_answers(void **state) {
        (void)state;
        start(false, 2); /* it is not waited for the end of what cannot be answered */
        say(0, "a", false);
        say(1, "!", false);
        check(503, "", "", 0, 2);
        start(false, 1);
        end_fails = true;
        say(0, "a", true);
        check(503, "", "", 0, 0);
}

/* What is gathered is the user's, as it comes. */
static void test_charged(void **state) {
        (void)state;
        char long_text[700];
        memset(long_text, 'x', sizeof(long_text) - 1);
        long_text[sizeof(long_text) - 1] = 0;
        start(false, 2);
        say(0, "abcd", false);
        say(1, "ef", false);
        assert_int_equal(user.held, 2 * (4 + 2)); /* this dialect keeps it in two places */
        say(0, long_text, false);
        check(413, "", "", 0, 2); /* never, whatever else the user has running */
        start(false, 1);
        user.held = 900;
        say(0, long_text + 600, false);
        assert_int_equal(told.refused, 429);
        assert_int_equal(user.held, 900);
        start(false, 1); /* what is kept for its life, too */
        assert_true(answer_keep(((Choice *)jobs[0].owner)->answer, malloc(600), 600));
        assert_int_equal(user.held, 600);
        say(0, "ab", true);
        check(0, "", "ab|", 0, 0);
        start(false, 1);
        assert_false(answer_keep(((Choice *)jobs[0].owner)->answer, malloc(2000), 2000));
        check(413, "", "", 0, 1);
        start(true, 1); /* a stream gathers nothing */
        say(0, long_text, false);
        say(0, long_text, true);
        assert_int_equal(told.refused, 0);
}

static void begin_job(int job) {
        jobs[job].model = &model;
        told_events->started(&jobs[job], &(IpcStart){.forms = SPLIT_CALL_TAGS | SPLIT_THINK_TAGS});
}

/* What may be a call is held back in streams, too, and is the user's meanwhile. */
static void test_held_back(void **state) {
        (void)state;
        start(true, 1);
        begin_job(0);
        say(0, "a<tool_call>{", false);
        assert_int_equal(user.held, 12);
        begin_job(0); /* by the engine that goes on */
        say(0, "}", false);
        assert_int_equal(user.held, 0);
        say(0, "<tool_call>{\"", false);
        assert_int_equal(user.held, 13);
        say(0, "", true);
        check(0, "a<tool_call>{}<tool_call>{\"|", "", 1, 0);
        start(true, 1);
        begin_job(0);
        say(0, "<think>a", false);
        begin_job(0);
        say(0, "b</think>c", true);
        check(0, "c|", "", 1, 0);
        start(true, 1);
        begin_job(0);
        for (int i = 0; i < 100 && !told.cancelled; i++)
                say(0, i ? "0123456789" : "<tool_call>{", false);
        check(413, "", "", 0, 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_is_well), cmocka_unit_test(test_streams), cmocka_unit_test(test_broken_off),
                                           cmocka_unit_test(test_whole_answers), cmocka_unit_test(test_charged), cmocka_unit_test(test_held_back)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
