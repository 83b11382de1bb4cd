# Files of src/cli: the `zerollama` command. A subcommand is one file, named in commands.h and main.c.
bin_PROGRAMS += zerollama
zerollama_SOURCES = \
	src/cli/cli.h src/cli/commands.h src/cli/document.h \
	src/cli/http-answer.h src/cli/load.h src/cli/load-summary.h src/cli/plot.h src/cli/results.h src/cli/texts.h src/cli/npy.h src/cli/reference.h src/cli/fetch.h \
	src/cli/main.c src/cli/option.c src/cli/output.c src/cli/document.c \
	src/cli/progress.c src/cli/bar.c src/cli/model.c src/cli/answer.c src/cli/chat.c \
	src/cli/http-answer.c src/cli/load.c src/cli/load-summary.c src/cli/plot.c src/cli/results.c src/cli/texts.c src/cli/npy.c src/cli/reference.c src/cli/fetch.c \
	src/cli/cmd-run.c src/cli/cmd-generate.c src/cli/cmd-embed.c src/cli/cmd-rerank.c src/cli/cmd-tokenize.c \
	src/cli/cmd-pull.c src/cli/cmd-create.c src/cli/cmd-rm.c src/cli/cmd-list.c src/cli/cmd-ps.c src/cli/cmd-show.c \
	src/cli/cmd-load.c src/cli/cmd-status.c src/cli/cmd-ctl.c src/cli/cmd-top.c src/cli/cmd-map.c src/cli/cmd-bench.c \
	src/cli/cmd-version.c src/cli/cmd-help.c
zerollama_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) $(EDIT_CFLAGS) $(CURL_CFLAGS) $(CRYPTO_CFLAGS)
zerollama_LDFLAGS = $(AM_LDFLAGS) -Wl,--as-needed
zerollama_LDADD = libzerollama.la libzl-util.la $(JANSSON_LIBS) $(EDIT_LIBS) $(CURL_LIBS) $(CRYPTO_LIBS) -lm
