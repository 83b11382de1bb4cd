# Files of src/text, and the libraries and programs they make.
noinst_LTLIBRARIES += libzl-text.la libzl-split.la
libzl_text_la_SOURCES = \
	src/text/tokenizer.h src/text/tokenizer-internal.h src/text/tokenizer.c \
	src/text/special.h src/text/special.c \
	src/text/fill.h src/text/fill.c \
	src/text/merge.h src/text/merge.c \
	src/text/spm.c src/text/bpe.c src/text/wordpiece.c src/text/unigram.c \
	src/text/trie.h src/text/trie.c \
	src/text/unicode.h src/text/unicode.c \
	src/text/charsmap.h src/text/charsmap.c \
	src/text/normalizer.h src/text/normalizer.c \
	src/text/pretokenizer.h src/text/pretokenizer.c \
	src/text/utf8.h src/text/utf8.c
libzl_text_la_CFLAGS = $(AM_CFLAGS) $(PCRE2_CFLAGS) $(JANSSON_CFLAGS) $(UTF8PROC_CFLAGS)
libzl_text_la_LIBADD = libzl-split.la $(PCRE2_LIBS) $(JANSSON_LIBS) $(UTF8PROC_LIBS)
# The daemon splits what models write, and needs nothing else of this room.
libzl_split_la_SOURCES = src/text/split.h src/text/split.c
libzl_split_la_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
libzl_split_la_LIBADD = $(JANSSON_LIBS)
include src/text/chat.mk
include src/text/grammar.mk
