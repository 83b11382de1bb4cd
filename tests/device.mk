# Unit tests of src/device.
check_PROGRAMS += tests/test-dtype tests/test-cpu-stream tests/test-cpu-kernels tests/test-cpu-matmul \
	tests/test-cpu-ops tests/test-cpu-attention tests/test-cpu-sample tests/test-cpu-linear \
	tests/test-cpu-texts tests/test-cpu-routing
TESTS += tests/test-dtype tests/test-cpu-stream tests/test-cpu-kernels tests/test-cpu-matmul \
	tests/test-cpu-ops tests/test-cpu-attention tests/test-cpu-sample tests/test-cpu-linear \
	tests/test-cpu-texts tests/test-cpu-routing
tests_test_dtype_SOURCES = tests/test-dtype.c
tests_test_dtype_CFLAGS = $(UNIT_CFLAGS)
tests_test_dtype_LDADD = libzl-device.la libzl-util.la $(UNIT_LIBS)
tests_test_cpu_stream_SOURCES = tests/test-cpu-stream.c tests/cpu.h
tests_test_cpu_stream_CFLAGS = $(UNIT_CFLAGS)
tests_test_cpu_stream_LDADD = libzl-device.la libzl-util.la $(UNIT_LIBS)
tests_test_cpu_kernels_SOURCES = tests/test-cpu-kernels.c tests/cpu.h
tests_test_cpu_kernels_CFLAGS = $(UNIT_CFLAGS)
tests_test_cpu_kernels_LDADD = libzl-device.la libzl-util.la $(UNIT_LIBS)
tests_test_cpu_matmul_SOURCES = tests/test-cpu-matmul.c tests/cpu.h
tests_test_cpu_matmul_CFLAGS = $(UNIT_CFLAGS)
tests_test_cpu_matmul_LDADD = libzl-device.la libzl-util.la $(UNIT_LIBS)
tests_test_cpu_ops_SOURCES = tests/test-cpu-ops.c tests/cpu.h
tests_test_cpu_ops_CFLAGS = $(UNIT_CFLAGS)
tests_test_cpu_ops_LDADD = libzl-device.la libzl-util.la $(UNIT_LIBS)
tests_test_cpu_attention_SOURCES = tests/test-cpu-attention.c tests/cpu.h
tests_test_cpu_attention_CFLAGS = $(UNIT_CFLAGS)
tests_test_cpu_attention_LDADD = libzl-device.la libzl-util.la $(UNIT_LIBS)
tests_test_cpu_sample_SOURCES = tests/test-cpu-sample.c tests/cpu.h
tests_test_cpu_sample_CFLAGS = $(UNIT_CFLAGS)
tests_test_cpu_sample_LDADD = libzl-device.la libzl-util.la $(UNIT_LIBS)
tests_test_cpu_linear_SOURCES = tests/test-cpu-linear.c tests/cpu.h
tests_test_cpu_linear_CFLAGS = $(UNIT_CFLAGS)
tests_test_cpu_linear_LDADD = libzl-device.la libzl-util.la $(UNIT_LIBS)
tests_test_cpu_routing_SOURCES = tests/test-cpu-routing.c tests/cpu.h
tests_test_cpu_routing_CFLAGS = $(UNIT_CFLAGS)
tests_test_cpu_routing_LDADD = libzl-device.la libzl-util.la $(UNIT_LIBS)
tests_test_cpu_texts_SOURCES = tests/test-cpu-texts.c tests/cpu.h
tests_test_cpu_texts_CFLAGS = $(UNIT_CFLAGS)
tests_test_cpu_texts_LDADD = libzl-device.la libzl-util.la $(UNIT_LIBS)
