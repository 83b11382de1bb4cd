# Unit tests of src/daemon, and the check that its manual pages know every option and route.
include tests/config.mk
check_PROGRAMS += tests/test-user tests/test-histogram tests/test-variant tests/test-registry tests/test-manager tests/test-http-head tests/test-http tests/test-deadline tests/test-daemon
TESTS += tests/test-user tests/test-histogram tests/test-variant tests/test-registry tests/test-manager tests/test-http-head tests/test-http tests/test-deadline tests/test-daemon tests/test-man-daemon.py
dist_check_SCRIPTS += tests/test-man-daemon.py
tests_test_user_SOURCES = tests/test-user.c
tests_test_user_CFLAGS = $(UNIT_CFLAGS)
tests_test_user_LDADD = libzl-daemon.la libzl-config.la libzl-ipc.la libzl-event.la libzl-util.la $(UNIT_LIBS)
tests_test_histogram_SOURCES = tests/test-histogram.c
tests_test_histogram_CFLAGS = $(UNIT_CFLAGS)
tests_test_histogram_LDADD = libzl-daemon.la libzl-config.la libzl-ipc.la libzl-event.la libzl-util.la $(UNIT_LIBS)
tests_test_variant_SOURCES = tests/test-variant.c
tests_test_variant_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_variant_LDADD = libzl-daemon.la libzl-util.la $(UNIT_LIBS)
tests_test_registry_SOURCES = tests/test-registry.c
tests_test_registry_CFLAGS = $(UNIT_CFLAGS)
tests_test_registry_LDADD = libzl-daemon.la libzl-config.la libzl-ipc.la libzl-event.la libzl-util.la $(UNIT_LIBS)
tests_test_manager_SOURCES = tests/test-manager.c
tests_test_manager_CFLAGS = $(UNIT_CFLAGS)
tests_test_manager_LDADD = libzl-daemon.la libzl-config.la libzl-ipc.la libzl-event.la libzl-util.la $(UNIT_LIBS)
tests_test_http_head_SOURCES = tests/test-http-head.c
tests_test_http_head_CFLAGS = $(UNIT_CFLAGS)
tests_test_http_head_LDADD = libzl-daemon.la libzl-util.la $(UNIT_LIBS)
tests_test_http_SOURCES = tests/test-http.c
tests_test_http_CFLAGS = $(UNIT_CFLAGS)
tests_test_http_LDADD = libzl-daemon.la libzl-config.la libzl-ipc.la libzl-event.la libzl-util.la $(UNIT_LIBS)
tests_test_deadline_SOURCES = tests/test-deadline.c
tests_test_deadline_CFLAGS = $(UNIT_CFLAGS)
tests_test_deadline_LDADD = libzl-daemon.la libzl-config.la libzl-ipc.la libzl-event.la libzl-util.la $(UNIT_LIBS)
tests_test_daemon_SOURCES = tests/test-daemon.c
tests_test_daemon_CFLAGS = $(UNIT_CFLAGS)
tests_test_daemon_LDADD = libzl-daemon.la libzl-config.la libzl-ipc.la libzl-event.la libzl-util.la $(UNIT_LIBS)
# What plays logind for it-service.py.
if WITH_SYSTEMD
check_PROGRAMS += tests/fake-logind
endif
tests_fake_logind_SOURCES = tests/fake-logind.c
tests_fake_logind_CFLAGS = $(AM_CFLAGS) $(SYSTEMD_CFLAGS)
tests_fake_logind_LDADD = $(SYSTEMD_LIBS)
