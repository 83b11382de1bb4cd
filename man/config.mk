dist_man_MANS += man/zerollamad.yaml.5
