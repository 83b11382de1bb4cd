# Files of src/api, and the libraries and programs they make.
