# What etc/ installs.
include etc/client.mk
