# A model file's vocabulary as a Tokenizer: the one place that knows both GGUF and src/text.
noinst_LTLIBRARIES += libzl-vocab.la
libzl_vocab_la_SOURCES = src/engine/vocab.h src/engine/vocab.c
