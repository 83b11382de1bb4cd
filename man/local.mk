# What man/ installs.
