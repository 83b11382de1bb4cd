# Unit tests of src/ipc.
check_PROGRAMS += tests/test-ipc
TESTS += tests/test-ipc
tests_test_ipc_SOURCES = tests/test-ipc.c
tests_test_ipc_CFLAGS = $(UNIT_CFLAGS)
tests_test_ipc_LDADD = libzl-ipc.la libzl-event.la libzl-util.la $(UNIT_LIBS)
