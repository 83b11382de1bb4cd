# Files of src/engine: the engine's parts, and its program for the CPU.
noinst_LTLIBRARIES += libzl-engine.la
libzl_engine_la_SOURCES = \
	src/engine/kv.h src/engine/kv.c \
	src/engine/fair.h src/engine/fair.c \
	src/engine/stop.h src/engine/stop.c \
	src/engine/sampler.h src/engine/sampler.c \
	src/engine/sampler-defaults.h src/engine/sampler-defaults.c \
	src/engine/constraint.h src/engine/constraint.c \
	src/engine/seq.h src/engine/seq.c \
	src/engine/prep.h src/engine/prep.c \
	src/engine/batch.h src/engine/batch.c \
	src/engine/runner.h \
	src/engine/inputs.h src/engine/inputs.c \
	src/engine/tokens.h src/engine/tokens.c \
	src/engine/embed.h src/engine/embed.c \
	src/engine/lane.h src/engine/lane.c \
	src/engine/lookup.h src/engine/lookup.c \
	src/engine/sched.h src/engine/sched.c \
	src/engine/loadtest.h src/engine/loadtest.c \
	src/engine/show.h src/engine/show.c \
	src/engine/loaded.h src/engine/loaded.c \
	src/engine/engine.h src/engine/engine-internal.h \
	src/engine/engine.c src/engine/engine-model.c src/engine/engine-job.c
libzl_engine_la_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
libzl_engine_la_LIBADD = $(JANSSON_LIBS)

# What links an engine, in order; a device is added to it.
ENGINE_LIBS = libzl-engine.la libzl-vocab.la libzl-model.la libzl-text.la libzl-device.la libzl-ipc.la libzl-event.la \
	libzl-util.la

pkglibexec_PROGRAMS += zerollama-engine
zerollama_engine_SOURCES = src/engine/main.c src/engine/open-cpu.c
zerollama_engine_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
zerollama_engine_LDADD = $(ENGINE_LIBS) $(JANSSON_LIBS)
include src/engine/vocab.mk
