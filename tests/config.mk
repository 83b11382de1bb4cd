# Unit test of src/daemon/config.c, and the check that its documentation knows every key.
check_PROGRAMS += tests/test-config tests/config-keys
TESTS += tests/test-config tests/test-man-config.py
tests_test_config_SOURCES = tests/test-config.c
tests_test_config_CFLAGS = $(UNIT_CFLAGS)
tests_test_config_LDADD = libzl-config.la libzl-util.la $(UNIT_LIBS)
tests_config_keys_SOURCES = tests/config-keys.c
tests_config_keys_CFLAGS = $(UNIT_CFLAGS)
tests_config_keys_LDADD = libzl-config.la libzl-util.la
dist_check_SCRIPTS += tests/test-man-config.py
EXTRA_DIST += tests/data/config/full.yaml
