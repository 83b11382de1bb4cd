# Tests of etc/ and debian/: the samples as they are, under load where that is what they are for.
ETC_TESTS = tests/it-haproxy.py tests/it-runit.py tests/test-shell.sh
dist_check_SCRIPTS += $(ETC_TESTS)
TESTS += $(ETC_TESTS)
# Takes minutes and root: by hand, see HACKING.md.
EXTRA_DIST += tests/package-check tests/package-boot.py
