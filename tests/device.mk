# Unit tests of src/device.
