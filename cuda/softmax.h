/* The online softmax (Milakov and Gimelshein 2018) of two lines of a tile of scores, as both attentions do it. Included by
 * kernels only. */
#pragma once

#include "cuda/kernel.h"

#define NOTHING (-INFINITY) /* the maximum of no positions */

/* What a warp has so far: lane 4g + t of lines g and g + 8. */
typedef struct Strand {
        uint32_t begin[2], end[2]; /* positions that the lines see; none for a line that is not used */
        float max[2], sum[2];
        float out[HEAD_DIM_MAX / 8][4];
} Strand;

DEVICE float lane_max(float v) { /* of the four lanes of a line */
        v = fmaxf(v, __shfl_xor_sync(0xffffffff, v, 1));
        return fmaxf(v, __shfl_xor_sync(0xffffffff, v, 2));
}

/* score[tile][i]: of line g (i < 2) or g + 8 with position begin + 8 tile + 2t + i % 2. Scores, scaled and capped (0: they
 * are not), become weights; what the strand has so far is brought to the new maximum. */
DEVICE void weigh(int width, int tiles, float scale, float cap, Strand *s, uint32_t begin, float (*score)[4]) {
        uint32_t t = threadIdx.x % 4;
        UNROLL for (int half = 0; half < 2; half++) { /* line g, line g + 8 */
                float most = s->max[half], sum = 0;
                UNROLL for (int i = 0; i < 2 * tiles; i++) {
                        float *x = &score[i / 2][half * 2 + i % 2];
                        uint32_t position = begin + (uint32_t)i / 2 * 8 + 2 * t + (uint32_t)i % 2;
                        bool seen = position >= s->begin[half] && position < s->end[half];
                        *x = !seen ? NOTHING : cap > 0 ? softcapped(*x * scale, cap) : *x * scale;
                        most = fmaxf(most, *x);
                }
                most = lane_max(most);
                float base = most == NOTHING ? 0 : most, shrink = expf(s->max[half] - base);
                UNROLL for (int i = 0; i < 2 * tiles; i++) {
                        float *x = &score[i / 2][half * 2 + i % 2];
                        *x = expf(*x - base);
                        sum += *x;
                }
                s->sum[half] = fmaf(s->sum[half], shrink, lane_sum(sum));
                s->max[half] = most;
                UNROLL for (int j = 0; j < width / 8; j++) {
                        s->out[j][half * 2] *= shrink;
                        s->out[j][half * 2 + 1] *= shrink;
                }
        }
}
