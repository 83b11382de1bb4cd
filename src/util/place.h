/* Files that come into their place, and leave it, whole or not at all. All of it may wait for a disk. */
#pragma once

#include <stddef.h>

/* As mkdir -p. A negative errno. */
int place_directory(const char *path);
/* Makes `fd`, all that was written to the file `from`, the file `to` of the same file system, instead of what was there: whoever
 * opens `to`, also after a power cut, sees the old or all of the new. A negative errno. */
int place_file(int fd, const char *from, const char *to);
/* A new file `path` of `n` bytes, or instead of the one that was there, and the directories it lies in. A negative errno, and no
 * file has changed. */
int place_text(const char *path, const char *text, size_t n);
/* Takes a file, or a directory with all that is in it, away. A negative errno, and nothing has changed: -EACCES or so where a part
 * of it may not be removed. A positive errno: it is gone from its place, but what of it could not be removed lies hidden beside it;
 * the next removal there tries again. Links are removed, not followed. */
int place_remove(const char *path);
