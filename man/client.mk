# Manual pages of src/client and src/cli.
dist_man_MANS += man/zerollama.1 man/libzerollama.3
