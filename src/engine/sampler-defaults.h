/* How a model's files recommend sampling: it counts where a request says nothing, before the dialect's own defaults.
 *
 *   Hugging Face   generation_config.json: temperature, top_p, min_p, top_k, repetition_penalty (which there looks at the
 *                  whole text); "do_sample": false is temperature 0, whatever else it says
 *   GGUF           general.sampling.temp, top_p, min_p, top_k, penalty_repeat, penalty_last_n
 *
 * What else there may be is not heeded. */
#pragma once

#include "engine/sampler.h"
#include "model/model.h"
#include "util/buf.h"

/* -EINVAL for a value that is none, naming file and key. */
int sampler_defaults_read(const Model *m, SamplerDefaults *ret, Error *e);
/* Appends "NAME VALUE" for each, in the words of the Ollama API: as lines, or after one another with commas. */
void sampler_defaults_write(const SamplerDefaults *d, bool lines, Buf *out);
