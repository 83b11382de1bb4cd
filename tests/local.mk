# Tests mirror the sources: tests/test-X.c is for src/*/X.c. Each room lists its unit tests in its own part below.
if WITH_CMOCKA
UNIT_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) -I$(top_srcdir)/tests
UNIT_LIBS = $(CMOCKA_LIBS)
# Those that take longest come first, so that the short ones fill what is left beside them.
include tests/integration.mk
include tests/cuda.mk
include tests/util.mk
include tests/event.mk
include tests/ipc.mk
include tests/device.mk
include tests/model.mk
include tests/text.mk
include tests/engine.mk
include tests/daemon.mk
include tests/api.mk
include tests/client.mk
endif
include tests/etc.mk
# Where tests find real data; those that need it skip, visibly, when it is absent.
EXTRA_DIST += tests/unit.h
AM_TESTS_ENVIRONMENT = \
	ZEROLLAMA_TEST_DATA='$(abs_top_srcdir)/../shared/data'; export ZEROLLAMA_TEST_DATA; \
	top_srcdir='$(abs_top_srcdir)'; export top_srcdir; \
	top_builddir='$(abs_top_builddir)'; export top_builddir; \
	PYTHON='$(PYTHON)'; export PYTHON;
