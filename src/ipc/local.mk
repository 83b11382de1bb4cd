# Files of src/ipc, and the libraries and programs they make.
