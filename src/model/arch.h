/* What model.c, the file formats and the architecture families share; private to this room.
 *
 * A *format* (model-gguf.c, model-hf.c) opens files and describes the model in one way, whatever the files are like:
 * sizes in m->info, m->params, of an encoder m->encoder, and tensors. A *family* (llama.c, bert.c) *claims* every tensor it will use by ggml's name for
 * it, giving shape and the place where the weight's device address goes; the format knows what its files call that
 * tensor. One that nobody claimed would change the result if it were left out, so model_open() refuses the model.
 * model_load() then knows all there is to load, and no family deals with it. */
#pragma once

#include "model/model.h"
#include "util/map.h"

enum { EXPERTS_MAX = 512 };
/* Which of how many equal parts of a tensor's rows, `n` of them (0: one) from `index` on; of 0: all rows. */
typedef struct Share {
        uint16_t index, of, n;
} Share;

enum { WORKSPACE_PARTS = 13, WORKSPACE_IDS = WORKSPACE_PARTS - 1 };
/* In WORKSPACE_IDS an encoder has tokens, positions and types of all rows, and the starts of the texts. */

/* Does a model of these files have this tensor? MAYBE: it does if the tensor is there. */
typedef enum Presence { PRESENT_MAYBE, PRESENT_YES, PRESENT_NO } Presence;

/* What config.json of a family says, or what goes without saying. */
typedef enum BiasRule { BIAS_AS_SAID, BIAS_ALWAYS, BIAS_NEVER } BiasRule;
typedef enum WindowRule { WINDOW_NEVER, WINDOW_AS_SAID, WINDOW_IF_USED /* … by use_sliding_window */ } WindowRule;

/* What an architecture's name says of a model, whatever files it is in. */
typedef struct ModelKind {
        const char *name;   /* the value of general.architecture, or of model_type */
        const char *format; /* the one that has this name for it; NULL: all do */
        /* Of the llama family: */
        RopeStyle gguf_rope;  /* in GGUF files, where Wq and Wk may be permuted */
        bool embeds;          /* may also be an embedder; see llama-encoder.c */
        bool qk_norm;         /* queries and keys are normalised, each head */
        bool wide_norm;       /* … or all heads of a row together */
        bool post_norm;       /* what attention and the network make is normalised before it is added */
        bool no_pre_norm;     /* … and what they are made of is not */
        bool fused;           /* queries, keys and values are one matrix, and so are gate and up */
        uint8_t still_every;  /* every so many-th layer does not rotate; 0: all do */
        bool oss;             /* OpenAI's: sinks, biases of experts, a clamped unit, and another name of a norm */
        bool experts;         /* the network of each layer is a mixture of experts: of llama, if the files say so */
        bool gemma;           /* scaled embeddings, GELU, and Hugging Face's norms are stored less 1 */
        bool sees;            /* its files may also have what makes something like tokens of images, which is left out */
        uint8_t global_every; /* every so many-th layer sees all positions, the others a window; 0: all are the same */
        /* … in config.json: */
        BiasRule bias; /* of queries, keys and values */
        WindowRule window;
        uint32_t head_dim; /* where it is not said; 0: n_embd / n_heads */
        float norm_eps;    /* likewise; 0: 1e-6 */
} ModelKind;

/* What the files say beyond ModelInfo. */
typedef struct ModelParams {
        float norm_eps;
        Rope rope;                            /* its factors are the tensor rope_freqs.weight */
        Presence qkv_bias, output_bias, head; /* head: output.weight, of its own and not the embedding table */
        /* Of the llama family: */
        bool *slides;      /* [n_layers]: which see info.window positions only, the others all; NULL: as all layers do */
        float local_base;  /* rope's of those that do, which are not scaled either; 0: no other */
        bool *still;       /* [n_layers]: which do not rotate; NULL: all do */
        float norm_offset; /* what the files' weights of norms lack */
        float embedding_scale, residual_scale, logit_scale; /* of embeddings, of what a layer adds, of logits; 0: 1 */
        bool norm_experts;                /* the weights of those that a token goes to are scaled to a sum of 1 */
        float attention_scale;            /* of scores; 0: 1 / sqrt(head_dim) */
        float attention_cap, logit_cap;   /* see DeviceOps.softcap; 0: none */
        /* Encoders: */
        Presence ffn_bias;
        Activation activation;
        bool gated;             /* the network between has a gate, where the activation is */
        bool alibi;             /* positions are attention's linear biases */
        Presence qk_norm;
        bool rotary;            /* positions are rotations by `rope` */
        uint32_t n_positions;   /* rows of the table of positions; 0: there is none, as of types where n_types is 0 */
        int32_t first_position; /* of a text */
        int32_t pad_token;      /* stands, wherever it does, at the position that is its own number; -1: none such */
        const char *prefix;     /* of most of the files' names for tensors */
} ModelParams;

