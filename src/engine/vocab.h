/* The tokenizer that a GGUF file describes in its tokenizer.ggml.* metadata. */
#pragma once

#include "model/gguf.h"
#include "text/tokenizer.h"

/* 0; -EINVAL when the metadata is malformed; -EOPNOTSUPP when it describes a tokenizer that is not supported, -ENOENT
 * when it describes none; -ENOMEM. Errors name the key. */
int vocab_tokenizer_new(const Gguf *g, Tokenizer **ret, Error *e);
