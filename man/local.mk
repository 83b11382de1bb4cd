# What man/ installs.
include man/client.mk
