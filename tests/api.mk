# Unit tests of src/api.
API_TESTS = tests/test-api tests/test-answer
check_PROGRAMS += $(API_TESTS)
TESTS += $(API_TESTS)
tests_test_api_SOURCES = tests/test-api.c
tests_test_api_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_api_LDADD = libzl-api.la libzl-daemon.la libzl-config.la libzl-ipc.la libzl-event.la libzl-util.la $(UNIT_LIBS) $(JANSSON_LIBS)
# The answer's source is in the test, beside requests and jobs of its own.
tests_test_answer_SOURCES = tests/test-answer.c
tests_test_answer_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_answer_LDADD = libzl-daemon.la libzl-config.la libzl-util.la $(UNIT_LIBS) $(JANSSON_LIBS)
