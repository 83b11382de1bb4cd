# Files of src/engine, and the libraries and programs they make.
include src/engine/vocab.mk
