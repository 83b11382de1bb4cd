/* The fake CUDA runtime; see fake.h.
 *
 * A stream is a queue of items and a thread that executes them, in order. One lock guards all queues, events and
 * graphs; items are executed without it. Recording an event gives it a number, which its completion reaches when the
 * item is executed; waiting for the event is waiting for the number it had when the wait was enqueued. While a stream
 * captures, items go to its graph. After a sticky error the threads throw their items away: no kernel runs, no host
 * function is called. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/emulate.h"
#include "cuda/fake.h"
#include "util/list.h"
#include "util/macro.h"

enum { CAPTURE_FAILED = 901, CAPTURING = 900 };

typedef enum ItemType { COPY, CLEAR, KERNEL_ITEM, CALL, RECORD, AWAIT } ItemType;

/* What was allocated, so that a copy to or from other host memory is known. */
typedef struct Allocation {
        ListNode node;
        char *p;
        size_t n;
        bool device;
} Allocation;

typedef struct Event {
        uint64_t recorded, completed;
        int users; /* its owner and the items that name it: it may be freed before they are executed */
} Event;

typedef struct Item {
        ListNode node;
        ItemType type;
        void *to;
        const void *from;
        size_t n;
        StreamLaunch launch;
        bool urgent, overlaps; /* of a kernel: the stream that it was launched, or captured, on; with the one before */
        _Alignas(16) char args[STREAM_ARGS_MAX];
        void (*call)(void *);
        Event *event;
        uint64_t number;
} Item;

typedef struct FakeStream {
        bool urgent;
        pthread_t thread;
        List items, *captured; /* captured NULL: it is executing */
        bool busy, ends;
} FakeStream;

FakeCuda fake_cuda;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static List allocations;
static int n_pending, n_busy; /* items on all streams, and those that are being executed */

void fake_cuda_reset(void) {
        fake_cuda.devices = 1;
        fake_cuda.major = 9;
        fake_cuda.driver = 12030;
        fake_cuda.memory = (size_t)1 << 30;
        fake_cuda.fail_in = fake_cuda.fail_with = fake_cuda.kernels_to_bad = fake_cuda.sticky = 0;
        fake_cuda.hangs = fake_cuda.no_graphs = false;
        fake_cuda.kernels = fake_cuda.graphs = fake_cuda.urgent = fake_cuda.overlapping = fake_cuda.waits = 0;
}

void fake_cuda_changed(void) {
        pthread_mutex_lock(&lock);
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
}

/* Counts down to 0; whether it came there. */
static bool count_down(atomic_int *n) {
        int before = *n;
        while (before > 0)
                if (atomic_compare_exchange_weak(n, &before, before - 1))
                        return before == 1;
        return false;
}

static void become_sticky(int error) {
        int none = 0;
        atomic_compare_exchange_strong(&fake_cuda.sticky, &none, error);
        fake_cuda_changed();
}

/* What every call begins with: the error it has to fail with. */
static int begin(void) {
        if (fake_cuda.sticky)
                return fake_cuda.sticky;
        if (!count_down(&fake_cuda.fail_in))
                return 0;
        int error = fake_cuda.fail_with;
        if (error >= CUDA_E_ADDRESS)
                become_sticky(error);
        return error;
}

static const char *error_text(int error) {
        static _Thread_local char text[32];
        snprintf(text, sizeof(text), "fake error %d", error);
        return text;
}

static int count(int *ret) {
        int error = begin();
        *ret = fake_cuda.devices;
        return error ? error : *ret > 0 ? 0 : CUDA_E_NO_DEVICE;
}

static int use(int index) {
        return index < fake_cuda.devices ? fake_cuda.sticky : CUDA_E_BAD_DEVICE;
}

static int describe(int index, CudaInfo *ret) {
        int error = begin();
        *ret = (CudaInfo){.name = "Fake", .memory = fake_cuda.memory, .processors = 4, .major = fake_cuda.major,
                          .driver = fake_cuda.driver};
        return error;
}

static int memory(size_t *ret_free) {
        int error = begin();
        *ret_free = fake_cuda.memory - fake_cuda.used;
        return error;
}

/* ---- memory ---- */

/* Filled with what nobody should use. */
static int alloc_any(void **ret, size_t n, bool device) {
        int error = begin();
        if (error)
                return error;
        if (device && fake_cuda.used + n > fake_cuda.memory)
                return CUDA_E_MEMORY;
        Allocation *a = malloc(sizeof(*a));
        *a = (Allocation){.p = malloc(n), .n = n, .device = device};
        if (!a->p) {
                free(a);
                return CUDA_E_MEMORY;
        }
        memset(a->p, 0xa5, MIN(n, (size_t)1 << 20));
        pthread_mutex_lock(&lock);
        if (!allocations.next)
                list_init(&allocations);
        list_append(&allocations, &a->node);
        pthread_mutex_unlock(&lock);
        fake_cuda.objects++;
        fake_cuda.used += device ? n : 0;
        *ret = a->p;
        return 0;
}

