# Manual pages of src/engine.
dist_man_MANS += man/zerollama-engine.8
