# Files of src/event: one header, two loops, and the worker pool.
noinst_LTLIBRARIES += libzl-event.la
libzl_event_la_SOURCES = src/event/event.h src/event/event-private.h src/event/event.c src/event/work.h src/event/work.c
libzl_event_la_CFLAGS = $(AM_CFLAGS) $(SYSTEMD_CFLAGS)
libzl_event_la_LIBADD = $(SYSTEMD_LIBS) $(EV_LIBS) -lpthread
if WITH_SYSTEMD
libzl_event_la_SOURCES += src/event/event-sd.c
EXTRA_DIST += src/event/event-ev.c
else
libzl_event_la_SOURCES += src/event/event-ev.c
EXTRA_DIST += src/event/event-sd.c
endif
