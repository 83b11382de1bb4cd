# Tests of grammars: against python3-jsonschema, and the tokens that are allowed against a search through all of them.
check_PROGRAMS += tests/schema-walk tests/test-token-tree
tests_schema_walk_SOURCES = tests/schema-walk.c
tests_schema_walk_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_schema_walk_LDADD = libzl-text.la libzl-util.la $(JANSSON_LIBS)
TESTS += tests/test-schema.py tests/test-gbnf.py tests/test-token-tree
dist_check_SCRIPTS += tests/test-schema.py tests/test-gbnf.py
EXTRA_DIST += tests/walker.py
tests_test_token_tree_SOURCES = tests/test-token-tree.c
tests_test_token_tree_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_token_tree_LDADD = $(ENGINE_LIBS) $(JANSSON_LIBS) $(UNIT_LIBS) -lm
