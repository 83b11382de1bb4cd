# What etc/ installs.
dist_doc_DATA += etc/zerollamad.yaml
include etc/client.mk
