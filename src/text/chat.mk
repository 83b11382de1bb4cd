# Chat templates: the Jinja interpreter, and what transformers adds to the language.
libzl_text_la_SOURCES += \
	src/text/chat.h src/text/chat.c src/text/harmony.h src/text/harmony.c \
	src/text/jinja.h src/text/jinja-value.h src/text/jinja-ast.h \
	src/text/jinja-value.c src/text/jinja-print.c \
	src/text/jinja-lex.c src/text/jinja-parse.c \
	src/text/jinja-eval.c src/text/jinja-ops.c \
	src/text/jinja-filters.c src/text/jinja-methods.c
