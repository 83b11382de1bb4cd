# Unit tests of src/daemon, and the check that its manual pages know every option and route.
include tests/config.mk
check_PROGRAMS += tests/test-user tests/test-histogram tests/test-registry tests/test-manager tests/test-deadline
TESTS += tests/test-user tests/test-histogram tests/test-registry tests/test-manager tests/test-deadline tests/test-man-daemon.py
dist_check_SCRIPTS += tests/test-man-daemon.py
tests_test_user_SOURCES = tests/test-user.c
tests_test_user_CFLAGS = $(UNIT_CFLAGS)
tests_test_user_LDADD = libzl-daemon.la libzl-config.la libzl-ipc.la libzl-event.la libzl-util.la $(UNIT_LIBS)
tests_test_histogram_SOURCES = tests/test-histogram.c
tests_test_histogram_CFLAGS = $(UNIT_CFLAGS)
tests_test_histogram_LDADD = libzl-daemon.la libzl-config.la libzl-ipc.la libzl-event.la libzl-util.la $(UNIT_LIBS)
tests_test_registry_SOURCES = tests/test-registry.c
tests_test_registry_CFLAGS = $(UNIT_CFLAGS)
tests_test_registry_LDADD = libzl-daemon.la libzl-config.la libzl-ipc.la libzl-event.la libzl-util.la $(UNIT_LIBS)
tests_test_manager_SOURCES = tests/test-manager.c
tests_test_manager_CFLAGS = $(UNIT_CFLAGS)
tests_test_manager_LDADD = libzl-daemon.la libzl-config.la libzl-ipc.la libzl-event.la libzl-util.la $(UNIT_LIBS)
tests_test_deadline_SOURCES = tests/test-deadline.c
tests_test_deadline_CFLAGS = $(UNIT_CFLAGS)
tests_test_deadline_LDADD = libzl-daemon.la libzl-config.la libzl-ipc.la libzl-event.la libzl-util.la $(UNIT_LIBS)
