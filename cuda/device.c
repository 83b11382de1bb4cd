/* A GPU as a Device. It is used by several threads: the loop's for steps, workers for loading; each says to the runtime
 * which GPU it means before it calls anything else. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/cuda.h"

enum {
        CAPABILITY_MIN = 8,     /* bfloat16 tensor cores */
        OVERLAP_DRIVER = 12030, /* kernels that overlap can be captured in graphs */
};

static Cuda *cuda_of(Device *d) {
        return container_of(d, Cuda, device);
}

void cuda_use(const Cuda *c) {
        c->runtime->use(c->index);
}

int cuda_result(Cuda *c, int error) {
        if (cuda_is_sticky(error))
                c->failed = error;
        return cuda_errno(error);
}

/* ---- memory ---- */

static int buffer_new(Device *d, size_t size, Buffer *ret) {
        Cuda *c = cuda_of(d);
        const CudaRuntime *rt = c->runtime;
        void *p;
        cuda_use(c);
        if (c->failed)
                return -EIO;
        int error = rt->alloc(&p, MAX(size, (size_t)1));
        if (error)
                return cuda_result(c, error);
        error = rt->clear(c->stream, p, size);
        if (error == 0)
                error = rt->stream_wait(c->stream);
        if (error) {
                rt->release(p);
                return cuda_result(c, error);
        }
        *ret = (Buffer){.data = p, .size = size};
        return 0;
}

static void buffer_free(Device *d, Buffer *b) {
        Cuda *c = cuda_of(d);
        cuda_use(c);
        if (b->data)
                c->runtime->release(b->data);
        *b = (Buffer){0};
}

static size_t memory_free(Device *d) {
        Cuda *c = cuda_of(d);
        size_t n;
        cuda_use(c);
        return c->runtime->memory(&n) == 0 ? n : 0;
}

/* ---- the device ---- */

static void cuda_free(Device *d) {
        Cuda *c = cuda_of(d);
        cuda_use(c);
        if (c->stream)
                c->runtime->stream_free(c->stream);
        free(c);
}

static int stream_new(Device *d, StreamUse use, Stream **ret, Error *e) {
        return cuda_stream_new(cuda_of(d), use, ret, e);
}

static const DeviceOps cuda_ops = {
        .free = cuda_free,
        .buffer_new = buffer_new,
        .buffer_free = buffer_free,
        .memory_free = memory_free,
        .stream_new = stream_new,
        .stream_free = cuda_stream_free,
        .eventfd = cuda_eventfd,
        .mark = cuda_mark,
        .poll = cuda_poll,
        .wait = cuda_wait,
        .upload = cuda_upload,
        .download = cuda_download,
        .embed = cuda_embed,
        .rmsnorm = cuda_rmsnorm,
        .matmul = cuda_matmul,
        .rope = cuda_rope,
        .attention = cuda_attention,
        .softcap = cuda_softcap,
        .route = cuda_route,
        .glu_experts = cuda_glu_experts,
        .matmul_experts = cuda_matmul_experts,
        .combine = cuda_combine,
        .glu = cuda_glu,
        .gather = cuda_gather,
        .sample = cuda_sample,
        .packed_size = cuda_packed_size,
        .pack = cuda_pack,
        .linear = cuda_linear,
        .embed_sum = cuda_embed_sum,
        .layernorm = cuda_layernorm,
        .self_attention = cuda_self_attention,
        .pool = cuda_pool,
};

/* ---- opening ---- */

static int refuse(Cuda *c, int error, const char *what, Error *e) {
        int r = cuda_result(c, error);
        return error_set(e, r, "GPU %d cannot be used: %s: %s", c->index, what, c->runtime->error_text(error));
}

static int describe(Cuda *c, Error *e) {
        int n, error = c->runtime->count(&n);
        if (error)
                return error_set(e, cuda_errno(error), "no GPU can be used: %s", c->runtime->error_text(error));
        if (c->index >= n)
                return error_set(e, -ENODEV, "there is no GPU %d: CUDA sees %d of them", c->index, n);
        error = c->runtime->describe(c->index, &c->info);
        if (error)
                return refuse(c, error, "it does not say what it is", e);
        if (c->info.major < CAPABILITY_MIN)
                return error_set(e, -ENODEV, "GPU %d (%s) has compute capability %d.%d, and %d.0 is needed", c->index,
                                 c->info.name, c->info.major, c->info.minor, CAPABILITY_MIN);
        snprintf(c->device.name, sizeof(c->device.name), "cuda:%d %s", c->index, c->info.name);
        c->device.memory_total = c->info.memory;
        return 0;
}

/* silu(2) * 3, by tensor cores; and what cuda_awaits() says. */
static int compute(Device *d, float out[static 5], Error *e) {
        static const float in[9] = {2, 2, 2, 2, 3, 3, 3, 3, 1};
        Stream *s;
        Buffer b;
        uint64_t ticket;
        int r = buffer_new(d, sizeof(in) + 5 * sizeof(float), &b);
        if (r < 0)
                return error_set(e, r, "%s cannot be used: it has no memory left", d->name);
        r = stream_new(d, STREAM_STEPS, &s, e);
        if (r >= 0) {
                cuda_upload(s, b.data, in, sizeof(in));
                float *dev = b.data, *dev_out = dev + ARRAY_SIZE(in);
                Matrix gate = {dev, DTYPE_F32, 4, 1}, up = {dev + 4, DTYPE_F32, 4, 1};
                cuda_glu(s, dev_out, &gate, &up, &(Activations){.x = dev + 8, .n_rows = 1}, GATE_SILU);
                cuda_awaits(s, dev_out + 4);
                cuda_download(s, out, dev_out, 5 * sizeof(float));
                r = cuda_mark(s, &ticket);
                if (r >= 0)
                        r = cuda_wait(s, ticket);
                if (r < 0)
                        error_set(e, r, "%s cannot be used: it fails to compute (%s)", d->name, strerror(-r));
                cuda_stream_free(s);
        }
        buffer_free(d, &b);
        return r;
}

static int probe(Device *d, Error *e) {
        Cuda *c = cuda_of(d);
        float out[5] = {0};
        int r = compute(d, out, e);
        if (r < 0)
                return r;
        for (int i = 0; i < 4; i++)
                if (!(fabsf(out[i] - 5.2847825f) < 1e-4f))
                        return error_set(e, -EIO, "%s cannot be used: it computes %g where %g is right", d->name,
                                         (double)out[i], 5.2847825);
        c->overlaps = out[4] == 1 && c->info.driver >= OVERLAP_DRIVER;
        return 0;
}

int device_cuda_new(const CudaRuntime *runtime, int index, Device **ret, Error *e) {
        Cuda *c = calloc(1, sizeof(*c));
        if (!c)
                return error_set(e, -ENOMEM, "out of memory for a GPU device");
        *c = (Cuda){.device = {.ops = &cuda_ops,
                               .limits = {.head_dim = HEAD_DIM_MAX, .heads = GRID_MAX, .vocab = VOCAB_MAX,
                                          .cols = LINEAR_COLS_MAX},
                               .few_rows = 32}, /* as matmul.cu has it */
                    .runtime = runtime,
                    .index = index};
        int r = describe(c, e);
        if (r >= 0) {
                int error = runtime->use(index);
                if (error == 0)
                        error = runtime->stream_new(&c->stream, false);
                r = error ? refuse(c, error, "it takes no work", e) : probe(&c->device, e);
        }
        if (r < 0)
                device_free(&c->device);
        else
                *ret = &c->device;
        return r;
}