typedef struct ModelFormat {
        const char *name; /* "gguf" */
        /* Sets label, info.architecture and info.name. */
        int (*open)(Model *m, const char *path, Error *e);
        void (*close)(Model *m);
        /* Sets files, tensors, the sizes in info, and params. The architecture is one that we know. */
        int (*describe)(Model *m, Error *e);
        /* What the files call the tensor that ggml calls `name`, and which part of it it is where they have several in one:
         * queries, keys and values, or the two matrices of a gated network. */
        Share (*tensor_name)(const Model *m, const char *name, char *buf, size_t size);
        /* May be left unclaimed: it has no part in the result. */
        bool (*ignores)(const Model *m, FileText name);
} ModelFormat;

extern const ModelFormat format_gguf, format_hf;

/* The matrices of experts, and where their addresses go, in a table on the device. */
typedef struct ExpertSet {
        Matrix *matrices; /* [n] */
        Experts *experts;
} ExpertSet;

/* A claimed tensor: a matrix, used as it is in the file; or a matrix that is packed; or a
 * vector, loaded as float32. */
typedef struct Weight {
        const Tensor *tensor;
        const void *data; /* in the tensor's: of a part, where it begins */
        size_t size;      /* in bytes */
        size_t n;         /* of a vector, or of several */
        float offset, scale; /* added to its values, and what they are multiplied by then */
        Matrix *matrix;
        Packed *packed;
        Precision coarsest; /* in which it may be packed */
        const float **vector;
} Weight;

typedef struct Linear {
        Packed w;
        const float *bias; /* NULL: none */
} Linear;

/* A scratch matrix of float32; none where rows or cols are 0. */
typedef struct WorkspacePart {
        size_t rows, cols;
} WorkspacePart;

struct Workspace {
        Device *device;
        Buffer buffer;
        uint32_t max_rows, max_logits;
        float *part[WORKSPACE_PARTS]; /* dev */
        int32_t *host_ids;            /* [max_rows], of an encoder: on their way to the device */
};

typedef struct ModelArch {
        const ModelKind *kinds; /* name NULL: the end */
        int (*open)(Model *m, Error *e);
        void (*parts)(const Model *m, size_t rows, size_t logits, WorkspacePart parts[static WORKSPACE_PARTS]);
        void (*forward)(const Model *m, Workspace *w, Stream *s, const Rows *rows, const KvArena *kv,
                        const int32_t *logit_index, uint32_t n_logits, float **ret_logits, uint64_t *ret_nearly);
        /* Of an encoder: ids are the tokens, positions and types of the texts' rows, each dev [n_rows]. */
        void (*encode)(const Model *m, Workspace *w, Stream *s, const Texts *texts, const int32_t *const *ids,
                       float **ret_out, uint64_t *ret_nearly);
        const struct ModelArch *encoder; /* what it is instead where the model encodes; NULL: itself */
} ModelArch;

extern const ModelArch arch_llama, arch_llama_encoder, arch_bert;

struct Model {
        const ModelFormat *format;
        Gguf *gguf; /* of the two, the one that it was opened from */
        HfModel *hf;
        const char *label;       /* what messages call it */
        const ModelFile **files; /* those with weights */
        size_t n_files;
        const Tensor *tensors;
        size_t n_tensors;
        Map by_name;
        Tensor factors;      /* of rotation, where they are made and not a tensor of the files; then its values are */
        float *factor_values;
        uint32_t context; /* that it is opened for; 0: as long as it was trained with */
        ModelInfo info;
        ModelParams params;
        bool encodes;
        EncoderInfo encoder;
        Precision precision;
        Dtype type; /* of most of the weights */
        const ModelArch *arch;
        const ModelKind *kind;
        void *graph; /* the family's own; released with free() */
        Weight *weights;
        size_t n_weights, weights_cap;
        ExpertSet *expert_sets;
        size_t n_expert_sets;
        bool *claimed;    /* [n_tensors] */
        Device *device;   /* NULL: not loaded */
        Buffer *matrices; /* one for each file where they are used in place, else one */
        size_t n_matrices;
        Buffer vectors, tables, packed;
};

