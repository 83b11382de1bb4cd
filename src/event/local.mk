# Files of src/event, and the libraries and programs they make.
