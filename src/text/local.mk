# Files of src/text, and the libraries and programs they make.
