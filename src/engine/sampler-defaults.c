/* A model's own sampling parameters; see sampler-defaults.h. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/sampler-defaults.h"

static int set(SamplerDefaults *d, const SamplerField *f, const char *label, const char *key, double v, Error *e) {
        void *at = (char *)d + f->offset;
        if (!(v >= f->min && v <= f->max) || (f->whole && v != floor(v)))
                return error_set(e, -EINVAL, "%s: '%s' is %g, should be %s from %g to %g", label, key, v,
                                 f->whole ? "a whole number" : "a number", f->min, f->max);
        if (f->whole)
                memcpy(at, &(int32_t){(int32_t)MAX(v, -1)}, sizeof(int32_t));
        else
                memcpy(at, &(float){(float)v}, sizeof(float));
        d->said |= f->said;
        return 0;
}

static int read_hf(const HfModel *h, SamplerDefaults *d, Error *e) {
        const json_t *config = hf_generation_config(h), *sample = json_object_get(config, "do_sample");
        char key[64];
        for (size_t i = 0; i < SAMPLER_FIELDS; i++) {
                const json_t *v = sampler_fields[i].hf ? json_object_get(config, sampler_fields[i].hf) : NULL;
                if (!v || json_is_null(v))
                        continue;
                snprintf(key, sizeof(key), "generation_config.json: %s", sampler_fields[i].hf);
                int r = set(d, &sampler_fields[i], hf_label(h), key, json_is_number(v) ? json_number_value(v) : NAN, e);
                if (r < 0)
                        return r;
        }
        if (sample && !json_is_null(sample) && !json_is_boolean(sample))
                return HF_REFUSE(h, e, -EINVAL, "generation_config.json: 'do_sample' should be true or false");
        if (json_is_false(sample)) {
                d->temperature = 0;
                d->said |= IPC_SAID_TEMPERATURE;
        }
        if (d->said & IPC_SAID_REPEAT_PENALTY) {
                d->penalty_last = -1;
                d->said |= IPC_SAID_PENALTY_LAST;
        }
        return 0;
}

static int read_gguf(const Gguf *g, SamplerDefaults *d, Error *e) {
        char key[64];
        for (size_t i = 0; i < SAMPLER_FIELDS; i++) {
                double v;
                snprintf(key, sizeof(key), "general.sampling.%s", sampler_fields[i].gguf);
                int r = gguf_get_f64(g, key, &v, e);
                if (r == 0)
                        r = set(d, &sampler_fields[i], gguf_file(g)->label, key, v, e);
                if (r < 0 && r != -ENOENT)
                        return r;
        }
        return 0;
}

int sampler_defaults_read(const Model *m, SamplerDefaults *ret, Error *e) {
        SamplerDefaults d = {0};
        int r = model_hf(m) ? read_hf(model_hf(m), &d, e) : read_gguf(model_gguf(m), &d, e);
        if (r == 0)
                *ret = d;
        return r;
}

void sampler_defaults_write(const SamplerDefaults *d, bool lines, Buf *out) {
        const char *between = lines ? "\n" : ", ";
        for (size_t i = 0; i < SAMPLER_FIELDS; i++) {
                const void *at = (const char *)d + sampler_fields[i].offset;
                if (!(d->said & sampler_fields[i].said))
                        continue;
                double v = sampler_fields[i].whole ? *(const int32_t *)at : (double)*(const float *)at;
                buf_printf(out, "%s%-*s %g", out->len > 0 ? between : "", lines ? 30 : 0, sampler_fields[i].name, v);
        }
}
