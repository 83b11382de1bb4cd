# Files of src/cli, and the libraries and programs they make.
