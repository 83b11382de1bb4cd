# Tests of cuda without CUDA: the device on a fake runtime, with its kernels emulated.
check_LTLIBRARIES += libzl-cuda-fake.la
libzl_cuda_fake_la_SOURCES = $(CUDA_HOST) cuda/fake.h cuda/fake.c cuda/context.h cuda/emulate.h cuda/emulate.c cuda/emulated.c
libzl_cuda_fake_la_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) -DCUDA_EMULATED
libzl_cuda_fake_la_CFLAGS = $(AM_CFLAGS) -pthread

CUDA_TESTS = tests/cuda-check-emulated tests/test-cuda-emulate tests/test-cuda-device tests/test-cuda-llama tests/test-cuda-bert
check_PROGRAMS += $(CUDA_TESTS)
TESTS += $(CUDA_TESTS)
tests_cuda_check_emulated_SOURCES = cuda/check.c
tests_cuda_check_emulated_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) -DCUDA_EMULATED
tests_cuda_check_emulated_LDADD = libzl-cuda-fake.la libzl-device.la libzl-util.la
tests_test_cuda_emulate_SOURCES = tests/test-cuda-emulate.c
tests_test_cuda_emulate_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) -DCUDA_EMULATED
tests_test_cuda_emulate_CFLAGS = $(UNIT_CFLAGS)
tests_test_cuda_emulate_LDADD = libzl-cuda-fake.la libzl-device.la libzl-util.la $(UNIT_LIBS)
tests_test_cuda_device_SOURCES = tests/test-cuda-device.c
tests_test_cuda_device_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) -DCUDA_EMULATED
tests_test_cuda_device_CFLAGS = $(UNIT_CFLAGS)
tests_test_cuda_device_LDADD = libzl-cuda-fake.la libzl-device.la libzl-util.la $(UNIT_LIBS)
# Whole models on the emulated device.
tests_test_cuda_llama_SOURCES = tests/test-llama.c
tests_test_cuda_llama_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) -DCUDA_EMULATED -DTEST_RUNTIME=fake_cuda_runtime
tests_test_cuda_llama_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_cuda_llama_LDADD = libzl-cuda-fake.la $(MODEL_TEST_LIBS)
tests_test_cuda_bert_SOURCES = tests/test-bert.c
tests_test_cuda_bert_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) -DCUDA_EMULATED -DTEST_RUNTIME=fake_cuda_runtime
tests_test_cuda_bert_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_cuda_bert_LDADD = libzl-cuda-fake.la $(MODEL_TEST_LIBS)
# The engine for GPUs without one, for tests/it-cuda.py.
check_PROGRAMS += tests/engine-fake-gpu
tests_engine_fake_gpu_SOURCES = src/engine/main.c src/engine/open-cuda.c tests/fake-gpu.c
tests_engine_fake_gpu_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) -DCUDA_EMULATED -Dcuda_runtime=fake_cuda_runtime
tests_engine_fake_gpu_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) -pthread
tests_engine_fake_gpu_LDADD = libzl-cuda-fake.la $(ENGINE_LIBS) $(JANSSON_LIBS)
