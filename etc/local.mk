# What etc/ installs.
