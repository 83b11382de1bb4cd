# Unit tests of src/api.
API_TESTS = tests/test-api tests/test-answer tests/test-tools tests/test-vectors
check_PROGRAMS += $(API_TESTS)
TESTS += $(API_TESTS)
tests_test_api_SOURCES = tests/test-api.c
tests_test_api_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_api_LDADD = libzl-api.la libzl-split.la libzl-daemon.la libzl-config.la libzl-ipc.la libzl-event.la libzl-util.la $(UNIT_LIBS) $(JANSSON_LIBS)
# Answers' sources are in the tests, beside requests and jobs of their own.
tests_test_answer_SOURCES = tests/api-told.h tests/test-answer.c
tests_test_answer_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_answer_LDADD = libzl-split.la libzl-daemon.la libzl-config.la libzl-util.la $(UNIT_LIBS) $(JANSSON_LIBS)
tests_test_vectors_SOURCES = tests/api-told.h tests/test-vectors.c
tests_test_vectors_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_vectors_LDADD = libzl-daemon.la libzl-config.la libzl-ipc.la libzl-event.la libzl-util.la $(UNIT_LIBS) $(JANSSON_LIBS)
tests_test_tools_SOURCES = tests/test-tools.c tests/chat-cases.h tests/json-file.h
tests_test_tools_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_tools_LDADD = libzl-api.la libzl-text.la libzl-daemon.la libzl-config.la libzl-ipc.la libzl-event.la libzl-util.la $(UNIT_LIBS) $(JANSSON_LIBS)
