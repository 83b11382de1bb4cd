/* What a stream promises: order, marks, copies at record time, parts that are done once each and all before the next
 * operation, independence of other streams, an end that waits, and failures that stay. Operations of the tests' own
 * hold it up where wanted. */
#include "cpu.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <stdatomic.h>

static bool readable(int fd, int timeout_ms) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        return poll(&p, 1, timeout_ms) == 1;
}

/* An operation that does not end before its semaphore is posted. */
static void hold_run(const void *args, const CpuPart *part) {
        sem_t *sem = *(sem_t *const *)args;
        if (part->index == part->n - 1)
                sem_wait(sem);
}

static uint64_t much_work(const void *args) {
        return UINT64_MAX;
}

static void hold(Rig *r, sem_t *sem) {
        stream_record(r->stream, hold_run, much_work, &sem, sizeof(sem));
}

static void marks(Rig *r) {
        enum { N = 200 };
        uint64_t ticket, reached, before = 0;
        int value[N] = {0}, fd = r->ops->eventfd(r->stream);
        sem_t sem;
        sem_init(&sem, 0, 0);
        assert_false(readable(fd, 0));
        assert_int_equal(r->ops->poll(r->stream, &reached), 0);
        assert_int_equal(reached, 0);
        hold(r, &sem);
        for (int i = 0; i < N; i++) {
                r->ops->upload(r->stream, &value[i], &i, sizeof(i));
                assert_int_equal(r->ops->mark(r->stream, &ticket), 0);
                assert_int_equal(ticket, i + 1);
        }
        assert_int_equal(r->ops->poll(r->stream, &reached), 0);
        assert_int_equal(reached, 0);
        assert_false(readable(fd, 0));
        sem_post(&sem);
        while (before < N) {
                assert_true(readable(fd, 60000));
                assert_int_equal(r->ops->poll(r->stream, &reached), 0);
                assert_true(reached >= before);
                for (uint64_t i = 0; i < reached; i++)
                        assert_int_equal(value[i], i);
                before = reached;
        }
        assert_int_equal(reached, N);
        assert_int_equal(r->ops->wait(r->stream, N), 0);
        assert_int_equal(r->ops->poll(r->stream, &reached), 0);
        assert_false(readable(fd, 0));
        assert_int_equal(r->ops->wait(r->stream, N + 1), -EINVAL);
        sem_destroy(&sem);
}

static void test_marks(void **state) {
        on_every_rig(marks);
}

/* A mark with nothing before it is reached as well, in order. */
static void empty_marks(Rig *r) {
        uint64_t ticket = 0;
        for (int i = 0; i < 50; i++) {
                float x = 0, y = 1;
                if (i % 3 == 0)
                        r->ops->upload(r->stream, &x, &y, sizeof(x));
                rig_run(r);
                assert_true(x == (i % 3 == 0));
        }
        assert_int_equal(r->ops->poll(r->stream, &ticket), 0);
        assert_int_equal(ticket, 50);
}

static void test_empty_marks(void **state) {
        on_every_rig(empty_marks);
}

static void copies(Rig *r) {
        enum { N = 1000003 };
        char *host = malloc(N), *dev = malloc(N), *back = malloc(N), small[3] = "ab", seen[3] = "";
        for (int i = 0; i < N; i++)
                host[i] = (char)(i * 31 + i / 256);
        r->ops->upload(r->stream, dev, host, N);
        memset(host, 0, N); /* the bytes were copied */
        r->ops->download(r->stream, back, dev, N);
        r->ops->upload(r->stream, dev, small, 3);
        r->ops->download(r->stream, seen, dev, 3);
        r->ops->upload(r->stream, dev, NULL, 0);
        rig_run(r);
        assert_string_equal(seen, "ab");
        for (int i = 0; i < N; i++)
                assert_int_equal(back[i], (char)(i * 31 + i / 256));
        free(host), free(dev), free(back);
}

static void test_copies(void **state) {
        on_every_rig(copies);
}

