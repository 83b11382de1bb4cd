# Files of src/model, and the libraries and programs they make.
noinst_LTLIBRARIES += libzl-model.la
libzl_model_la_SOURCES = \
	src/model/file.h src/model/file.c \
	src/model/gguf.h src/model/gguf.c \
	src/model/safetensors.h src/model/safetensors.c \
	src/model/hf.h src/model/hf.c \
	src/model/model.h src/model/arch.h src/model/model.c \
	src/model/model-gguf.c src/model/model-hf.c src/model/model-hf-bert.c src/model/model-hf-gemma.c src/model/model-hf-nomic.c src/model/model-hf-jina.c \
	src/model/model-gguf-bert.c src/model/gguf-keys.h \
	src/model/hf-config.h src/model/hf-config.c \
	src/model/llama.c src/model/encode.h src/model/llama-encoder.c src/model/bert.c
libzl_model_la_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
libzl_model_la_LIBADD = $(JANSSON_LIBS)
