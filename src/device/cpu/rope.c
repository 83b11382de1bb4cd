/* Rotary position embedding (Su et al. 2021): the pair i of every head is turned by position * frequency of i.
 *
 * Angles are made in double precision: at position 100000 the first pair's angle, as a float, would be off by some
 * thousandths already. */
#include <math.h>

#include "device/cpu/cpu.h"

enum { PAIRS = 64 }; /* handled at a time */

typedef struct RopeOp {
        float *x;
        Rows rows;
        uint32_t n_heads, head_dim;
        Rope rope;
} RopeOp;

typedef struct Turns {
        uint32_t first, n;
        double frequency[PAIRS];
        float cos[PAIRS], sin[PAIRS];
} Turns;

static void turns_frequencies(Turns *t, const Rope *rope) {
        for (uint32_t i = 0; i < t->n; i++) {
                uint32_t pair = t->first + i;
                t->frequency[i] = rope->scale * pow(rope->base, -2.0 * pair / rope->n_rot);
                if (rope->factors)
                        t->frequency[i] /= rope->factors[pair];
        }
}

static void turns_at(Turns *t, int32_t position) {
        for (uint32_t i = 0; i < t->n; i++) {
                t->cos[i] = (float)cos(position * t->frequency[i]);
                t->sin[i] = (float)sin(position * t->frequency[i]);
        }
}

static void turn(float *head, const Turns *t, const Rope *rope) {
        uint32_t step = rope->style == ROPE_NORMAL ? 2 : 1, other = rope->style == ROPE_NORMAL ? 1 : rope->n_rot / 2;
        for (uint32_t i = 0; i < t->n; i++) {
                float *p = head + (size_t)(t->first + i) * step;
                float a = p[0], b = p[other];
                p[0] = a * t->cos[i] - b * t->sin[i];
                p[other] = a * t->sin[i] + b * t->cos[i];
        }
}

/* Each thread takes some of the heads of all rows. */
static void rope_run(const void *args, const CpuThread *th) {
        const RopeOp *a = args;
        CpuShare mine = cpu_share(th, (size_t)a->rows.n * a->n_heads, 1);
        Turns t;
        for (t.first = 0; t.first < a->rope.n_rot / 2; t.first += PAIRS) {
                size_t row = SIZE_MAX;
                t.n = MIN(a->rope.n_rot / 2 - t.first, (uint32_t)PAIRS);
                turns_frequencies(&t, &a->rope);
                for (size_t head = mine.begin; head < mine.end; head++) {
                        if (head / a->n_heads != row)
                                turns_at(&t, a->rows.position[row = head / a->n_heads]);
                        turn(a->x + head * a->head_dim, &t, &a->rope);
                }
        }
}

void cpu_rope(Stream *s, float *x, const Rows *rows, uint32_t n_heads, uint32_t head_dim, const Rope *rope) {
        stream_record(s, rope_run, &(RopeOp){x, *rows, n_heads, head_dim, *rope}, sizeof(RopeOp));
}
