# Unit tests of src/api.
check_PROGRAMS += tests/test-api
TESTS += tests/test-api
tests_test_api_SOURCES = tests/test-api.c
tests_test_api_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_api_LDADD = libzl-api.la libzl-daemon.la libzl-config.la libzl-ipc.la libzl-event.la libzl-util.la $(UNIT_LIBS) $(JANSSON_LIBS)
