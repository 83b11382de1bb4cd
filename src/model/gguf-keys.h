/* Keys of a GGUF file's architecture, typed and bounded; what the files that describe a GGUF model share. Errors name the
 * key. */
#pragma once

#include "model/arch.h"

/* "block_count" is read as "llama.block_count". An absent key leaves *value as it is, or is an error when `required`. */
int gguf_key_u32(const Model *m, const char *key, bool required, uint32_t *value, Error *e);
int gguf_key_f32(const Model *m, const char *key, bool required, float *value, Error *e);
/* How rows become a vector, by the key "pooling_type"; *ret_rank: they become scores. */
int gguf_key_pooling(const Model *m, Pooling *ret, bool *ret_rank, bool *ret_there, Error *e);

/* An encoder of the BERT family, from the keys that it has besides those of every model to encoder and params. */
int describe_gguf_bert(Model *m, Error *e);
