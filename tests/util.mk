# Unit tests of src/util.
check_PROGRAMS += tests/test-error tests/test-str tests/test-map tests/test-buf tests/test-log
TESTS += tests/test-error tests/test-str tests/test-map tests/test-buf tests/test-log
tests_test_error_SOURCES = tests/test-error.c
tests_test_error_CFLAGS = $(UNIT_CFLAGS)
tests_test_error_LDADD = libzl-util.la $(UNIT_LIBS)
tests_test_str_SOURCES = tests/test-str.c
tests_test_str_CFLAGS = $(UNIT_CFLAGS)
tests_test_str_LDADD = libzl-util.la $(UNIT_LIBS)
tests_test_map_SOURCES = tests/test-map.c
tests_test_map_CFLAGS = $(UNIT_CFLAGS)
tests_test_map_LDADD = libzl-util.la $(UNIT_LIBS)
tests_test_buf_SOURCES = tests/test-buf.c
tests_test_buf_CFLAGS = $(UNIT_CFLAGS)
tests_test_buf_LDADD = libzl-util.la $(UNIT_LIBS)
tests_test_log_SOURCES = tests/test-log.c
tests_test_log_CFLAGS = $(UNIT_CFLAGS)
tests_test_log_LDADD = libzl-util.la $(UNIT_LIBS)
