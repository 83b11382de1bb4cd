/* A job's wishes as the device's sampling parameters. */
#pragma once

#include "device/device.h"
#include "ipc/ipc.h"
#include "util/error.h"

enum { SAMPLER_BIAS_MAX = 1024 }; /* entries of logit_bias */

/* What a model recommends. */
typedef struct SamplerDefaults {
        uint32_t said; /* IPC_SAID_…: which of these it names */
        float temperature, top_p, min_p, repeat_penalty;
        int32_t top_k, penalty_last;
} SamplerDefaults;

/* One of its fields: what it is called, and what it may be. */
typedef struct SamplerField {
        uint32_t said;
        const char *hf, *gguf, *name; /* in generation_config.json (NULL: not there), in general.sampling, of Ollama */
        double min, max;
        bool whole;            /* an int32_t, else a float */
        size_t offset, in_job; /* in SamplerDefaults and in IpcJob */
} SamplerField;

enum { SAMPLER_FIELDS = 6 };
extern const SamplerField sampler_fields[SAMPLER_FIELDS];

/* Sets the fields of a job that its request does not name. */
void sampler_defaults_apply(const SamplerDefaults *d, IpcJob *job);
/* Fills all but the bias pointers, which are the place of the one who has them on the device. `n_vocab` bounds the
 * biased ids and the alternatives. -EINVAL: a value out of range. */
int sampler_params(const IpcJob *job, uint32_t n_vocab, SampleParams *ret, Error *e);