/* Operations of different work, so in different numbers of parts: each part must be done once, and none before all of
 * the operation before. */
enum { PARTS_MAX = 16, STEPS = 3000 };

typedef struct Step {
        struct Tally *tally;
        uint64_t work;
        int number;
} Step;

typedef struct Tally {
        atomic_int done[STEPS + 1][PARTS_MAX]; /* how often */
        atomic_uint parts[STEPS + 1];          /* of each operation */
        atomic_int wrong;
} Tally;

static uint64_t step_work(const void *args) {
        return ((const Step *)args)->work;
}

static void step_run(const void *args, const CpuPart *part) {
        const Step *s = args;
        Tally *t = s->tally;
        bool right = part->index < part->n && part->n <= PARTS_MAX;
        for (unsigned i = 0; i < t->parts[s->number - 1]; i++)
                right = right && t->done[s->number - 1][i] == 1;
        t->wrong += !right;
        t->parts[s->number] = part->n;
        t->done[s->number][part->index % PARTS_MAX]++;
}

static void together(Rig *r) {
        Tally *t = calloc(1, sizeof(*t));
        unsigned most = 0;
        for (int i = 1; i <= STEPS; i++) {
                uint64_t work = i % 7 == 0 ? UINT64_MAX : random_bits() % (2 * PARTS_MAX);
                stream_record(r->stream, step_run, step_work, &(Step){t, work, i}, sizeof(Step));
                if (i % 100 == 0)
                        rig_run(r);
        }
        assert_int_equal(t->wrong, 0);
        for (int i = 1; i <= STEPS; i++) {
                for (unsigned k = 0; k < PARTS_MAX; k++)
                        assert_int_equal(t->done[i][k], k < t->parts[i]);
                most = MAX(most, t->parts[i]);
        }
        assert_true(r->threads == 1 ? most == 1 : most > r->threads);
        free(t);
}

static void test_together(void **state) {
        on_every_rig(together);
}

static void scratch_run(const void *args, const CpuPart *part) {
        size_t n = *(const size_t *)args;
        memset(part->scratch, (int)part->index + 1, n);
        for (size_t i = 0; i < n; i++)
                if (part->scratch[i] != (char)(part->index + 1))
                        abort();
}

static void scratch(Rig *r) {
        for (size_t n = 1; n < 100000; n = n * 3 + 1) {
                *(size_t *)stream_op(r->stream, scratch_run, much_work, sizeof(n), n) = n;
                *(size_t *)stream_op(r->stream, scratch_run, much_work, sizeof(n), n / 2) = n / 2;
                rig_run(r);
        }
}

static void test_scratch(void **state) {
        on_every_rig(scratch);
}

/* Nothing runs before its mark, and a stream that is held up does not hold up another. */
static void independent(Rig *r) {
        Rig other;
        int value = 0, one = 1, two = 2;
        uint64_t ticket, reached;
        sem_t sem;
        sem_init(&sem, 0, 0);
        assert_true(rig_init(&other, r->isa, r->threads));
        hold(r, &sem);
        r->ops->upload(r->stream, &value, &one, sizeof(int));
        rig_run(&other);
        assert_int_equal(value, 0);
        assert_int_equal(r->ops->mark(r->stream, &ticket), 0);
        other.ops->upload(other.stream, &two, &one, sizeof(int));
        rig_run(&other);
        assert_int_equal(two, 1);
        assert_int_equal(r->ops->poll(r->stream, &reached), 0);
        assert_int_equal(reached, 0);
        sem_post(&sem);
        assert_int_equal(r->ops->wait(r->stream, ticket), 0);
        assert_int_equal(value, 1);
        rig_deinit(&other);
        sem_destroy(&sem);
}

static void test_independent(void **state) {
        on_every_rig(independent);
}

