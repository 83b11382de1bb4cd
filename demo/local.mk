# What demo/ installs.
