# Unit tests of src/daemon.
include tests/config.mk
TESTS += tests/test-man-daemon.py
dist_check_SCRIPTS += tests/test-man-daemon.py
