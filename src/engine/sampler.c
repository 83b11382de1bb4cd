/* Checks of what a job asks of the sampler; see sampler.h. The daemon checks its clients' requests too, in their own
 * words; here it is about never handing a NaN or a wild id to a device. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "engine/sampler.h"
#include "util/macro.h"

const SamplerField sampler_fields[SAMPLER_FIELDS] = {
#define FIELD(member) offsetof(SamplerDefaults, member), offsetof(IpcJob, member)
        {IPC_SAID_TEMPERATURE, "temperature", "temp", "temperature", 0, 100, false, FIELD(temperature)},
        {IPC_SAID_TOP_K, "top_k", "top_k", "top_k", INT32_MIN, INT32_MAX, true, FIELD(top_k)},
        {IPC_SAID_TOP_P, "top_p", "top_p", "top_p", 0, 1, false, FIELD(top_p)},
        {IPC_SAID_MIN_P, "min_p", "min_p", "min_p", 0, 1, false, FIELD(min_p)},
        {IPC_SAID_REPEAT_PENALTY, "repetition_penalty", "penalty_repeat", "repeat_penalty", 0.01, 100, false,
         FIELD(repeat_penalty)},
        {IPC_SAID_PENALTY_LAST, NULL, "penalty_last_n", "repeat_last_n", -1, INT32_MAX, true, FIELD(penalty_last)},
};

static int check_range(const char *name, float v, double min, double max, Error *e) {
        if (v >= (float)min && v <= (float)max)
                return 0;
        return error_set(e, -EINVAL, "%s is %g, but must be from %g to %g", name, (double)v, min, max);
}

static int check_bias(const IpcJob *j, uint32_t n_vocab, Error *e) {
        if (j->bias_ids.n != j->bias.n)
                return error_set(e, -EINVAL, "logit_bias has %u tokens but %u values", j->bias_ids.n, j->bias.n);
        if (j->bias.n > SAMPLER_BIAS_MAX)
                return error_set(e, -EINVAL, "logit_bias has %u entries, at most %d are supported", j->bias.n,
                                 SAMPLER_BIAS_MAX);
        for (uint32_t i = 0; i < j->bias.n; i++) {
                int32_t id = j->bias_ids.data[i];
                if (id < 0 || (uint32_t)id >= n_vocab)
                        return error_set(e, -EINVAL,
                                         "logit_bias names token %d, but the model's vocabulary has %u tokens", id,
                                         n_vocab);
                if (isnan(j->bias.data[i]) || j->bias.data[i] == INFINITY)
                        return error_set(e, -EINVAL, "the logit_bias of token %d is not a finite number", id);
        }
        return 0;
}

void sampler_defaults_apply(const SamplerDefaults *d, IpcJob *j) {
        for (size_t i = 0; i < SAMPLER_FIELDS; i++) {
                const SamplerField *f = &sampler_fields[i];
                if (d->said & ~j->said & f->said)
                        memcpy((char *)j + f->in_job, (const char *)d + f->offset, sizeof(float)); /* or int32_t */
        }
}

int sampler_params(const IpcJob *j, uint32_t n_vocab, SampleParams *ret, Error *e) {
        const struct {
                const char *name;
                float value;
                double min, max;
        } others[] = {
                {"presence_penalty", j->presence_penalty, -100, 100},
                {"frequency_penalty", j->frequency_penalty, -100, 100},
                {"top_logprobs", (float)j->n_top, -1, SAMPLE_TOP_MAX},
        };
        for (size_t i = 0; i < SAMPLER_FIELDS; i++) {
                const SamplerField *f = &sampler_fields[i];
                float v;
                memcpy(&v, (const char *)j + f->in_job, sizeof(v));
                if (!f->whole && check_range(f->name, v, f->min, f->max, e) < 0)
                        return -EINVAL;
        }
        for (size_t i = 0; i < ARRAY_SIZE(others); i++)
                if (check_range(others[i].name, others[i].value, others[i].min, others[i].max, e) < 0)
                        return -EINVAL;
        int r = check_bias(j, n_vocab, e);
        if (r < 0)
                return r;
        *ret = (SampleParams){
                .temperature = j->temperature,
                .top_p = j->top_p,
                .min_p = j->min_p,
                .top_k = MAX(j->top_k, 0),
                .repeat_penalty = j->repeat_penalty,
                .presence_penalty = j->presence_penalty,
                .frequency_penalty = j->frequency_penalty,
                .penalty_last = MAX(j->penalty_last, -1),
                .n_top = MIN(j->n_top, (int32_t)n_vocab),
                .seed = j->seed,
                .n_bias = (int32_t)j->bias.n,
        };
        return 0;
}
