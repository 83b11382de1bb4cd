# Unit tests of src/client.
check_PROGRAMS += tests/test-client tests/test-client-map
TESTS += tests/test-client tests/test-client-map
tests_test_client_SOURCES = tests/test-client.c tests/fake-server.h
tests_test_client_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS) -pthread
tests_test_client_LDADD = libzerollama.la libzl-util.la $(JANSSON_LIBS) $(UNIT_LIBS)
tests_test_client_map_SOURCES = tests/test-client-map.c tests/fake-server.h
tests_test_client_map_CFLAGS = $(UNIT_CFLAGS) -pthread
tests_test_client_map_LDADD = libzerollama.la libzl-util.la $(UNIT_LIBS)
# Unit tests of src/cli.
cli_tests = tests/test-http-answer tests/test-load tests/test-load-summary tests/test-plot tests/test-results tests/test-reference
check_PROGRAMS += $(cli_tests)
TESTS += $(cli_tests)
tests_test_http_answer_SOURCES = tests/test-http-answer.c src/cli/http-answer.c
tests_test_http_answer_CFLAGS = $(UNIT_CFLAGS)
tests_test_http_answer_LDADD = libzl-util.la $(UNIT_LIBS)
tests_test_load_SOURCES = tests/test-load.c tests/fake-server.h src/cli/load.c src/cli/http-answer.c
tests_test_load_CFLAGS = $(UNIT_CFLAGS) -pthread
tests_test_load_LDADD = libzl-util.la $(UNIT_LIBS)
tests_test_load_summary_SOURCES = tests/test-load-summary.c src/cli/load-summary.c
tests_test_load_summary_CFLAGS = $(UNIT_CFLAGS)
tests_test_load_summary_LDADD = libzl-util.la $(UNIT_LIBS) -lm
tests_test_plot_SOURCES = tests/test-plot.c
tests_test_plot_CFLAGS = $(UNIT_CFLAGS)
tests_test_plot_LDADD = libzl-util.la $(UNIT_LIBS) -lm
tests_test_results_SOURCES = tests/test-results.c src/cli/results.c
tests_test_results_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_results_LDADD = libzl-util.la $(JANSSON_LIBS) $(UNIT_LIBS)
tests_test_reference_SOURCES = tests/test-reference.c src/cli/reference.c
tests_test_reference_CFLAGS = $(UNIT_CFLAGS)
tests_test_reference_LDADD = libzl-util.la $(UNIT_LIBS)
# The command, against a scripted daemon.
dist_check_SCRIPTS += tests/test-cli.py
EXTRA_DIST += tests/fake_daemon.py
TESTS += tests/test-cli.py
