/* The ring of pinned memory; see staging.h. */
#include <string.h>

#include "cuda/staging.h"
#include "util/macro.h"

enum { ALIGN = 16 };

void *staging_take(Staging *s, size_t *n) {
        size_t at = (size_t)(s->head % s->size), left = s->size - (size_t)(s->head - s->tail);
        *n = MIN(*n, MIN(left, s->size - at));
        s->head += MIN((*n + ALIGN - 1) / ALIGN * ALIGN, left);
        return s->data + at;
}

/* With no place for another mark, the last one stands for more, and is reached later. */
void staging_mark(Staging *s, uint64_t ticket) {
        if (s->n_marks == STAGING_MARKS)
                s->n_marks--;
        s->marks[s->n_marks].ticket = ticket;
        s->marks[s->n_marks++].position = s->head;
}

void staging_reached(Staging *s, uint64_t done) {
        uint32_t n = 0;
        while (n < s->n_marks && s->marks[n].ticket <= done)
                s->tail = s->marks[n++].position;
        s->n_marks -= n;
        memmove(s->marks, s->marks + n, s->n_marks * sizeof(s->marks[0]));
}

void staging_clear(Staging *s) {
        s->tail = s->head;
        s->n_marks = 0;
}
