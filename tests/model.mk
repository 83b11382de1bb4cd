# Unit tests of src/model.
check_PROGRAMS += tests/test-gguf
TESTS += tests/test-gguf
tests_test_gguf_SOURCES = tests/test-gguf.c
tests_test_gguf_CFLAGS = $(UNIT_CFLAGS)
tests_test_gguf_LDADD = libzl-model.la libzl-device.la libzl-util.la $(UNIT_LIBS)
