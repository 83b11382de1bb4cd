# Tests of etc/, debian/ and the page for operators: the samples as they are, and what is quoted as it is said.
ETC_TESTS = tests/it-haproxy.py tests/it-runit.py tests/test-shell.sh tests/test-man-operations.py
dist_check_SCRIPTS += $(ETC_TESTS)
TESTS += $(ETC_TESTS)
# Takes minutes and root: by hand, see HACKING.md.
EXTRA_DIST += tests/package-check tests/package-boot.py
