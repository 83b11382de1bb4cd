/* A language model: what its files say, its weights on a device, and how one step is computed.
 *
 *   model_open()   parses and validates a GGUF file or a Hugging Face directory; touches no device; cheap (the weights
 *                  stay mapped, unread)
 *   model_load()   puts the weights on a device (on the CPU: wraps the map, and touches it so that later steps do not
 *                  wait for the disk); blocks, so it runs on a worker, reporting progress
 *   model_forward() enqueues one step on a stream
 * A model is immutable once loaded. One file per architecture family implements ModelArch (llama.c: llama, mistral,
 * qwen2, qwen3). */
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
        char quantization[16];   /* of most of the weights: "Q8_0" */
        uint64_t n_params;       /* values in all tensors */
        size_t weights_size;     /* bytes */
        uint32_t n_layers, n_embd, n_heads, n_kv_heads, head_dim, n_ff, n_vocab;
        uint32_t context_length; /* trained context */
        uint32_t window;         /* sliding attention window, 0: none */
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

/* Errors as gguf_open() and hf_open(), and -EOPNOTSUPP for an architecture or option we do not compute, by name. */
int model_open(const char *path, Model **ret, Error *e);
void model_free(Model *m); /* also frees what model_load() put on the device */
DEFINE_CLEANUP(Model, model_free)

const ModelInfo *model_info(const Model *m);
/* What it was opened from: of these one is NULL. */
const Gguf *model_gguf(const Model *m);
const HfModel *model_hf(const Model *m);

/* `progress` (may be NULL) gets 0..1 on the calling thread; returning false cancels: -ECANCELED. The device must
 * outlive the model; after an error the model is as before and may be loaded again. */
typedef bool (*ModelProgress)(float done, void *arg);
int model_load(Model *m, Device *d, ModelProgress progress, void *arg, Error *e);

/* F32 when the weights are, else F16. */
Dtype model_kv_type(const Model *m);
/* Bytes of one page (all layers, k and v); SIZE_MAX: too large. */
size_t model_kv_page_size(const Model *m, Dtype type, uint32_t page_size);

/* Scratch for steps of at most `max_rows` rows and `max_logits` logit rows. One per stream. */
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
