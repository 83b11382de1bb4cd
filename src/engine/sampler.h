/* A job's wishes as the device's sampling parameters. */
#pragma once

#include "device/device.h"
#include "ipc/ipc.h"
#include "util/error.h"

enum { SAMPLER_BIAS_MAX = 1024 }; /* entries of logit_bias */

/* Fills all but the bias pointers, which are the place of the one who has them on the device. `n_vocab` bounds the
 * biased ids and the alternatives. -EINVAL: a value out of range. */
int sampler_params(const IpcJob *job, uint32_t n_vocab, SampleParams *ret, Error *e);
