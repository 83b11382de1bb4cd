# What systemd/ installs: units with the paths of this installation, the user, directories, the preset, messages.
UNITS = systemd/zerollamad.service systemd/zerollamad.socket systemd/zerollamad-tcp.socket
UNITS_TMPFILES = systemd/tmpfiles.d/zerollama.conf
EXTRA_DIST += $(UNITS:=.in) $(UNITS_TMPFILES:=.in)
CLEANFILES += $(UNITS) $(UNITS_TMPFILES)
systemd/%: systemd/%.in Makefile
	$(AM_V_GEN)$(MKDIR_P) $(@D) && sed -e 's|@sbindir[@]|$(sbindir)|g' -e 's|@bindir[@]|$(bindir)|g' \
		-e 's|@runstatedir[@]|$(runstatedir)|g' '$<' >$@.new && mv $@.new $@
dist_doc_DATA += systemd/gpu.conf

EXTRA_DIST += systemd/sysusers.d/zerollama.conf systemd/80-zerollama.preset systemd/zerollama.catalog
if WITH_UNITS
systemdsystemunit_DATA = $(UNITS)
tmpfiles_DATA = $(UNITS_TMPFILES)
sysusers_DATA = systemd/sysusers.d/zerollama.conf
systemdsystempreset_DATA = systemd/80-zerollama.preset
catalog_DATA = systemd/zerollama.catalog
endif
