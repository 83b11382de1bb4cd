/* An answer made of numbers, from what an engine says to what is written: whole, in pieces as the client takes them, void and
 * begun anew, and given up when memory runs out, where the client is told once and nothing stays charged. Requests, jobs and
 * the worker are stand-ins. */
#include "api-told.h"

enum { WIDTH = 4, PIECE = 3 }; /* PIECE: items after which a piece of this dialect is long enough */

void api_reply_text(Request *r, const char *type, const Buf *text) {
        (void)type;
        if (text->failed)
                api_refuse(r, &api_no_memory);
        else
                buf_put(&told.replied, text->data, text->len);
}

static Work *submitted;

void work_submit(WorkPool *p, Work *w) {
        (void)p;
        assert_null(submitted);
        submitted = w;
}

int job_spec_read(const JobSpec *s, IpcJob *ret) {
        (void)s;
        *ret = (IpcJob){0};
        return 0;
}

#include "api/vectors.c"

/* ---- a dialect: the first number of each; memory ends with item `fails_at` ---- */

static uint32_t fails_at;

static void begin(const Vectors *v, Buf *out) {
        (void)v;
        buf_putc(out, '[');
}

static void item(const Vectors *v, uint32_t i, Buf *out) {
        buf_putu(out, (uint64_t)v->values[(size_t)i * v->width]);
        for (int k = 0; v->n_items > PIECE && k < PIECE_BYTES / PIECE; k++)
                buf_putc(out, ' ');
        out->failed |= i == fails_at;
}

static void end(const Vectors *v, Buf *out) {
        (void)v;
        buf_putc(out, ']');
}

static const VectorDialect dialect = {begin, item, end};

static void start(uint32_t n) {
        Api api = {.r = &request, .d = &the_daemon};
        Spec s = {.job = {.kind = IPC_PROMPT_EMBED}};
        InputList *l = calloc(1, sizeof(*l) + n * sizeof(l->counts[0]));
        l->n = n;
        begin_anew(1 << 30);
        fails_at = UINT32_MAX;
        submitted = NULL;
        vectors_post(&api, &s, &model, l, &dialect, (VectorOptions){0});
        free(l);
}

/* Results first…first+n-1, each beginning with its index; width 4096 makes many of them a large answer. */
static void say(uint32_t first, uint32_t n, uint32_t width, bool last) {
        float *values = calloc((size_t)n * width + 1, sizeof(*values));
        for (uint32_t i = 0; i < n; i++)
                values[(size_t)i * width] = (float)(first + i);
        IpcVectors v = {.width = width, .values = {values, n * width}, .tokens = n, .last = last};
        told_events->vectors(&jobs[0], &v);
        free(values);
}

/* The worker makes a piece. */
static bool work(void) {
        Work *w = TAKE(submitted);
        if (!w)
                return false;
        w->run(w);
        w->done(w);
        return true;
}

static char *squeezed(const Buf *b) {
        static char text[256];
        size_t n = 0;
        for (size_t i = 0; i < b->len; i++)
                if (b->data[i] != ' ')
                        text[n++] = b->data[i];
        text[n] = 0;
        return text;
}

static void check_over(unsigned refused, int ended, int aborted) {
        assert_int_equal(told.refused, refused);
        assert_int_equal(told.ended, ended);
        assert_int_equal(told.aborted, aborted);
        assert_int_equal(user.held, 0);
        assert_null(submitted);
}

static void test_small(void **state) {
        (void)state;
        start(3);
        say(0, 2, WIDTH, false);
        assert_int_equal(user.held, 3 * WIDTH * sizeof(float));
        say(2, 1, WIDTH, true);
        assert_string_equal(squeezed(&told.replied), "[0,1,2]");
        check_over(0, 0, 0);
        start(0);
        say(0, 0, 0, true);
        assert_string_equal(squeezed(&told.replied), "[]");
        start(2); /* not what was asked for: too few, too many, of another width, half of one */
        say(0, 1, WIDTH, true);
        check_over(500, 0, 0);
        start(2);
        say(0, 3, WIDTH, false);
        check_over(500, 0, 0);
        start(2);
        say(0, 1, WIDTH, false);
        say(1, 1, WIDTH + 1, true);
        check_over(500, 0, 0);
        start(2);
        told_events->vectors(&jobs[0], &(IpcVectors){.width = WIDTH, .values = {(float[6]){0}, 6}});
        check_over(500, 0, 0);
}

static void test_large(void **state) {
        (void)state;
        start(8);
        say(0, 8, 4096, true);
        assert_true(work());
        assert_true(told.begun == 1 && told.written.len >= PIECE_BYTES);
        full = true;
        assert_true(work());
        assert_false(work()); /* until the client has taken it */
        full = false;
        request.drained(&request);
        while (work())
                ;
        assert_string_equal(squeezed(&told.written), "[0,1,2,3,4,5,6,7]");
        check_over(0, 1, 0);
}

/* A reload has changed the precision: it all comes again. */
static void test_restarted(void **state) {
        (void)state;
        start(3);
        say(7, 2, WIDTH, false);
        told_events->restarted(&jobs[0]);
        say(0, 2, WIDTH, false);
        say(2, 1, WIDTH, true);
        assert_string_equal(squeezed(&told.replied), "[0,1,2]");
        check_over(0, 0, 0);
}

static void test_no_memory(void **state) {
        (void)state;
        start(3);
        fails_at = 1;
        say(0, 3, WIDTH, true);
        check_over(503, 0, 0);
        start(8); /* nothing has left yet */
        fails_at = 0;
        say(0, 8, 4096, true);
        work();
        assert_int_equal(told.begun, 0);
        check_over(503, 0, 0);
        start(8); /* in the middle */
        fails_at = 6;
        say(0, 8, 4096, true);
        while (work())
                ;
        assert_int_equal(told.begun, 1);
        check_over(0, 0, 1);
        start(3); /* what the user may not hold */
        config.limits.memory_per_user = 3 * WIDTH * sizeof(float) - 1;
        say(0, 1, WIDTH, false);
        assert_int_equal(told.cancelled, 1);
        check_over(413, 0, 0);
        start(3);
        config.limits.memory_per_user = 3 * WIDTH * sizeof(float) + 10;
        user.held = 11;
        say(0, 1, WIDTH, false);
        assert_int_equal(told.refused, 429);
        assert_int_equal(user.held, 11);
}

/* While it runs, between pieces, and while a worker has it. */
static void test_gone(void **state) {
        (void)state;
        start(3);
        say(0, 1, WIDTH, false);
        request.gone(&request);
        assert_int_equal(told.cancelled, 1);
        assert_int_equal(user.held, 0);
        start(8);
        say(0, 8, 4096, true);
        full = true;
        work();
        request.gone(&request);
        assert_int_equal(user.held, 0);
        start(8);
        say(0, 8, 4096, true);
        Work *w = TAKE(submitted);
        w->run(w);
        request.gone(&request);
        assert_int_not_equal(user.held, 0); /* the worker still has it */
        w->done(w);
        check_over(0, 0, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_small), cmocka_unit_test(test_large), cmocka_unit_test(test_restarted),
                cmocka_unit_test(test_no_memory), cmocka_unit_test(test_gone),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
