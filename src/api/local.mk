# Files of src/api: the HTTP API, one file per dialect.
noinst_LTLIBRARIES += libzl-api.la
libzl_api_la_SOURCES = \
	src/api/api.h src/api/api-private.h \
	src/api/api.c src/api/args.c src/api/constrain.c src/api/charge.c src/api/tools.c src/api/answer.c src/api/inputs.c src/api/vectors.c src/api/numbers.c \
	src/api/openai.c src/api/responses.c src/api/ollama.c src/api/variants.c src/api/messages.c src/api/rerank.c src/api/tokens.c src/api/status.c
libzl_api_la_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
libzl_api_la_LIBADD = $(JANSSON_LIBS)
