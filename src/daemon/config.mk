# The configuration, apart from the rest of src/daemon: tests and documentation checks link it alone.
noinst_LTLIBRARIES += libzl-config.la
libzl_config_la_SOURCES = \
	src/daemon/config.h src/daemon/config.c \
	src/daemon/config-doc.h src/daemon/config-doc.c
libzl_config_la_CFLAGS = $(AM_CFLAGS) $(CYAML_CFLAGS) $(YAML_CFLAGS)
libzl_config_la_LIBADD = $(CYAML_LIBS) $(YAML_LIBS)
