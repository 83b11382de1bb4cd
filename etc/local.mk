# What etc/ installs: samples, each to be copied and adapted.
examplesdir = $(docdir)/examples
haproxydir = $(examplesdir)/haproxy
openrcdir = $(examplesdir)/openrc
runitdir = $(examplesdir)/runit/zerollamad
runitlogdir = $(runitdir)/log
dist_examples_DATA = etc/zerollamad.yaml
dist_haproxy_DATA = etc/haproxy/zerollama.cfg
dist_openrc_SCRIPTS = etc/openrc/zerollamad
dist_runit_SCRIPTS = etc/runit/zerollamad/run etc/runit/zerollamad/check
dist_runitlog_SCRIPTS = etc/runit/zerollamad/log/run
include etc/client.mk