static int alloc(void **ret, size_t n) {
        return alloc_any(ret, n, true);
}

static int alloc_host(void **ret, size_t n) {
        return alloc_any(ret, n, false);
}

/* With the lock; NULL: other host memory. */
static Allocation *find_allocation(const void *p) {
        list_foreach(a, &allocations, Allocation, node)
                if ((const char *)p >= a->p && (const char *)p < a->p + a->n)
                        return a;
        return NULL;
}

/* As cudaFree() does: waits for what runs, which may use the memory. */
static int release(void *p) {
        pthread_mutex_lock(&lock);
        while (fake_cuda.sticky ? n_busy > 0 : n_pending > 0)
                pthread_cond_wait(&changed, &lock);
        Allocation *a = find_allocation(p);
        list_remove(&a->node);
        pthread_mutex_unlock(&lock);
        fake_cuda.used -= a->device ? a->n : 0;
        fake_cuda.objects--;
        free(a->p);
        free(a);
        return fake_cuda.sticky;
}

/* ---- streams ---- */

static void execute(const Item *i) {
        switch (i->type) {
        case COPY:
                memcpy(i->to, i->from, i->n);
                break;
        case CLEAR:
                memset(i->to, 0, i->n);
                break;
        case KERNEL_ITEM:
                fake_cuda.urgent += i->urgent;
                fake_cuda.overlapping += i->overlaps;
                if (count_down(&fake_cuda.kernels_to_bad)) {
                        become_sticky(CUDA_E_ADDRESS);
                        break;
                }
                emulate_launch((EmulatedKernel *)i->launch.kernel, i->launch.grid, i->launch.block, i->launch.shared,
                               i->args);
                break;
        case CALL:
                i->call(i->to);
                break;
        case RECORD:
        case AWAIT:
                break; /* with the lock */
        }
}

/* With the lock. */
static void event_unuse(Event *e) {
        if (e && --e->users == 0)
                free(e);
}

/* Whether the item may be executed now; with the lock. */
static bool is_due(const Item *i) {
        return fake_cuda.sticky || (!fake_cuda.hangs && (i->type != AWAIT || i->event->completed >= i->number));
}

static void *stream_main(void *arg) {
        FakeStream *s = arg;
        pthread_mutex_lock(&lock);
        for (;;) {
                Item *i = list_first(&s->items, Item, node);
                if (!i && s->ends)
                        break;
                if (!i || !is_due(i)) {
                        pthread_cond_wait(&changed, &lock);
                        continue;
                }
                list_remove(&i->node);
                s->busy = true;
                n_busy++;
                if (i->type == RECORD && i->number > i->event->completed)
                        i->event->completed = i->number;
                pthread_mutex_unlock(&lock);
                if (!fake_cuda.sticky)
                        execute(i);
                pthread_mutex_lock(&lock);
                event_unuse(i->event);
                free(i);
                s->busy = false;
                n_busy--;
                n_pending--;
                pthread_cond_broadcast(&changed);
        }
        pthread_mutex_unlock(&lock);
        return NULL;
}

static int stream_new(void **ret, bool urgent) {
        int error = begin();
        if (error)
                return error;
        FakeStream *s = calloc(1, sizeof(*s));
        s->urgent = urgent;
        list_init(&s->items);
        pthread_create(&s->thread, NULL, stream_main, s);
        fake_cuda.objects++;
        *ret = s;
        return 0;
}

/* Executes what is left, as long as nothing hangs. */
static int stream_free(void *stream) {
        FakeStream *s = stream;
        pthread_mutex_lock(&lock);
        s->ends = true;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
        pthread_join(s->thread, NULL);
        free(s);
        fake_cuda.objects--;
        return fake_cuda.sticky;
}

static bool is_done(const FakeStream *s) {
        return !s->busy && list_is_empty(&s->items);
}

static int stream_query(void *stream) {
        const FakeStream *s = stream;
        pthread_mutex_lock(&lock);
        int r = fake_cuda.sticky ? fake_cuda.sticky : s->captured ? CAPTURING : is_done(s) ? 0 : CUDA_E_NOT_READY;
        pthread_mutex_unlock(&lock);
        return r;
}

static int stream_wait(void *stream) {
        FakeStream *s = stream;
        int error = begin();
        fake_cuda.waits++;
        pthread_mutex_lock(&lock);
        while (!error && !fake_cuda.sticky && !is_done(s))
                pthread_cond_wait(&changed, &lock);
        pthread_mutex_unlock(&lock);
        return error ? error : fake_cuda.sticky;
}

