# Files of cuda: the device, its kernels, the engine that uses it. The device's host half needs no CUDA and is built
# everywhere, for the tests; see tests/cuda.mk for the emulated kernels.
CUDA_HOST = \
	cuda/cuda.h cuda/runtime.h cuda/stream.h cuda/device.c cuda/stream.c cuda/error.c \
	cuda/copier.h cuda/copier.c cuda/run.h cuda/run.c cuda/staging.h cuda/staging.c
CUDA_KERNELS = cuda/attention.cu cuda/elementwise.cu cuda/linear.cu cuda/matmul.cu cuda/matmul-many.cu cuda/norm.cu cuda/pool.cu \
	cuda/rope.cu cuda/routing.cu cuda/sample.cu cuda/self-attention.cu
EXTRA_DIST += cuda/kernel.h cuda/formats.h cuda/product.h cuda/softmax.h $(CUDA_KERNELS) cuda/gpu-checks cuda/bad-kernel.c bench/cuda/ceiling.cu bench/cuda/make-model.py \
	bench/cuda/torch-step.py bench/cuda/torch-encode.py bench/cuda/torch-load.py

if WITH_CUDA
CUDA_OBJECTS = $(CUDA_KERNELS:.cu=.cuo)
CLEANFILES += $(CUDA_OBJECTS) bench/cuda/ceiling.cuo
NVCC_V = $(NVCC_V_@AM_V@)
NVCC_V_ = $(NVCC_V_@AM_DEFAULT_V@)
NVCC_V_0 = @echo "  NVCC    " $@;
SUFFIXES = .cu .cuo
.cu.cuo:
	$(AM_V_at)$(MKDIR_P) $(@D)
	$(NVCC_V)$(NVCC) $(NVCC_FLAGS) $(CUDA_ARCH_FLAGS) -I$(top_srcdir) -I$(top_srcdir)/src -c -o $@ $<
$(CUDA_OBJECTS) bench/cuda/ceiling.cuo: $(top_srcdir)/cuda/kernel.h $(top_srcdir)/cuda/formats.h $(top_srcdir)/cuda/product.h $(top_srcdir)/cuda/softmax.h $(top_srcdir)/cuda/stream.h $(top_srcdir)/src/device/device.h

pkglibexec_PROGRAMS += zerollama-engine-cuda
zerollama_engine_cuda_SOURCES = src/engine/main.c src/engine/open-cuda.c cuda/runtime.c $(CUDA_HOST)
zerollama_engine_cuda_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) $(CUDA_CPPFLAGS)
zerollama_engine_cuda_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) -pthread
zerollama_engine_cuda_LDADD = $(CUDA_OBJECTS) $(ENGINE_LIBS) $(JANSSON_LIBS) $(CUDA_LIBS)

# `make check-cuda` compares the operations with those of the CPU, on this machine's GPU.
noinst_PROGRAMS += cuda/cuda-check
cuda_cuda_check_SOURCES = cuda/check.c cuda/runtime.c $(CUDA_HOST)
cuda_cuda_check_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) $(CUDA_CPPFLAGS)
cuda_cuda_check_CFLAGS = $(AM_CFLAGS) -pthread
cuda_cuda_check_LDADD = $(CUDA_OBJECTS) libzl-device.la libzl-util.la $(CUDA_LIBS)
# The same with whole models, and what measures; see cuda/gpu-checks.
if WITH_CMOCKA
noinst_PROGRAMS += cuda/cuda-llama
cuda_cuda_llama_SOURCES = tests/test-llama.c cuda/runtime.c $(CUDA_HOST)
cuda_cuda_llama_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) -I$(top_srcdir)/tests $(CUDA_CPPFLAGS) -DTEST_RUNTIME=cuda_runtime
cuda_cuda_llama_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(JANSSON_CFLAGS) -pthread
cuda_cuda_llama_LDFLAGS = $(AM_LDFLAGS) -Wl,-rpath,'$$ORIGIN/lib'
cuda_cuda_llama_LDADD = $(CUDA_OBJECTS) libzl-model.la libzl-device.la libzl-util.la $(JANSSON_LIBS) $(CMOCKA_LIBS) $(CUDA_LIBS)
noinst_PROGRAMS += cuda/cuda-bert
cuda_cuda_bert_SOURCES = tests/test-bert.c cuda/runtime.c $(CUDA_HOST)
cuda_cuda_bert_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) -I$(top_srcdir)/tests $(CUDA_CPPFLAGS) -DTEST_RUNTIME=cuda_runtime
cuda_cuda_bert_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(JANSSON_CFLAGS) -pthread
cuda_cuda_bert_LDFLAGS = $(AM_LDFLAGS) -Wl,-rpath,'$$ORIGIN/lib'
cuda_cuda_bert_LDADD = $(CUDA_OBJECTS) libzl-model.la libzl-device.la libzl-util.la $(JANSSON_LIBS) $(CMOCKA_LIBS) $(CUDA_LIBS)
endif
noinst_PROGRAMS += bench/cuda/cuda-bench
bench_cuda_cuda_bench_SOURCES = bench/bench.h bench/cuda/cuda-bench.c bench/cuda/ceiling.h cuda/runtime.c $(CUDA_HOST)
bench_cuda_cuda_bench_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) $(CUDA_CPPFLAGS)
bench_cuda_cuda_bench_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) -pthread
bench_cuda_cuda_bench_LDFLAGS = $(AM_LDFLAGS) -Wl,-rpath,'$$ORIGIN/lib'
bench_cuda_cuda_bench_LDADD = bench/cuda/ceiling.cuo $(CUDA_OBJECTS) libzl-model.la libzl-device.la libzl-util.la $(JANSSON_LIBS) $(CUDA_LIBS)
# What gpu-checks breaks an engine's GPU with.
noinst_DATA = cuda/bad-kernel.so
CLEANFILES += cuda/bad-kernel.so
cuda/bad-kernel.so: $(top_srcdir)/cuda/bad-kernel.c
	$(AM_V_at)$(MKDIR_P) $(@D)
	$(AM_V_CC)$(CC) -D_GNU_SOURCE $(CUDA_CPPFLAGS) $(CPPFLAGS) -std=gnu17 $(WARN_CFLAGS) -O1 -fPIC -shared -o $@ $< -ldl -lpthread
.PHONY: check-cuda
check-cuda: cuda/cuda-check
	cuda/cuda-check
endif
