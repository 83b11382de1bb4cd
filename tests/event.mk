# Unit tests of src/event.
check_PROGRAMS += tests/test-event tests/test-work
TESTS += tests/test-event tests/test-work
tests_test_event_SOURCES = tests/test-event.c
tests_test_event_CFLAGS = $(UNIT_CFLAGS)
tests_test_event_LDADD = libzl-event.la libzl-util.la $(UNIT_LIBS)
tests_test_work_SOURCES = tests/test-work.c
tests_test_work_CFLAGS = $(UNIT_CFLAGS)
tests_test_work_LDADD = libzl-event.la libzl-util.la $(UNIT_LIBS)
