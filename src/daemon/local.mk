# Files of src/daemon, and the libraries and programs they make.
