# Tests that start the real daemon and talk to it as clients do.
