/* The table filled with the calls of the CUDA runtime; see runtime.h. An error that a call has returned is taken off
 * the runtime's own record, so that the next call does not report it again; sticky ones come back by themselves. */
#include <cuda_runtime_api.h>
#include <stdio.h>

#include "cuda/runtime.h"

static int result(cudaError_t error) {
        if (error != cudaSuccess && error != cudaErrorNotReady)
                (void)cudaGetLastError();
        return (int)error;
}

static const char *error_text(int error) {
        return cudaGetErrorString((cudaError_t)error);
}

static int count(int *ret) {
        return result(cudaGetDeviceCount(ret));
}

static int use(int index) {
        return result(cudaSetDevice(index));
}

static int describe(int index, CudaInfo *ret) {
        struct cudaDeviceProp p;
        int driver, error = result(cudaGetDeviceProperties(&p, index));
        if (error || (error = result(cudaDriverGetVersion(&driver))))
                return error;
        *ret = (CudaInfo){.memory = p.totalGlobalMem, .processors = (uint32_t)p.multiProcessorCount, .major = p.major,
                          .minor = p.minor, .driver = driver};
        snprintf(ret->name, sizeof(ret->name), "%.63s", p.name);
        return 0;
}

static int memory(size_t *ret_free) {
        size_t total;
        return result(cudaMemGetInfo(ret_free, &total));
}

static int alloc(void **ret, size_t n) {
        return result(cudaMalloc(ret, n));
}

static int release(void *p) {
        return result(cudaFree(p));
}

static int alloc_host(void **ret, size_t n) {
        return result(cudaHostAlloc(ret, n, cudaHostAllocDefault));
}

static int release_host(void *p) {
        return result(cudaFreeHost(p));
}

static int stream_new(void **ret, bool urgent) {
        int least = 0, greatest = 0;
        int error = result(cudaDeviceGetStreamPriorityRange(&least, &greatest));
        if (error)
                return error;
        return result(cudaStreamCreateWithPriority((cudaStream_t *)ret, cudaStreamNonBlocking,
                                                   urgent ? greatest : least));
}

static int stream_free(void *stream) {
        return result(cudaStreamDestroy(stream));
}

static int stream_query(void *stream) {
        return result(cudaStreamQuery(stream));
}

static int stream_wait(void *stream) {
        return result(cudaStreamSynchronize(stream));
}

static int event_new(void **ret) {
        return result(cudaEventCreateWithFlags((cudaEvent_t *)ret, cudaEventDisableTiming));
}

static int event_free(void *event) {
        return result(cudaEventDestroy(event));
}

static int event_record(void *event, void *stream) {
        return result(cudaEventRecord(event, stream));
}

static int event_await(void *event, void *stream) {
        return result(cudaStreamWaitEvent(stream, event, 0));
}

static int copy(void *stream, void *to, const void *from, size_t n) {
        return result(cudaMemcpyAsync(to, from, n, cudaMemcpyDefault, stream));
}

static int clear(void *stream, void *p, size_t n) {
        return result(cudaMemsetAsync(p, 0, n, stream));
}

/* More than a kernel gets unless it is said before. */
enum { SHARED_PLAIN = 48 << 10 };

static int launch(void *stream, const StreamLaunch *l, const void *args, bool overlaps) {
        cudaLaunchAttribute early = {.id = cudaLaunchAttributeProgrammaticStreamSerialization,
                                     .val.programmaticStreamSerializationAllowed = 1};
        int error = l->shared > SHARED_PLAIN
                            ? result(cudaFuncSetAttribute(l->kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)l->shared))
                            : 0;
        if (error)
                return error;
        cudaLaunchConfig_t config = {.gridDim = {l->grid[0], l->grid[1], l->grid[2]},
                                     .blockDim = {l->block, 1, 1},
                                     .dynamicSmemBytes = l->shared,
                                     .stream = stream,
                                     .attrs = &early,
                                     .numAttrs = overlaps};
        return result(cudaLaunchKernelExC(&config, l->kernel, (void *[]){(void *)args}));
}

static int call(void *stream, void (*f)(void *), void *arg) {
        return result(cudaLaunchHostFunc(stream, f, arg));
}

/* Relaxed: other threads go on allocating meanwhile. */
static int capture_begin(void *stream) {
        return result(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
}

static int capture_end(void *stream, void **ret_graph) {
        cudaGraph_t graph = NULL;
        cudaGraphExec_t exec = NULL;
        cudaError_t error = cudaStreamEndCapture(stream, &graph);
        if (error == cudaSuccess)
                error = cudaGraphInstantiate(&exec, graph, 0);
        if (graph)
                cudaGraphDestroy(graph);
        if (error == cudaSuccess)
                *ret_graph = exec;
        return result(error);
}

static int graph_launch(void *stream, void *graph) {
        return result(cudaGraphLaunch(graph, stream));
}

static int graph_free(void *graph) {
        return result(cudaGraphExecDestroy(graph));
}

const CudaRuntime cuda_runtime = {
        .error_text = error_text,
        .count = count,
        .use = use,
        .describe = describe,
        .memory = memory,
        .alloc = alloc,
        .release = release,
        .alloc_host = alloc_host,
        .release_host = release_host,
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
