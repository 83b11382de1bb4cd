# Files of src/device, and the libraries and programs they make.
noinst_LTLIBRARIES += libzl-device.la
libzl_device_la_SOURCES = \
	src/device/dtype.h src/device/dtype.c
libzl_device_la_CFLAGS = $(AM_CFLAGS)
