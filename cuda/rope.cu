/* Rotary position embedding. As on the CPU, angles are made in double precision, and the cosines and sines of a step's
 * rows are made once, by a kernel of their own, and found again by queries and keys of every layer. They are
 * [n, 2, n_rot/2] in the stream's scratch; more rows than fit there are rotated slice by slice. */
#include "cuda/kernel.h"

enum { ROPE_THREADS = 128 };

typedef struct TurnsArgs {
        float *table;
        const int32_t *position;
        Rope rope;
} TurnsArgs;

KERNEL(turns, TurnsArgs, ROPE_THREADS) {
        uint32_t pairs = a.rope.n_rot / 2;
        float *row = a.table + (size_t)blockIdx.x * pairs * 2;
        for (uint32_t i = threadIdx.x; i < pairs; i += blockDim.x) {
                double frequency = a.rope.scale * pow((double)a.rope.base, -2.0 * i / a.rope.n_rot), angle;
                angle = a.position[blockIdx.x] * (a.rope.factors ? frequency / a.rope.factors[i] : frequency);
                row[i] = (float)cos(angle);
                row[pairs + i] = (float)sin(angle);
        }
}

/* Queries and keys of the same rows are one launch. */
enum { ROTATED = 2 };

typedef struct Rotated {
        float *x;
        uint32_t n_heads;
} Rotated;

typedef struct RopeArgs {
        Rotated of[ROTATED];
        const float *table;
        uint32_t count, head_dim, n_rot;
        RopeStyle style;
} RopeArgs;

KERNEL(rope_turn, RopeArgs, ROPE_THREADS) {
        uint32_t pairs = a.n_rot / 2, other = a.style == ROPE_NORMAL ? 1 : pairs;
        const float *cosines = a.table + (size_t)blockIdx.x * pairs * 2, *sines = cosines + pairs;
        for (uint32_t k = 0; k < a.count; k++) {
                float *x = a.of[k].x + (size_t)blockIdx.x * a.of[k].n_heads * a.head_dim;
                for (uint32_t i = threadIdx.x; i < a.of[k].n_heads * pairs; i += blockDim.x) {
                        uint32_t pair = i % pairs;
                        float *p = x + (size_t)(i / pairs) * a.head_dim + (a.style == ROPE_NORMAL ? 2 * pair : pair);
                        float u = p[0], v = p[other];
                        p[0] = u * cosines[pair] - v * sines[pair];
                        p[other] = u * sines[pair] + v * cosines[pair];
                }
        }
}

static bool same_turns(const StreamTurns *t, const int32_t *position, uint32_t n, const Rope *rope) {
        return t->position == position && t->n == n && t->rope.n_rot == rope->n_rot && t->rope.base == rope->base &&
               t->rope.scale == rope->scale && t->rope.factors == rope->factors;
}

static void make_turns(Stream *s, const int32_t *position, uint32_t n, const Rope *rope) {
        StreamTurns *kept = stream_turns(s), wanted = {position, n, *rope};
        if (same_turns(kept, position, n, rope))
                return;
        TurnsArgs args = {stream_scratch(s)->turns, position, *rope};
        StreamLaunch l = {(const void *)turns, {n, 1, 1}, ROPE_THREADS, 0};
        stream_launch(s, &l, &args, sizeof(args));
        *kept = wanted;
}

/* By the turns that are in the table. */
static void rotate(Stream *s, float *x, uint32_t n, uint32_t n_heads, uint32_t head_dim, const Rope *rope) {
        void *last;
        const StreamLaunch *before = stream_newest(s, (const void *)rope_turn, &last);
        RopeArgs *joined = (RopeArgs *)last;
        if (before && before->grid[0] == n && joined->count < ROTATED && joined->of[0].x != x &&
            joined->head_dim == head_dim && joined->n_rot == rope->n_rot && joined->style == rope->style) {
                joined->of[joined->count].x = x;
                joined->of[joined->count++].n_heads = n_heads;
                return;
        }
        RopeArgs args = {{{x, n_heads}}, stream_scratch(s)->turns, 1, head_dim, rope->n_rot, rope->style};
        StreamLaunch l = {(const void *)rope_turn, {n, 1, 1}, ROPE_THREADS, 0};
        stream_launch(s, &l, &args, sizeof(args));
}

HOST void cuda_rope(Stream *s, float *x, const Rows *rows, uint32_t n_heads, uint32_t head_dim, const Rope *rope) {
        if (rope->n_rot < 2)
                return;
        uint32_t most = (uint32_t)(STREAM_TURNS / sizeof(float) / (rope->n_rot / 2 * 2));
        for (uint32_t i = 0; i < rows->n; i += most) {
                uint32_t n = MIN(most, rows->n - i);
                make_turns(s, rows->position + i, n, rope);
                rotate(s, x + (size_t)i * n_heads * head_dim, n, n_heads, head_dim, rope);
        }
}
