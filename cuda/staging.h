/* Pinned host memory that copies between host and device go through: a ring. With memory that is not pinned the runtime
 * would wait for the copy.
 *
 * Bytes may be overwritten when a mark after their copy was reached. Positions count all bytes ever put in; the ring's
 * place of position p is p modulo its size. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { STAGING_MARKS = 16 };

typedef struct Staging {
        char *data; /* pinned [size] */
        size_t size;
        uint64_t head, tail; /* in use are the positions from tail to head */
        struct {
                uint64_t ticket, position; /* when the ticket is reached, all before the position is free */
        } marks[STAGING_MARKS];            /* in order */
        uint32_t n_marks;
} Staging;

/* The next place, of as many as *n contiguous bytes, which is reduced to what there is: 0 when the ring is full. */
void *staging_take(Staging *s, size_t *n);
/* What was taken is in use until `ticket` is reached. */
void staging_mark(Staging *s, uint64_t ticket);
/* Frees what is in use no more. */
void staging_reached(Staging *s, uint64_t done);
/* Nothing is in use. */
void staging_clear(Staging *s);
