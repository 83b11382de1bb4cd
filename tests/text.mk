# Unit tests of src/text.
check_PROGRAMS += tests/test-utf8 tests/test-trie tests/test-normalizer tests/test-tokenizer tests/test-fill tests/test-split tests/test-call-schema
TESTS += tests/test-utf8 tests/test-trie tests/test-normalizer tests/test-tokenizer tests/test-fill tests/test-split tests/test-call-schema
tests_test_utf8_SOURCES = tests/test-utf8.c
tests_test_utf8_CFLAGS = $(UNIT_CFLAGS)
tests_test_utf8_LDADD = libzl-text.la libzl-util.la $(UNIT_LIBS)
tests_test_trie_SOURCES = tests/test-trie.c
tests_test_trie_CFLAGS = $(UNIT_CFLAGS)
tests_test_trie_LDADD = libzl-text.la libzl-util.la $(UNIT_LIBS)
tests_test_normalizer_SOURCES = tests/test-normalizer.c
tests_test_normalizer_CFLAGS = $(UNIT_CFLAGS)
tests_test_normalizer_LDADD = libzl-text.la libzl-util.la $(UNIT_LIBS)
tests_test_tokenizer_SOURCES = tests/test-tokenizer.c tests/vocabulary.h tests/json-file.h
tests_test_tokenizer_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS) -pthread
tests_test_tokenizer_LDADD = libzl-text.la libzl-util.la $(JANSSON_LIBS) $(UNIT_LIBS)
tests_test_fill_SOURCES = tests/test-fill.c tests/vocabulary.h tests/json-file.h
tests_test_fill_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_fill_LDADD = libzl-text.la libzl-util.la $(JANSSON_LIBS) $(UNIT_LIBS)
tests_test_call_schema_SOURCES = tests/test-call-schema.c
tests_test_call_schema_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_call_schema_LDADD = libzl-text.la libzl-util.la $(JANSSON_LIBS) $(UNIT_LIBS)
tests_test_split_SOURCES = tests/test-split.c
tests_test_split_CFLAGS = $(UNIT_CFLAGS)
tests_test_split_LDADD = libzl-split.la libzl-util.la $(JANSSON_LIBS) $(UNIT_LIBS)
EXTRA_DIST += tests/data/tokenizer-cases.json tests/data/make-tokenizer-cases.py tests/data/fill-cases.json tests/data/make-fill-cases.py
include tests/chat.mk
include tests/grammar.mk
include tests/engine-vocab.mk
