# Files of src/model, and the libraries and programs they make.
noinst_LTLIBRARIES += libzl-model.la
libzl_model_la_SOURCES = \
	src/model/gguf.h src/model/gguf.c \
	src/model/model.h src/model/arch.h src/model/model.c \
	src/model/llama.c
