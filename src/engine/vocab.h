/* The tokenizer that a GGUF file describes in its tokenizer.ggml.* metadata. */
#pragma once

#include "model/gguf.h"
#include "text/tokenizer.h"

/* 0; -EINVAL when the metadata is malformed; -EOPNOTSUPP when it describes a tokenizer that is not supported, -ENOENT
 * when it describes none; -ENOMEM. Errors name the key. */
int vocab_tokenizer_new(const Gguf *g, Tokenizer **ret, Error *e);

/* What SentencePiece's normalizer does, into `steps`, and how many they are: its map, which may be empty, then no spaces at
 * the ends and one at a time between. */
enum { SENTENCEPIECE_STEPS = 3 };
size_t sentencepiece_normalizer(NormalizerText charsmap, bool remove_extra, NormalizerStep steps[SENTENCEPIECE_STEPS]);
