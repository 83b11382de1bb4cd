# Unit tests of src/daemon.
include tests/config.mk
