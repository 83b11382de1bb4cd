# What man/ installs.
include man/config.mk
include man/client.mk
