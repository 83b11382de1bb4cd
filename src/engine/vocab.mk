# A model's vocabulary as a Tokenizer: the one place that knows both the files of models and src/text.
noinst_LTLIBRARIES += libzl-vocab.la
libzl_vocab_la_SOURCES = \
	src/engine/vocab.h src/engine/vocab.c \
	src/engine/vocab-hf.h src/engine/vocab-hf-internal.h src/engine/vocab-hf.c src/engine/vocab-hf-pipeline.c \
	src/engine/vocab-hf-model.c src/engine/vocab-hf-plain.c src/engine/vocab-sp.c
libzl_vocab_la_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
