/* Values of config.json and of its like, typed and bounded; what the files that describe a Hugging Face directory share.
 * null is the same as absent. Errors name the key. */
#pragma once

#include "model/arch.h"

/* Says what is wrong with a value of config.json. */
#define BAD_VALUE(m, e, code, key, fmt, ...) MODEL_REFUSE(m, e, code, "config.json: '%s' " fmt, key, ##__VA_ARGS__)

/* NULL: absent. */
const json_t *config_get(const json_t *object, const char *key);
/* A number of things, 1 or more. An absent key leaves *value as it is, or is an error when `required`. */
int config_count(const Model *m, const json_t *object, const char *key, bool required, uint32_t *value, Error *e);
int config_positive(const Model *m, const json_t *object, const char *key, bool required, float *value, Error *e);
/* Of config.json's part about texts; absent is false. */
int config_flag(const Model *m, const char *key, bool *value, Error *e);
/* Refuses each of these of config.json that is true. */
int config_refuse_true(const Model *m, const char *const *keys, size_t n, Error *e);
/* The name of the class that config.json was saved from ("BertModel"); "" when it says none. */
int config_class(const Model *m, const char **ret, Error *e);
/* Whether a name ends so. */
bool ends_with(const char *name, const char *end);

/* What config.json of one of gemma's generations says besides, before the sizes are read: defaults of those, too. */
int describe_gemma(Model *m, Error *e);
/* An encoder of the BERT family, from config.json to the sizes in info, params and encoder. */
int describe_bert(Model *m, Error *e);
int describe_nomic(Model *m, Error *e);
/* Of a bert: whether it is a JinaBERT; what of that config.json says besides; and once the weights are open, whether it
 * makes scores. */
bool is_jina(const Model *m);
int describe_jina(Model *m, Error *e);
void describe_jina_head(Model *m);
/* What these have in common: the sizes of heads, and what the class that was saved makes of the rows. */
int describe_encoder_heads(Model *m, const char *key, Error *e);
int describe_encoder_output(Model *m, Error *e);
/* What sentence-transformers' own files say of an embedder: pooling, normalisation, length. Without modules.json *ret is
 * false and nothing is set. Expects encoder.n_out and max_tokens. */
int describe_sentence_transformer(Model *m, bool *ret, Error *e);
/* What the files of the BERT family call the tensor that ggml calls `name`. */
void bert_tensor_name(const Model *m, const char *name, char *buf, size_t size);
Share nomic_tensor_name(const Model *m, const char *name, char *buf, size_t size);
Share jina_tensor_name(const Model *m, const char *name, char *buf, size_t size);
bool bert_ignores(const Model *m, FileText name);
