# Unit tests of src/engine.
ENGINE_TESTS = tests/test-kv tests/test-fair tests/test-stop tests/test-engine
check_PROGRAMS += $(ENGINE_TESTS)
TESTS += $(ENGINE_TESTS)
tests_test_kv_SOURCES = tests/test-kv.c
tests_test_kv_CFLAGS = $(UNIT_CFLAGS)
tests_test_kv_LDADD = libzl-engine.la libzl-util.la $(UNIT_LIBS)
tests_test_fair_SOURCES = tests/test-fair.c
tests_test_fair_CFLAGS = $(UNIT_CFLAGS)
tests_test_fair_LDADD = libzl-engine.la libzl-util.la $(UNIT_LIBS)
tests_test_stop_SOURCES = tests/test-stop.c
tests_test_stop_CFLAGS = $(UNIT_CFLAGS)
tests_test_stop_LDADD = libzl-engine.la libzl-ipc.la libzl-event.la libzl-util.la $(UNIT_LIBS)
tests_test_engine_SOURCES = tests/test-engine.c
tests_test_engine_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_engine_LDADD = $(ENGINE_LIBS) $(JANSSON_LIBS) $(UNIT_LIBS)
