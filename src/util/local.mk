# Files of src/util: what every other room stands on.
noinst_LTLIBRARIES += libzl-util.la
libzl_util_la_SOURCES = \
	src/util/macro.h src/util/checked.h src/util/list.h \
	src/util/error.h src/util/error.c \
	src/util/buf.h src/util/buf.c \
	src/util/map.h src/util/map.c \
	src/util/heap.h src/util/heap.c \
	src/util/str.h src/util/str.c \
	src/util/place.h src/util/place.c \
	src/util/log.h src/util/log.c
