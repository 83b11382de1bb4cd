# Files of src/daemon: sockets, users, HTTP, jobs, pools; and the program zerollamad.
noinst_LTLIBRARIES += libzl-daemon.la
libzl_daemon_la_SOURCES = \
	src/daemon/daemon.h src/daemon/daemon.c \
	src/daemon/manager.h src/daemon/manager.c \
	src/daemon/state.h src/daemon/state.c \
	src/daemon/message.h \
	src/daemon/user.h src/daemon/user.c \
	src/daemon/histogram.h src/daemon/histogram.c \
	src/daemon/deadline.h src/daemon/deadline.c \
	src/daemon/listen.h src/daemon/listen.c \
	src/daemon/http-head.h src/daemon/http-head.c \
	src/daemon/http.h src/daemon/http.c \
	src/daemon/variant.h src/daemon/variant.c \
	src/daemon/registry.h src/daemon/registry.c \
	src/daemon/job.h src/daemon/job.c \
	src/daemon/program.h src/daemon/program.c \
	src/daemon/pool.h src/daemon/pool.c
libzl_daemon_la_CFLAGS = $(AM_CFLAGS) $(SYSTEMD_CFLAGS) $(JANSSON_CFLAGS)
libzl_daemon_la_LIBADD = $(SYSTEMD_LIBS) $(JANSSON_LIBS) -lm
libzl_daemon_la_SOURCES += src/daemon/sleep.h
if WITH_SYSTEMD
libzl_daemon_la_SOURCES += src/daemon/sleep.c
else
EXTRA_DIST += src/daemon/sleep.c
endif

sbin_PROGRAMS += zerollamad
zerollamad_SOURCES = src/daemon/main.c
zerollamad_CFLAGS = $(AM_CFLAGS)
zerollamad_LDADD = libzl-api.la libzl-split.la libzl-daemon.la libzl-config.la libzl-ipc.la libzl-event.la libzl-util.la
include src/daemon/config.mk
