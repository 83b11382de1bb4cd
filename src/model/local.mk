# Files of src/model, and the libraries and programs they make.
