# What etc/ installs.
dist_doc_DATA += etc/zerollamad.yaml
