/* What model.c and the architecture families share; private to this room.
 *
 * A family's open() reads the metadata into m->info and *claims* every tensor it will use, giving shape and the place
 * where the weight's device address goes. A tensor that nobody claimed would change the result if it were ignored, so
 * model_open() refuses the file. model_load() then knows all there is to load, and no family deals with it. */
#pragma once

#include "model/model.h"

enum { WORKSPACE_PARTS = 12 };

/* A claimed tensor: either a matrix, used as it is in the file, or a vector, loaded as float32. */
typedef struct Weight {
        const GgufTensor *tensor;
        Matrix *matrix;
        const float **vector;
} Weight;

/* A scratch matrix of float32; none where rows or cols are 0. */
typedef struct WorkspacePart {
        size_t rows, cols;
} WorkspacePart;

struct Workspace {
        Device *device;
        Buffer buffer;
        uint32_t max_rows, max_logits;
        float *part[WORKSPACE_PARTS]; /* dev */
};

typedef struct ModelArch {
        const char *const *names; /* values of general.architecture, NULL-terminated */
        int (*open)(Model *m, Error *e);
        void (*parts)(const Model *m, size_t rows, size_t logits, WorkspacePart parts[static WORKSPACE_PARTS]);
        void (*forward)(const Model *m, Workspace *w, Stream *s, const Rows *rows, const KvArena *kv,
                        const int32_t *logit_index, uint32_t n_logits, float **ret_logits);
} ModelArch;

extern const ModelArch arch_llama;

struct Model {
        Gguf *gguf;
        ModelInfo info;
        Dtype type; /* of most of the weights */
        const ModelArch *arch;
        void *graph; /* the family's own; released with free() */
        Weight *weights;
        size_t n_weights;
        bool *claimed;  /* [tensors of the file] */
        Device *device; /* NULL: not loaded */
        Buffer matrices, vectors;
};

/* Says why, with the file's name, and returns `code`. */
#define MODEL_REFUSE(m, e, code, fmt, ...)                                                                             \
        ({                                                                                                             \
                int _code = (code);                                                                                    \
                error_set(e, _code, "%s: " fmt, gguf_label((m)->gguf), ##__VA_ARGS__);                                 \
                _code;                                                                                                 \
        })

/* Keys of the architecture: "block_count" is read as "llama.block_count". An absent key leaves *value as it is, or
 * is an error when `required`. */
int model_u32(const Model *m, const char *key, bool required, uint32_t *value, Error *e);
int model_f32(const Model *m, const char *key, bool required, float *value, Error *e);

/* Claims a tensor of exactly this shape. `ret` must stay where it is; its data is set by model_load(). An optional
 * tensor that is absent leaves `ret` zero. */
int model_claim_matrix(Model *m, const char *name, uint64_t cols, uint64_t rows, bool optional, Matrix *ret, Error *e);
int model_claim_vector(Model *m, const char *name, uint64_t n, bool optional, const float **ret, Error *e);

/* Layer `l` of the arena. */
KvLayer model_kv_layer(const Model *m, const KvArena *kv, uint32_t l);
