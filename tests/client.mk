# Unit tests of src/client.
check_PROGRAMS += tests/test-client tests/test-client-map
TESTS += tests/test-client tests/test-client-map
tests_test_client_SOURCES = tests/test-client.c tests/fake-server.h
tests_test_client_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS) -pthread
tests_test_client_LDADD = libzerollama.la libzl-util.la $(JANSSON_LIBS) $(UNIT_LIBS)
tests_test_client_map_SOURCES = tests/test-client-map.c tests/fake-server.h
tests_test_client_map_CFLAGS = $(UNIT_CFLAGS) -pthread
tests_test_client_map_LDADD = libzerollama.la libzl-util.la $(UNIT_LIBS)
# The command, against a scripted daemon.
dist_check_SCRIPTS += tests/test-cli.py
EXTRA_DIST += tests/fake_daemon.py
TESTS += tests/test-cli.py