/* Takes a copy of the item. */
static int enqueue(FakeStream *s, const Item *item) {
        int error = begin();
        if (error)
                return error;
        Item *i = malloc(sizeof(*i));
        *i = *item;
        i->node = (ListNode){0};
        pthread_mutex_lock(&lock);
        list_append(s->captured ? s->captured : &s->items, &i->node);
        n_pending += !s->captured;
        if (i->event)
                i->event->users++;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
        return 0;
}

static int event_new(void **ret) {
        int error = begin();
        if (error)
                return error;
        Event *e = calloc(1, sizeof(*e));
        e->users = 1;
        *ret = e;
        fake_cuda.objects++;
        return 0;
}

static int event_free(void *event) {
        pthread_mutex_lock(&lock);
        event_unuse(event);
        pthread_mutex_unlock(&lock);
        fake_cuda.objects--;
        return fake_cuda.sticky;
}

static int event_record(void *event, void *stream) {
        Event *e = event;
        pthread_mutex_lock(&lock);
        uint64_t number = ++e->recorded;
        pthread_mutex_unlock(&lock);
        return enqueue(stream, &(Item){.type = RECORD, .event = e, .number = number});
}

static int event_await(void *event, void *stream) {
        Event *e = event;
        pthread_mutex_lock(&lock);
        uint64_t number = e->recorded;
        pthread_mutex_unlock(&lock);
        return enqueue(stream, &(Item){.type = AWAIT, .event = e, .number = number});
}

/* As CUDA does: where host memory takes part that is not pinned, the copy is waited for. */
static int copy(void *stream, void *to, const void *from, size_t n) {
        pthread_mutex_lock(&lock);
        bool pinned = find_allocation(to) && find_allocation(from);
        pthread_mutex_unlock(&lock);
        int error = enqueue(stream, &(Item){.type = COPY, .to = to, .from = from, .n = n});
        return error || pinned ? error : stream_wait(stream);
}

static int clear(void *stream, void *p, size_t n) {
        return enqueue(stream, &(Item){.type = CLEAR, .to = p, .n = n});
}

static int launch(void *stream, const StreamLaunch *l, const void *args, bool overlaps) {
        Item i = {.type = KERNEL_ITEM, .launch = *l, .urgent = ((FakeStream *)stream)->urgent,
                  .overlaps = overlaps};
        memcpy(i.args, args, STREAM_ARGS_MAX);
        fake_cuda.kernels++;
        return enqueue(stream, &i);
}

static int call(void *stream, void (*f)(void *), void *arg) {
        return enqueue(stream, &(Item){.type = CALL, .call = f, .to = arg});
}

/* ---- graphs ---- */

static int capture_begin(void *stream) {
        FakeStream *s = stream;
        int error = begin();
        List *captured = error ? NULL : malloc(sizeof(*captured));
        if (!captured)
                return error ? error : CUDA_E_MEMORY;
        list_init(captured);
        pthread_mutex_lock(&lock);
        s->captured = captured;
        pthread_mutex_unlock(&lock);
        fake_cuda.objects++;
        return 0;
}

static int graph_free(void *graph) {
        List *items = graph;
        list_foreach(i, items, Item, node) {
                list_remove(&i->node);
                free(i);
        }
        free(items);
        fake_cuda.objects--;
        return fake_cuda.sticky;
}

static int capture_end(void *stream, void **ret_graph) {
        FakeStream *s = stream;
        pthread_mutex_lock(&lock);
        List *captured = TAKE(s->captured);
        pthread_mutex_unlock(&lock);
        int error = begin();
        if (!error && fake_cuda.no_graphs)
                error = CAPTURE_FAILED;
        list_foreach(i, captured, Item, node)
                fake_cuda.kernels--; /* they were not launched */
        if (error)
                graph_free(captured);
        else
                *ret_graph = captured;
        return error;
}

static int graph_launch(void *stream, void *graph) {
        List *items = graph;
        int error = begin();
        fake_cuda.graphs++;
        list_foreach(i, items, Item, node)
                error = error ? error : enqueue(stream, i);
        return error;
}

const CudaRuntime fake_cuda_runtime = {
        .error_text = error_text,
        .count = count,
        .use = use,
        .describe = describe,
        .memory = memory,
        .alloc = alloc,
        .release = release,
        .alloc_host = alloc_host,
        .release_host = release,
        .stream_new = stream_new,
        .stream_free = stream_free,
        .stream_query = stream_query,
        .stream_wait = stream_wait,
        .event_new = event_new,
        .event_free = event_free,
        .event_record = event_record,
        .event_await = event_await,
        .copy = copy,
        .clear = clear,
        .launch = launch,
        .call = call,
        .capture_begin = capture_begin,
        .capture_end = capture_end,
        .graph_launch = graph_launch,
        .graph_free = graph_free,
};
