/* A model: what its files say, its weights on a device, and how one step is computed.
 *
 *   model_open()   parses and validates a GGUF file or a Hugging Face directory; touches no device; cheap (the weights
 *                  stay mapped, unread)
 *   model_load()   puts the weights on a device (on the CPU: wraps the map, and touches it so that later steps do not
 *                  wait for the disk); blocks, so it runs on a worker, reporting progress
 *   model_forward() enqueues one step on a stream, of a model that generates text
 *   model_encode()  enqueues one batch on a stream, of a model that makes vectors or scores of texts
 * A model does one of the two: model_encoder() tells which. It is immutable once loaded. One file per architecture
 * family implements ModelArch (llama.c: llama, mistral, qwen2, qwen3, gemma and their like; bert.c: bert, roberta, xlm-roberta, Nomic's, JinaBERT). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/device.h"
#include "model/gguf.h"
#include "model/hf.h"
#include "util/error.h"

typedef struct Model Model;

typedef struct ModelInfo {
        const char *format;      /* "gguf", "safetensors" */
        char architecture[32];   /* "llama" */
        char name[128];          /* general.name, or the base name of file or directory */
        char quantization[16];   /* "Q4_K_M", as the file says, or of most of the weights: "Q8_0" */
        uint64_t n_params;       /* values in all tensors */
        size_t weights_size;     /* bytes */
        uint32_t n_layers, n_embd, n_heads, n_kv_heads, head_dim, n_ff, n_vocab;
        uint32_t context_length; /* trained context */
        uint32_t window;         /* sliding attention window, 0: none */
        uint32_t n_experts, n_experts_used; /* of each layer's network, and for each token; 0: it is one */
} ModelInfo;

/* The KV cache of a model: one arena for all layers, 2 * n_layers equal parts [n_pages, page_size, n_kv_heads,
 * head_dim]: keys of layer 0, values of layer 0, keys of layer 1, … A page is the same page in every part. */
typedef struct KvArena {
        void *data; /* dev, n_pages * model_kv_page_size() bytes */
        Dtype type;
        uint32_t page_size, n_pages;
        const int32_t *block_tables; /* dev [slots, max_pages] */
        uint32_t max_pages;
} KvArena;

/* What a model makes of a text. An embedder's vector is what sentence-transformers' files describe (modules.json,
 * 1_Pooling, 2_Normalize, sentence_bert_config.json); without them the mean, normalised. A reranker's scores are the
 * logits of a sequence classification head, over a text or a pair of texts. */
typedef struct EncoderInfo {
        bool scores;           /* n_out logits of a classification head; else an embedding of n_out values */
        uint32_t n_out;
        Pooling pooling;       /* what feeds the head, too */
        bool normalised;       /* the embedding's length is 1 */
        bool sigmoid;          /* sentence-transformers' CrossEncoder puts this model's scores through a sigmoid;
                                  model_encode() does not */
        uint32_t max_tokens;   /* of a text, special tokens included: what the model has positions for */
        uint32_t usual_tokens; /* where sentence-transformers cuts a text (max_seq_length); at most max_tokens */
        uint32_t n_types;      /* token types are below this; 1 or 0: there is no need to give them */
        bool causal;           /* a decoder: the tokenizer's post-processor decides whether a text ends with EOS */
} EncoderInfo;

/* Errors as gguf_open() and hf_open(), and -EOPNOTSUPP for an architecture or option we do not compute, by name. */
int model_open(const char *path, Model **ret, Error *e);
/* The same, for texts of up to `context` tokens, by which some rotate in one way or another; 0: as long as it was trained with. */
int model_open_for(const char *path, uint32_t context, Model **ret, Error *e);
void model_free(Model *m); /* also frees what model_load() put on the device */
DEFINE_CLEANUP(Model, model_free)

const ModelInfo *model_info(const Model *m);
/* NULL for a model that generates text. */
const EncoderInfo *model_encoder(const Model *m);
/* What it was opened from: of these one is NULL. */
const Gguf *model_gguf(const Model *m);
const HfModel *model_hf(const Model *m);

/* `progress` (may be NULL) gets 0..1 on the calling thread; returning false cancels: -ECANCELED. The device must
 * outlive the model; after an error the model is as before and may be loaded again. */
typedef bool (*ModelProgress)(float done, void *arg);
int model_load(Model *m, Device *d, ModelProgress progress, void *arg, Error *e);

/* Bytes that the weights take on the device; packed matrices are not as large as in the file. SIZE_MAX: too large. */
size_t model_load_size(const Model *m, const Device *d);

/* In what numbers an encoder's matrices are multiplied; to be chosen before model_load(), PRECISION_F32 if it is not.
 * See device.h. */
void model_set_precision(Model *m, Precision p);

/* F32 when the weights are, else F16. */
Dtype model_kv_type(const Model *m);
/* Bytes of one page (all layers, k and v); SIZE_MAX: too large. */
size_t model_kv_page_size(const Model *m, Dtype type, uint32_t page_size);

/* Scratch for steps of at most `max_rows` rows and `max_logits` logit rows; of an encoder: for batches of at most so
 * many tokens and texts. One per stream. */
typedef struct Workspace Workspace;
int workspace_new(const Model *m, Device *d, uint32_t max_rows, uint32_t max_logits, Workspace **ret, Error *e);
void workspace_free(Workspace *w);
DEFINE_CLEANUP(Workspace, workspace_free)
size_t workspace_size(const Model *m, uint32_t max_rows, uint32_t max_logits); /* bytes; SIZE_MAX: too large */

/* Enqueues the forward pass over `rows`, storing their keys and values in `kv`, and returns in *ret_logits where the
 * logits [n_logits, n_vocab] of the rows listed in `logit_index` (dev [n_logits]) will be. n_logits may be 0.
 * *ret_nearly (NULL: not wanted) is the ticket of a mark before the last eighth of the layers, or the last one; 0 when
 * the stream takes none, which the next mark will say. */
void model_forward(Model *m, Workspace *w, Stream *s, const Rows *rows, const KvArena *kv, const int32_t *logit_index,
                   uint32_t n_logits, float **ret_logits, uint64_t *ret_nearly);

/* Texts for an encoder, without padding: text i is tokens [starts[i], starts[i + 1]), 1 to max_tokens of them. Host
 * memory, which model_encode() copies. */
typedef struct EncoderBatch {
        uint32_t n_tokens, n_texts;
        const int32_t *tokens;  /* [n_tokens]; one outside the vocabulary counts as no token at all */
        const int32_t *types;   /* [n_tokens], or NULL: all 0 */
        const uint32_t *starts; /* [n_texts + 1], ascending, from 0 to n_tokens */
} EncoderBatch;

/* Enqueues a batch, and returns in *ret_out where its results [n_texts, n_out] will be on the device, until the
 * workspace's next batch. Each depends on its own text alone, bit for bit. *ret_nearly is model_forward()'s; where it is
 * wanted more marks lie before it, so that a long batch shows that it goes on. */
void model_encode(Model *m, Workspace *w, Stream *s, const EncoderBatch *b, float **ret_out, uint64_t *ret_nearly);
