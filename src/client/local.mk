# Files of src/client, and the libraries and programs they make.
