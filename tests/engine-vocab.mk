# Unit test of src/engine/vocab.c.
check_PROGRAMS += tests/test-vocab
TESTS += tests/test-vocab
tests_test_vocab_SOURCES = tests/test-vocab.c
tests_test_vocab_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_vocab_LDADD = libzl-vocab.la libzl-model.la libzl-device.la libzl-text.la libzl-util.la $(JANSSON_LIBS) $(UNIT_LIBS)
