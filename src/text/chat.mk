# Chat templates: their files are added to libzl-text here.
