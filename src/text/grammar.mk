# What a text must be: grammars, who follows a text through one, and what becomes one.
libzl_text_la_SOURCES += \
	src/text/grammar.h src/text/grammar.c \
	src/text/matcher.h src/text/matcher.c \
	src/text/token-tree.h src/text/token-tree.c \
	src/text/json-grammar.h src/text/json-grammar.c \
	src/text/call-schema.h src/text/call-schema.c \
	src/text/chars.h src/text/chars.c \
	src/text/pattern.h src/text/pattern.c \
	src/text/gbnf.h src/text/gbnf.c \
	src/text/schema.h src/text/schema-internal.h src/text/schema.c src/text/schema-merge.c src/text/schema-number.c
