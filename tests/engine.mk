# Unit tests of src/engine.
check_PROGRAMS += tests/test-engine
TESTS += tests/test-engine
tests_test_engine_SOURCES = tests/test-engine.c
tests_test_engine_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_engine_LDADD = $(ENGINE_LIBS) $(JANSSON_LIBS) $(UNIT_LIBS)