/* Freeing executes what was marked and drops what was not. */
static void free_in_flight(Rig *r) {
        enum { N = 100 };
        int value[N + 1] = {0}, one = 1;
        uint64_t ticket;
        for (int i = 0; i < N; i++) {
                int n = i + 1;
                r->ops->upload(r->stream, &value[i], &n, sizeof(n));
                assert_int_equal(r->ops->mark(r->stream, &ticket), 0);
        }
        r->ops->upload(r->stream, &value[N], &one, sizeof(int));
        r->ops->stream_free(r->stream);
        for (int i = 0; i < N; i++)
                assert_int_equal(value[i], i + 1);
        assert_int_equal(value[N], 0);
        rig_stream(r);
}

static void test_free_in_flight(void **state) {
        on_every_rig(free_in_flight);
}

static void failure(Rig *r) {
        uint64_t ticket = 77;
        int value = 0, one = 1;
        r->ops->upload(r->stream, &value, &one, sizeof(int));
        rig_run(r);
        r->ops->upload(r->stream, &value, "", SIZE_MAX);
        r->ops->upload(r->stream, &value, &one, sizeof(int));
        assert_int_equal(r->ops->mark(r->stream, &ticket), -ENOMEM);
        assert_int_equal(r->ops->mark(r->stream, &ticket), -ENOMEM);
        assert_int_equal(r->ops->poll(r->stream, &ticket), -ENOMEM);
        assert_int_equal(r->ops->wait(r->stream, 1), -ENOMEM);
        assert_int_equal(ticket, 77);
}

static void test_failure(void **state) {
        on_every_rig(failure);
}

/* How many of this process's threads are not asleep, this one aside. */
static int awake(void) {
        int n = 0;
        DIR *dir = opendir("/proc/self/task");
        for (struct dirent *e; (e = readdir(dir));) {
                char path[300], line[512] = "";
                snprintf(path, sizeof(path), "/proc/self/task/%s/stat", e->d_name);
                FILE *f = e->d_name[0] == '.' || atoi(e->d_name) == getpid() ? NULL : fopen(path, "re");
                if (!f)
                        continue;
                char *state = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
                n += state && state[2] != 'S';
                fclose(f);
        }
        closedir(dir);
        return n;
}

static void idle(Rig *r) {
        int x = 0, one = 1, tries = 0;
        r->ops->upload(r->stream, &x, &one, sizeof(int));
        rig_run(r);
        while (awake() > 0 && tries++ < 5000)
                usleep(1000);
        assert_int_equal(awake(), 0);
}

static void test_idle(void **state) {
        on_every_rig(idle);
}

static void test_device(void **state) {
        Device *d;
        Buffer b, w;
        static const int host = 5;
        unsetenv("ZEROLLAMA_CPU_ISA");
        assert_int_equal(device_cpu_new(2, &d, NULL), 0);
        assert_non_null(strstr(d->name, ", 2 threads, "));
        assert_true(d->ops->memory_free(d) > 0 && d->ops->memory_free(d) <= d->memory_total);
        assert_int_equal(d->ops->buffer_new(d, 1000001, &b), 0);
        assert_int_equal((uintptr_t)b.data % 64, 0);
        for (size_t i = 0; i < b.size; i++)
                assert_int_equal(((char *)b.data)[i], 0);
        d->ops->buffer_free(d, &b);
        assert_null(b.data);
        assert_int_equal(d->ops->buffer_new(d, 0, &b), 0);
        d->ops->buffer_free(d, &b);
        assert_int_equal(d->ops->buffer_new(d, SIZE_MAX / 2, &b), -ENOMEM);
        assert_int_equal(d->ops->buffer_wrap(d, &host, sizeof(host), &w), 0);
        assert_ptr_equal(w.data, &host);
        assert_true(w.wrapped);
        d->ops->buffer_free(d, &w);
        device_free(d);
        device_free(NULL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_device),      cmocka_unit_test(test_marks),
                cmocka_unit_test(test_empty_marks), cmocka_unit_test(test_copies),
                cmocka_unit_test(test_together),    cmocka_unit_test(test_scratch),
                cmocka_unit_test(test_independent), cmocka_unit_test(test_free_in_flight),
                cmocka_unit_test(test_failure),     cmocka_unit_test(test_idle),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