/* Called before each layer: puts the mark that says that a step is nearly done, where that is wanted. Whole texts may take
 * longer than anybody waits for a sign of life, so that `encoding` puts such marks all along: the last is what counts. */
static inline void model_mark_nearly(const Model *m, Stream *s, uint32_t layer, bool encoding, uint64_t *ret_nearly) {
        uint32_t n = m->info.n_layers, eighth = (n + 7) / 8, left = n - layer;
        bool wanted = encoding ? layer > 0 && left % eighth == 0 : left == eighth;
        if (wanted && ret_nearly && m->device->ops->mark(s, ret_nearly) < 0)
                *ret_nearly = 0;
}

/* Says why, with the model's path, and returns `code`. */
#define MODEL_REFUSE(m, e, code, fmt, ...)                                                                             \
        ({                                                                                                             \
                int _code = (code);                                                                                    \
                error_set(e, _code, "%s: " fmt, (m)->label, ##__VA_ARGS__);                                            \
                _code;                                                                                                 \
        })

/* Whether n_heads, n_kv_heads and head_dim go together; for formats, once they are read. */
int model_check_heads(const Model *m, Error *e);
/* Whether so many experts can be used of so many; likewise. */
int model_check_experts(const Model *m, Error *e);
/* What scores are multiplied by. */
float model_attention_scale(const Model *m);
/* Gives the model the tensor rope_freqs.weight; the `n` values are copied. */
int model_make_factors(Model *m, const float *values, uint32_t n, Error *e);

/* YaRN (Peng et al. 2023) as transformers and llama.cpp have it: pairs that turn more often than beta_fast times in
 * `original` positions stay as they are, those with fewer than beta_slow turns are slowed down by `factor`, the others
 * gradually; cosines and sines are multiplied by `magnitude`. */
typedef struct Yarn {
        float factor, beta_fast, beta_slow;
        float magnitude; /* 0: 1 + ln(factor) / 10 */
        uint32_t original;
        bool whole; /* the pairs where that begins and ends are rounded to whole ones */
} Yarn;

/* Makes the factors, and sets params.attention_scale: the magnitude is as good there. Expects params.rope and the heads. */
int model_set_yarn(Model *m, const Yarn *y, Error *e);
/* Makes params.still, with each `every`th layer in it, and params.slides, with every layer in it sliding but each `global_every`th. */
int model_still(Model *m, uint32_t every, Error *e);
int model_slides(Model *m, uint32_t global_every, Error *e);
/* Of kinds that have several matrices in one: what the tensor is a part of that ggml calls `name`; false: it is by itself. */
typedef struct Fused {
        Share share;
        unsigned layer;
        bool attention; /* of queries, keys and values; else of gate and up */
        char kind[16];  /* "weight" */
} Fused;

bool model_fused(const Model *m, const char *name, Fused *ret);
/* LongRoPE (Ding et al. 2024): whether the context is longer than the `original` one, so that its factors count. */
bool model_is_long(const Model *m, uint32_t original);
/* Whether the files have a tensor of this name, which is theirs. */
bool model_has_tensor(const Model *m, const char *name);
/* Claims a tensor of exactly this shape, by ggml's name. `ret` must stay where it is; its data is set by model_load().
 * A tensor that is not there, as it need not, leaves `ret` zero. */
int model_claim_matrix(Model *m, const char *name, uint64_t cols, uint64_t rows, Presence presence, Matrix *ret,
                       Error *e);
int model_claim_vector(Model *m, const char *name, uint64_t n, Presence presence, const float **ret, Error *e);
/* `rows` of them, as one tensor has them: [rows, n] in *ret. */
int model_claim_vectors(Model *m, const char *name, uint64_t n, uint64_t rows, Presence presence, const float **ret, Error *e);

/* n matrices, NAME.0.weight and on, of one format. `ret` must stay where it is, too. */
int model_claim_experts(Model *m, const char *name, uint64_t cols, uint64_t rows, uint32_t n, Experts *ret, Error *e);
/* NAME.weight and NAME.bias, packed in the model's precision, but none coarser than `coarsest`. */
int model_claim_linear(Model *m, const char *name, uint64_t cols, uint64_t rows, Presence bias, Precision coarsest,
                       Linear *ret, Error *e);

/* Layer `l` of the arena. */
KvLayer model_kv_layer(const Model *m, const KvArena *kv, uint32_t l);
