# Files of src/ipc: the messages between daemon and engine.
noinst_LTLIBRARIES += libzl-ipc.la
libzl_ipc_la_SOURCES = src/ipc/ipc.h src/ipc/ipc.c
