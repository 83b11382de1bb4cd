# Unit tests of src/engine/vocab*.c.
VOCAB_TEST_LIBS = libzl-vocab.la libzl-model.la libzl-device.la libzl-text.la libzl-util.la $(JANSSON_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/test-vocab tests/test-vocab-hf tests/test-vocab-encoders
TESTS += tests/test-vocab tests/test-vocab-hf tests/test-vocab-encoders
tests_test_vocab_SOURCES = tests/test-vocab.c
tests_test_vocab_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_vocab_LDADD = $(VOCAB_TEST_LIBS)
tests_test_vocab_hf_SOURCES = tests/test-vocab-hf.c tests/vocab-folder.h tests/json-file.h tests/folder.h
tests_test_vocab_hf_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_vocab_hf_LDADD = $(VOCAB_TEST_LIBS)
tests_test_vocab_encoders_SOURCES = tests/test-vocab-encoders.c tests/vocab-folder.h tests/json-file.h tests/folder.h
tests_test_vocab_encoders_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_vocab_encoders_LDADD = $(VOCAB_TEST_LIBS)
EXTRA_DIST += tests/data/encoder-cases.json tests/data/make-encoder-cases.py tests/data/slow-cases.json tests/data/make-slow-cases.py \
	tests/data/vocab-bert.gguf tests/data/vocab-xlm-roberta.gguf tests/data/sentences.txt \
	tests/data/encoder-wordpiece tests/data/encoder-unigram tests/data/encoder-sp-unigram tests/data/encoder-sp-bpe
