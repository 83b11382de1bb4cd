/* Fetching over HTTP, for `zerollama pull`: a short document, and a large file, which goes on where it was cut off and counts only
 * when its digest is right. Both follow redirections, but from HTTPS to HTTPS only, and end when the command is interrupted. */
#pragma once

#include <stdint.h>

#include "util/buf.h"
#include "util/error.h"

enum { DIGEST_MAX = 65 }; /* SHA-256 in hexadecimal, terminated */

/* Appends to `ret`. -ENOENT: there is none; -EINTR; -EIO and others. */
int fetch_document(const char *url, const char *accept, Buf *ret, Error *e);
/* One that has a digest. -EBADMSG: it is another. */
int fetch_blob(const char *url, const char *digest, Buf *ret, Error *e);

typedef struct FetchFile {
        const char *url;
        int fd; /* read and written; what is in it already is the beginning of the file, as far as that is not too long */
        uint64_t size;
        const char *digest;
        const char *label; /* what the line of progress calls it */
} FetchFile;

/* Tries again where a connection is lost. -EBADMSG: all is there, and it is not what it should be; -EINTR; -EIO and others. */
int fetch_file(const FetchFile *f, Error *e);
/* Of a whole file of that size, from its beginning. -EINTR, -EIO. */
int file_digest(int fd, uint64_t size, const char *label, char ret[DIGEST_MAX], Error *e);
