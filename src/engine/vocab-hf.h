/* The tokenizer that a Hugging Face directory describes: tokenizer.json, or where there is none SentencePiece's own file
 * (tokenizer.model, sentencepiece.bpe.model, spiece.model), or vocab.txt, or vocab.json and merges.txt; with the special
 * tokens that tokenizer_config.json, generation_config.json and config.json name. */
#pragma once

#include "model/hf.h"
#include "text/tokenizer.h"

/* 0; -EINVAL when a file is malformed; -EOPNOTSUPP when it describes a tokenizer, or a part of one, that is not
 * supported; -ENOENT when there is none of these files; -ENOMEM. Errors name the file and the part. */
int vocab_hf_tokenizer_new(const HfModel *h, Tokenizer **ret, Error *e);
