/* The end of a product, whatever made it: what the sums of a tile become, and what of the output. Included by kernels only. */
#pragma once

#include "device/cpu/activate.h"
#include "device/cpu/kernels.h"

enum { NV = 2, NR = NV * LANES }; /* a panel is as wide */

/* Of `mr` rows from `row` on. */
INLINE void finish_as(Activation activation, const CpuProduct *a, int mr, Vec sum[][NV], size_t row) {
        UNROLL for (size_t v = 0; v < NV; v++) {
                if (v * LANES >= a->n_out)
                        break;
                size_t n = a->n_out - v * LANES;
                bool whole = n >= LANES;
                Vec bias = !a->bias ? splat(0) : whole ? load(a->bias + v * LANES) : load_part(a->bias + v * LANES, n);
                float *out = a->out + row * a->out_stride + v * LANES;
                for (int r = 0; r < mr; r++, out += a->out_stride) {
                        Vec y = activate(activation, sum[r][v] + bias);
                        if (a->update != UPDATE_SET) {
                                Vec before = whole ? load(out) : load_part(out, n);
                                y = a->update == UPDATE_ADD ? before + y : before * y;
                        }
                        if (whole)
                                store(out, y);
                        else
                                store_part(out, y, n);
                }
        }
}

INLINE void finish(const CpuProduct *a, int mr, Vec sum[][NV], size_t row) {
        switch (a->activation) {
        case ACTIVATION_GELU:
                finish_as(ACTIVATION_GELU, a, mr, sum, row);
                break;
        case ACTIVATION_NONE:
                finish_as(ACTIVATION_NONE, a, mr, sum, row);
                break;
        default:
                finish_as(a->activation, a, mr, sum, row);
        }
}
