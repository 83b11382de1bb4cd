# Unit tests of src/engine/vocab.c and vocab-hf.c.
VOCAB_TEST_LIBS = libzl-vocab.la libzl-model.la libzl-device.la libzl-text.la libzl-util.la $(JANSSON_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/test-vocab tests/test-vocab-hf
TESTS += tests/test-vocab tests/test-vocab-hf
tests_test_vocab_SOURCES = tests/test-vocab.c
tests_test_vocab_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_vocab_LDADD = $(VOCAB_TEST_LIBS)
tests_test_vocab_hf_SOURCES = tests/test-vocab-hf.c tests/folder.h
tests_test_vocab_hf_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_vocab_hf_LDADD = $(VOCAB_TEST_LIBS)
