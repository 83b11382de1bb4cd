# Files of src/device, and the libraries and programs they make.
