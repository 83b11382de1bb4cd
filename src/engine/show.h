/* What a model is understood as, in the JSON that people and APIs are shown. */
#pragma once

#include <jansson.h>

#include "model/model.h"
#include "text/tokenizer.h"
#include "util/error.h"

/* {"format", "family", "families", "parameter_size", "quantization_level", "parent_model", "capabilities"}; NULL: no
 * memory. */
json_t *show_details(const Model *m, const Tokenizer *t);
/* Reads the file and gives the whole answer to SHOW: what a model can do is among its details; besides the Ollama API's keys
 * there is "understood", with what counts of all that the files say. Errors as loaded_open(). */
int show_file(const char *path, json_t **ret, Error *e);
