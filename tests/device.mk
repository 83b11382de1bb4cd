# Unit tests of src/device.
check_PROGRAMS += tests/test-dtype
TESTS += tests/test-dtype
tests_test_dtype_SOURCES = tests/test-dtype.c
tests_test_dtype_CFLAGS = $(UNIT_CFLAGS)
tests_test_dtype_LDADD = libzl-device.la $(UNIT_LIBS)
