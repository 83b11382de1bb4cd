# Unit tests of src/ipc.
