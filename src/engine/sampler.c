/* Checks of what a job asks of the sampler; see sampler.h. The daemon checks its clients' requests too, in their own
 * words; here it is about never handing a NaN or a wild id to a device. */
#include <errno.h>
#include <math.h>

#include "engine/sampler.h"
#include "util/macro.h"

static int check_range(const char *name, float v, float lo, float hi, Error *e) {
        if (v >= lo && v <= hi)
                return 0;
        return error_set(e, -EINVAL, "%s is %g, but must be from %g to %g", name, (double)v, (double)lo, (double)hi);
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
        uint32_t set = d->said & ~j->said;
        j->temperature = set & IPC_SAID_TEMPERATURE ? d->temperature : j->temperature;
        j->top_p = set & IPC_SAID_TOP_P ? d->top_p : j->top_p;
        j->min_p = set & IPC_SAID_MIN_P ? d->min_p : j->min_p;
        j->top_k = set & IPC_SAID_TOP_K ? d->top_k : j->top_k;
        j->repeat_penalty = set & IPC_SAID_REPEAT_PENALTY ? d->repeat_penalty : j->repeat_penalty;
        j->penalty_last = set & IPC_SAID_PENALTY_LAST ? d->penalty_last : j->penalty_last;
}

int sampler_params(const IpcJob *j, uint32_t n_vocab, SampleParams *ret, Error *e) {
        const struct {
                const char *name;
                float value, lo, hi;
        } ranges[] = {
                {"temperature", j->temperature, 0, 100},
                {"top_p", j->top_p, 0, 1},
                {"min_p", j->min_p, 0, 1},
                {"repeat_penalty", j->repeat_penalty, 0.01f, 100},
                {"presence_penalty", j->presence_penalty, -100, 100},
                {"frequency_penalty", j->frequency_penalty, -100, 100},
                {"top_logprobs", (float)j->n_top, -1, SAMPLE_TOP_MAX},
        };
        for (size_t i = 0; i < ARRAY_SIZE(ranges); i++)
                if (check_range(ranges[i].name, ranges[i].value, ranges[i].lo, ranges[i].hi, e) < 0)
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
