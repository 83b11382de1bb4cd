/* A model as Hugging Face publishes it: a directory of
 *
 *   config.json                   what it is and its sizes; without it a directory is no model
 *   model.safetensors             the weights, or
 *   model.safetensors.index.json  which of several safetensors files ("shards") has which tensor
 *   generation_config.json, tokenizer_config.json, chat_template.jinja   may be absent
 *   tokenizer.json and the like   read by the engine's vocab-hf
 *
 * hf_open() reads the small files; hf_open_weights() opens all the weights and checks them against the index. What the
 * configuration means is model-hf's to say. Nothing outside the directory is opened by a name that stands in it. Errors
 * name the file and the reason. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "model/safetensors.h"

typedef struct HfModel HfModel;

int hf_open(const char *path, HfModel **ret, Error *e);
int hf_open_weights(HfModel *h, Error *e);
void hf_free(HfModel *h);
DEFINE_CLEANUP(HfModel, hf_free)

const char *hf_label(const HfModel *h); /* what messages call it: the directory */
const json_t *hf_config(const HfModel *h);
/* Of a model that sees images, too: what it is as far as it reads texts, as others have it for their model_type; NULL: of
 * another. */
const char *hf_text_type(const HfModel *h);
const json_t *hf_text_config(const HfModel *h); /* likewise what is said of that, apart or with the rest; else config.json */
const json_t *hf_generation_config(const HfModel *h); /* an object; empty where there is no such file */
const json_t *hf_tokenizer_config(const HfModel *h);  /* as above */
/* A file of the directory, by a name that we chose. As model_file_open(). */
int hf_open_file(const HfModel *h, const char *name, ModelFile *ret, Error *e);
/* A JSON object, or array, of the directory, which the caller owns. `name` leads to no place outside. -ENOENT when there
 * is no such file. */
int hf_read_json(const HfModel *h, const char *name, json_t **ret, Error *e);
int hf_read_json_array(const HfModel *h, const char *name, json_t **ret, Error *e);
/* Whether a name that stands in a file leads to nowhere else than a file of its directory. */
bool hf_is_plain(const char *name);
/* The chat template of that name. Where there is but one it is the "default": chat_template.jinja, else tokenizer_config.json's
 * chat_template. -ENOENT when
 * there is none; -EINVAL when it is no text. Lives as long as the HfModel. */
int hf_chat_template(const HfModel *h, const char *name, FileText *ret, Error *e);

size_t hf_n_files(const HfModel *h);
const ModelFile *hf_file_at(const HfModel *h, size_t i); /* of the weights */
/* All tensors of all files. Their names are unique. */
size_t hf_n_tensors(const HfModel *h);
const Tensor *hf_tensors(const HfModel *h);

/* Says why, with the directory's name, and returns `code`. */
#define HF_REFUSE(h, e, code, fmt, ...)                                                                                \
        ({                                                                                                             \
                int _code = (code);                                                                                    \
                error_set(e, _code, "%s: " fmt, hf_label(h), ##__VA_ARGS__);                                           \
                _code;                                                                                                 \
        })
