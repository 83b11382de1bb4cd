# What man/ installs.
dist_man_MANS += man/zerollamad.8 man/zerollama-api.7 man/zerollama-operations.7
include man/config.mk
include man/client.mk
include man/engine.mk
