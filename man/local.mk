# What man/ installs.
include man/config.mk
