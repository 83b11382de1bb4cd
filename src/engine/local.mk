# Files of src/engine, and the libraries and programs they make.
