# Files of src/client: libzerollama, which programs outside link. It takes from util only what it uses, so that they do
# not link what the daemon needs.
include_HEADERS += src/client/zerollama.h
pkgconfigdir = $(libdir)/pkgconfig
pkgconfig_DATA = src/client/libzerollama.pc

lib_LTLIBRARIES += libzerollama.la
libzerollama_la_SOURCES = \
	src/client/zerollama.h src/client/client.h \
	src/client/client.c src/client/address.c src/client/http.c src/client/json.c \
	src/client/generate.c src/client/embed.c src/client/query.c src/client/map.c \
	src/util/buf.c src/util/str.c
libzerollama_la_CFLAGS = $(AM_CFLAGS) $(CURL_CFLAGS) $(JANSSON_CFLAGS) -pthread
libzerollama_la_LDFLAGS = $(AM_LDFLAGS) -version-info 0:0:0 -no-undefined -pthread
libzerollama_la_LIBADD = $(CURL_LIBS) $(JANSSON_LIBS)
