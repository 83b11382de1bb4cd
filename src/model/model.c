/* A model on its way to a device: what is the same for every architecture.
 *
 *   opened (metadata read, tensors claimed, nothing loaded) -> loaded (weights on a device) -> freed
 *
 * Loading: where the device can use host memory (the CPU), matrices stay in the files' maps, shared by all processes
 * that serve them; elsewhere, and where a file has numbers at odd places, they are uploaded slice by slice. Vectors
 * (norms, biases, rope factors) are few and small, come in several formats and are wanted as float32, so they are always
 * converted into a buffer of their own. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "model/arch.h"
#include "util/buf.h"
#include "util/checked.h"
#include "util/str.h"

enum {
        SLICE = 4 << 20, /* bytes between two looks at the progress callback */
        ALIGNMENT = 256, /* of what we place on a device */
        PAGE = 4096,
};

static const ModelArch *const archs[] = {&arch_llama, &arch_bert};

/* ---- what formats and architectures ask for ---- */

/* Of `layers` (1: of rows and columns only) matrices in one. */
static int check_shape(const Model *m, const char *name, const Tensor *t, uint64_t cols, uint64_t rows, uint64_t layers, Error *e) {
        if (t->dims[0] == cols && t->dims[1] == rows && t->dims[2] == layers && t->dims[3] == 1)
                return 0;
        _cleanup_buf_ Buf is = BUF_NULL;
        for (uint32_t i = 0; i < t->n_dims; i++)
                buf_printf(&is, "%s%" PRIu64, i ? ", " : "", t->dims[i]);
        const char *text = is.failed ? "?" : is.data;
        if (layers > 1)
                return MODEL_REFUSE(m, e, -EINVAL, "%s: is [%s], should be [%" PRIu64 ", %" PRIu64 ", %" PRIu64 "]", name,
                                    text, cols, rows, layers);
        if (rows == 1)
                return MODEL_REFUSE(m, e, -EINVAL, "%s: is [%s], should be [%" PRIu64 "]", name, text, cols);
        return MODEL_REFUSE(m, e, -EINVAL, "%s: is [%s], should be [%" PRIu64 ", %" PRIu64 "]", name, text, cols, rows);
}

static const Tensor *find_tensor(const Model *m, const char *name) {
        int32_t i;
        if (m->factor_values && strcmp(name, m->factors.name.data) == 0)
                return &m->factors;
        return map_get(&m->by_name, name, strlen(name), &i) ? &m->tensors[i] : NULL;
}

bool model_has_tensor(const Model *m, const char *name) {
        return find_tensor(m, name);
}

/* A vector's rows are 1. ret->tensor is NULL when the model goes without it. */
static int claim(Model *m, const char *ggml_name, uint64_t cols, uint64_t rows, Presence presence, Weight *ret,
                 Error *e) {
        char name[128] = "";
        Share share = m->format->tensor_name(m, ggml_name, name, sizeof(name));
        uint64_t parts = share.of ? share.of : 1, taken = share.n ? share.n : 1;
        const Tensor *t = presence == PRESENT_NO ? NULL : find_tensor(m, name);
        *ret = (Weight){.tensor = t};
        if (!t && presence != PRESENT_YES)
                return 0;
        if (!t)
                return MODEL_REFUSE(m, e, -EINVAL, "%s: is missing; the file is not a complete %s model", name,
                                    m->info.architecture);
        if (cols > INT32_MAX || rows > INT32_MAX)
                return MODEL_REFUSE(m, e, -EINVAL, "%s: should be [%" PRIu64 ", %" PRIu64 "], which is too large", name,
                                    cols, rows);
        if (t->foreign)
                return MODEL_REFUSE(m, e, -EOPNOTSUPP, "%s: is stored as %s; supported are F32, F16 and BF16", name,
                                    t->foreign);
        if (t != &m->factors)
                m->claimed[t - m->tensors] = true;
        ret->size = t->size / parts * taken;
        ret->data = (const char *)t->data + t->size / parts * share.index;
        if (parts > 1 && t->n_dims == 3)
                return check_shape(m, name, t, cols, rows, parts, e);
        return check_shape(m, name, t, rows == 1 ? cols / taken * parts : cols, rows == 1 ? 1 : rows / taken * parts, 1, e);
}

static int put_weight(Model *m, const Weight *w, Error *e) {
        if (m->n_weights == m->weights_cap) {
                size_t cap = m->weights_cap ? 2 * m->weights_cap : 64;
                Weight *weights = reallocarray(m->weights, cap, sizeof(*weights));
                if (!weights)
                        return MODEL_REFUSE(m, e, -ENOMEM, "no memory for %zu weights", cap);
                m->weights = weights;
                m->weights_cap = cap;
        }
        m->weights[m->n_weights++] = *w;
        return 0;
}

int model_claim_matrix(Model *m, const char *name, uint64_t cols, uint64_t rows, Presence presence, Matrix *ret,
                       Error *e) {
        Weight w;
        int k = claim(m, name, cols, rows, presence, &w, e);
        if (k < 0 || !w.tensor)
                return k;
        *ret = (Matrix){.type = w.tensor->type, .cols = (uint32_t)cols, .rows = (uint32_t)rows};
        w.matrix = ret;
        return put_weight(m, &w, e);
}

int model_claim_experts(Model *m, const char *name, uint64_t cols, uint64_t rows, uint32_t n, Experts *ret, Error *e) {
        ExpertSet *sets = reallocarray(m->expert_sets, m->n_expert_sets + 1, sizeof(*sets));
        Matrix *all = calloc(n, sizeof(*all));
        if (sets)
                m->expert_sets = sets;
        if (!sets || !all) {
                free(all);
                return MODEL_REFUSE(m, e, -ENOMEM, "no memory for %" PRIu32 " experts", n);
        }
        sets[m->n_expert_sets++] = (ExpertSet){all, ret};
        for (uint32_t i = 0; i < n; i++) {
                char full[80];
                snprintf(full, sizeof(full), "%s.%" PRIu32 ".weight", name, i);
                int k = model_claim_matrix(m, full, cols, rows, PRESENT_YES, &all[i], e);
                if (k < 0)
                        return k;
                if (all[i].type != all[0].type)
                        return MODEL_REFUSE(m, e, -EOPNOTSUPP, "%s: is stored as %s, and the first expert's as %s", full,
                                            dtype_name(all[i].type), dtype_name(all[0].type));
        }
        *ret = (Experts){.bias = ret->bias, .type = all[0].type, .n = n, .rows = (uint32_t)rows, .cols = (uint32_t)cols};
        return 0;
}

int model_claim_vector(Model *m, const char *name, uint64_t n, Presence presence, const float **ret, Error *e) {
        return model_claim_vectors(m, name, n, 1, presence, ret, e);
}

int model_claim_vectors(Model *m, const char *name, uint64_t n, uint64_t rows, Presence presence, const float **ret, Error *e) {
        Weight w;
        int k = claim(m, name, n, rows, presence, &w, e);
        if (k < 0 || !w.tensor)
                return k;
        Dtype type = w.tensor->type;
        if (type != DTYPE_F32 && type != DTYPE_F16 && type != DTYPE_BF16)
                return MODEL_REFUSE(m, e, -EOPNOTSUPP, "%s: is stored as %s; a vector should be F32, F16 or BF16", name,
                                    dtype_name(type));
        w.vector = ret;
        w.n = (size_t)n * rows;
        w.offset = strstr(name, "norm.weight") ? m->params.norm_offset : 0;
        w.scale = m->params.logit_scale > 0 && strcmp(name, "output_norm.weight") == 0 ? m->params.logit_scale : 1;
        return put_weight(m, &w, e);
}

int model_claim_linear(Model *m, const char *name, uint64_t cols, uint64_t rows, Presence bias, Precision coarsest,
                       Linear *ret, Error *e) {
        Weight w;
        char full[64];
        snprintf(full, sizeof(full), "%s.weight", name);
        int k = claim(m, full, cols, rows, PRESENT_YES, &w, e);
        if (k < 0)
                return k;
        ret->w = (Packed){.rows = (uint32_t)rows, .cols = (uint32_t)cols};
        w.packed = &ret->w;
        w.coarsest = coarsest;
        if ((k = put_weight(m, &w, e)) < 0)
                return k;
        snprintf(full, sizeof(full), "%s.bias", name);
        return model_claim_vector(m, full, rows, bias, &ret->bias, e);
}

int model_check_experts(const Model *m, Error *e) {
        const ModelInfo *i = &m->info;
        if (i->n_experts > EXPERTS_MAX)
                return MODEL_REFUSE(m, e, -EOPNOTSUPP, "%" PRIu32 " experts in a layer; at most %d are supported", i->n_experts,
                                    EXPERTS_MAX);
        if (i->n_experts > 0 && (i->n_experts_used == 0 || i->n_experts_used > i->n_experts))
                return MODEL_REFUSE(m, e, -EINVAL, "%" PRIu32 " of %" PRIu32 " experts cannot be used", i->n_experts_used,
                                    i->n_experts);
        return 0;
}

int model_check_heads(const Model *m, Error *e) {
        const ModelInfo *i = &m->info;
        if (i->n_kv_heads == 0 || i->n_heads % i->n_kv_heads != 0)
                return MODEL_REFUSE(m, e, -EINVAL,
                                    "%" PRIu32 " attention heads cannot share %" PRIu32 " key/value heads", i->n_heads,
                                    i->n_kv_heads);
        if (m->kind->fused && (uint64_t)i->n_heads + 2 * (uint64_t)i->n_kv_heads > UINT16_MAX) /* see model_fused() */
                return MODEL_REFUSE(m, e, -EOPNOTSUPP, "%" PRIu32 " attention heads are not supported", i->n_heads);
        if (i->head_dim == 0 || i->head_dim % 2 != 0)
                return MODEL_REFUSE(m, e, -EINVAL, "attention heads of %" PRIu32 " values cannot be rotated",
                                    i->head_dim);
        return 0;
}

float model_attention_scale(const Model *m) {
        return m->params.attention_scale > 0 ? m->params.attention_scale : 1 / sqrtf((float)m->info.head_dim);
}

int model_make_factors(Model *m, const float *values, uint32_t n, Error *e) {
        static const char name[] = "rope_freqs.weight";
        m->factor_values = calloc(n, sizeof(*values));
        if (!m->factor_values)
                return MODEL_REFUSE(m, e, -ENOMEM, "no memory for factors of rotation");
        memcpy(m->factor_values, values, n * sizeof(*values));
        m->factors = (Tensor){.name = {name, sizeof(name) - 1},
                              .type = DTYPE_F32,
                              .n_dims = 1,
                              .dims = {n, 1, 1, 1},
                              .data = m->factor_values,
                              .size = n * sizeof(*values)};
        return 0;
}

/* The pair, not a whole one, that turns `turns` times in the original positions. */
static double yarn_pair(const Rope *rope, const Yarn *y, float turns) {
        return rope->n_rot * log(y->original / ((double)turns * 2 * M_PI)) / (2 * log((double)rope->base));
}

int model_set_yarn(Model *m, const Yarn *y, Error *e) {
        const Rope *rope = &m->params.rope;
        uint32_t n = rope->n_rot / 2;
        double low = yarn_pair(rope, y, y->beta_fast), high = yarn_pair(rope, y, y->beta_slow);
        double magnitude = y->magnitude > 0 ? (double)y->magnitude : y->factor > 1 ? 1 + log((double)y->factor) / 10 : 1;
        if (rope->base <= 1 || y->factor <= 0 || y->original == 0 || y->beta_fast <= 0 || y->beta_slow <= 0)
                return MODEL_REFUSE(m, e, -EINVAL, "its YaRN scaling has a number of 0 or less, or a base that is not above 1");
        if (rope->n_rot != m->info.head_dim)
                return MODEL_REFUSE(m, e, -EOPNOTSUPP, "YaRN scaling of heads that rotate in part is not supported");
        low = MAX(y->whole ? floor(low) : low, 0);
        high = MIN(y->whole ? ceil(high) : high, (double)rope->n_rot - 1);
        _cleanup_free_ float *factors = calloc(n, sizeof(*factors));
        if (!factors)
                return MODEL_REFUSE(m, e, -ENOMEM, "no memory for factors of rotation");
        for (uint32_t i = 0; i < n; i++) {
                double slowed = CLAMP((i - low) / MAX(high - low, 0.001), 0, 1);
                factors[i] = (float)(1 / (slowed / (double)y->factor + 1 - slowed));
        }
        m->params.attention_scale = model_attention_scale(m) * (float)(magnitude * magnitude);
        return model_make_factors(m, factors, n, e);
}

/* A flag for each layer: `others`, but not for each `every`th. */
static int list_layers(Model *m, uint32_t every, bool others, bool **ret, Error *e) {
        uint32_t n = m->info.n_layers;
        bool *flags = calloc(n, sizeof(*flags));
        if (!flags)
                return MODEL_REFUSE(m, e, -ENOMEM, "no memory for %" PRIu32 " layers", n);
        for (uint32_t l = 0; l < n; l++)
                flags[l] = ((l + 1) % every != 0) == others;
        *ret = flags;
        return 0;
}

int model_slides(Model *m, uint32_t global_every, Error *e) {
        return list_layers(m, global_every, true, &m->params.slides, e);
}

int model_still(Model *m, uint32_t every, Error *e) {
        return list_layers(m, every, false, &m->params.still, e);
}

/* Queries, keys and values by heads; gate and up. */
bool model_fused(const Model *m, const char *name, Fused *ret) {
        uint16_t q = (uint16_t)m->info.n_heads, kv = (uint16_t)m->info.n_kv_heads, all = (uint16_t)(q + 2 * kv);
        const struct {
                const char *part;
                bool attention;
                Share share;
        } parts[] = {
                {"attn_q", true, {0, all, q}},
                {"attn_k", true, {q, all, kv}},
                {"attn_v", true, {(uint16_t)(q + kv), all, kv}},
                {"ffn_gate", false, {0, 2, 1}},
                {"ffn_up", false, {1, 2, 1}},
        };
        char part[32];
        if (!m->kind->fused || sscanf(name, "blk.%u.%31[a-z_].%15s", &ret->layer, part, ret->kind) != 3)
                return false;
        for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
                if (strcmp(part, parts[i].part) == 0) {
                        ret->share = parts[i].share;
                        ret->attention = parts[i].attention;
                        return true;
                }
        return false;
}

bool model_is_long(const Model *m, uint32_t original) {
        uint32_t trained = m->info.context_length;
        return (m->context > 0 ? MIN(m->context, trained) : trained) > original;
}

KvLayer model_kv_layer(const Model *m, const KvArena *kv, uint32_t l) {
        const ModelInfo *i = &m->info;
        size_t row = dtype_row_size(kv->type, (uint64_t)i->n_kv_heads * i->head_dim);
        size_t part = (size_t)kv->n_pages * kv->page_size * row;
        return (KvLayer){.k = (char *)kv->data + 2 * l * part,
                         .v = (char *)kv->data + (2 * l + 1) * part,
                         .type = kv->type,
                         .page_size = kv->page_size,
                         .n_kv_heads = i->n_kv_heads,
                         .head_dim = i->head_dim,
                         .block_tables = kv->block_tables,
                         .max_pages = kv->max_pages};
}

/* ---- opening ---- */

static int find_arch(Model *m, Error *e) {
        _cleanup_buf_ Buf known = BUF_NULL;
        for (size_t i = 0; i < ARRAY_SIZE(archs); i++)
                for (const ModelKind *kind = archs[i]->kinds; kind->name; kind++) {
                        if (kind->format && strcmp(kind->format, m->format->name) != 0)
                                continue;
                        if (strcmp(m->info.architecture, kind->name) == 0) {
                                m->arch = archs[i];
                                m->kind = kind;
                                return 0;
                        }
                        buf_printf(&known, "%s%s", known.len ? ", " : "", kind->name);
                }
        return MODEL_REFUSE(m, e, -EOPNOTSUPP, "its architecture '%s' is not supported; supported are %s",
                            m->info.architecture, known.failed ? "others" : known.data);
}

/* Sizes, and the type that most bytes are stored in. */
static void survey_tensors(Model *m) {
        size_t most = 0, bytes[TENSOR_DTYPE_MAX] = {0};
        for (size_t i = 0; i < m->n_tensors; i++) {
                const Tensor *t = &m->tensors[i];
                if (t->foreign)
                        continue;
                m->info.n_params += t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
                m->info.weights_size += t->size;
                bytes[t->type] += t->size;
                if (bytes[t->type] > most) {
                        most = bytes[t->type];
                        m->type = t->type;
                }
        }
        if (!*m->info.quantization)
                snprintf(m->info.quantization, sizeof(m->info.quantization), "%s", dtype_name(m->type));
}

static int index_tensors(Model *m, Error *e) {
        size_t n = m->n_tensors;
        int k = map_init(&m->by_name, n);
        m->claimed = calloc(n, sizeof(*m->claimed));
        for (size_t i = 0; i < n && k >= 0; i++)
                k = map_set(&m->by_name, m->tensors[i].name.data, m->tensors[i].name.len, (int32_t)i);
        if (k < 0 || !m->claimed)
                return MODEL_REFUSE(m, e, -ENOMEM, "no memory for %zu tensors", n);
        return 0;
}

/* What may be left out takes no memory. */
static int check_all_claimed(Model *m, Error *e) {
        char name[80];
        for (size_t i = 0; i < m->n_tensors; i++)
                if (!m->claimed[i] && m->format->ignores(m, m->tensors[i].name))
                        m->info.weights_size -= m->tensors[i].foreign ? 0 : m->tensors[i].size;
                else if (!m->claimed[i])
                        return MODEL_REFUSE(m, e, -EOPNOTSUPP,
                                            "tensor '%s' has no place in a %s model as computed here; leaving it out "
                                            "would change the result",
                                            file_text(name, sizeof(name), m->tensors[i].name), m->info.architecture);
        return 0;
}

static int set_up(Model *m, Error *e) {
        int k = find_arch(m, e);
        if (k < 0)
                return k;
        if ((k = m->format->describe(m, e)) < 0 || (k = index_tensors(m, e)) < 0)
                return k;
        if (m->encodes && m->arch->encoder)
                m->arch = m->arch->encoder;
        m->info.format = m->format->name;
        survey_tensors(m);
        if ((k = m->arch->open(m, e)) < 0)
                return k;
        return check_all_claimed(m, e);
}

int model_open(const char *path, Model **ret, Error *e) {
        return model_open_for(path, 0, ret, e);
}

int model_open_for(const char *path, uint32_t context, Model **ret, Error *e) {
        struct stat st;
        _cleanup_(model_freep) Model *m = calloc(1, sizeof(*m));
        if (!m)
                return error_set(e, -ENOMEM, "%.200s: no memory to open it", path);
        m->context = context;
        m->format = stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? &format_hf : &format_gguf;
        int k = m->format->open(m, path, e);
        if (k < 0 || (k = set_up(m, e)) < 0)
                return k;
        *ret = TAKE(m);
        return 0;
}

static void unload(Model *m) {
        if (!m->device)
                return;
        for (size_t i = 0; i < m->n_matrices; i++)
                m->device->ops->buffer_free(m->device, &m->matrices[i]);
        m->device->ops->buffer_free(m->device, &m->vectors);
        m->device->ops->buffer_free(m->device, &m->tables);
        m->device->ops->buffer_free(m->device, &m->packed);
        free(m->matrices);
        m->matrices = NULL;
        m->n_matrices = 0;
        m->vectors = m->tables = m->packed = (Buffer){0};
        m->device = NULL;
}

void model_free(Model *m) {
        if (!m)
                return;
        unload(m);
        m->format->close(m);
        free(m->files);
        map_deinit(&m->by_name);
        free(m->weights);
        for (size_t i = 0; i < m->n_expert_sets; i++)
                free(m->expert_sets[i].matrices);
        free(m->expert_sets);
        free(m->claimed);
        free(m->params.slides);
        free(m->params.still);
        free(m->factor_values);
        free(m->graph);
        free(m);
}

const ModelInfo *model_info(const Model *m) {
        return &m->info;
}

const EncoderInfo *model_encoder(const Model *m) {
        return m->encodes ? &m->encoder : NULL;
}

void model_set_precision(Model *m, Precision p) {
        m->precision = p;
}

const Gguf *model_gguf(const Model *m) {
        return m->gguf;
}

const HfModel *model_hf(const Model *m) {
        return m->hf;
}

/* ---- loading ---- */

typedef struct Loader {
        Model *m;
        Stream *stream;
        ModelProgress progress;
        void *arg;
        size_t done, total;
        uint64_t before; /* the last mark; 0: none yet */
        Error *e;
} Loader;

static int advance(Loader *l, size_t n) {
        l->done += n;
        if (l->progress && !l->progress((float)l->done / (float)l->total, l->arg))
                return MODEL_REFUSE(l->m, l->e, -ECANCELED, "loading was cancelled");
        return 0;
}

/* Waits for the mark before the one made now, or with `all` for both: one slice is on its way while the next is read. */
static int mark_stream(Loader *l, bool all) {
        const DeviceOps *ops = l->m->device->ops;
        uint64_t ticket = 0;
        int k = ops->mark(l->stream, &ticket);
        if (k == 0)
                k = ops->wait(l->stream, all ? ticket : l->before);
        l->before = ticket;
        if (k < 0)
                return MODEL_REFUSE(l->m, l->e, k, "%s failed while the weights were loaded: %s", l->m->device->name,
                                    strerror(-k));
        return 0;
}

static int new_buffer(Loader *l, size_t size, Buffer *ret) {
        Device *d = l->m->device;
        char text[32];
        int k = d->ops->buffer_new(d, MAX(size, (size_t)ALIGNMENT), ret);
        if (k < 0)
                return MODEL_REFUSE(l->m, l->e, k, "%s has no room for %s of weights", d->name,
                                    format_size(text, sizeof(text), size));
        return 0;
}

/* Reads the file's pages in, so that no step waits for the disk. */
static int touch(Loader *l, const ModelFile *f) {
        for (size_t at = 0; at < f->size; at += SLICE) {
                size_t n = MIN((size_t)SLICE, f->size - at);
                (void)madvise((void *)(f->data + at), n, MADV_WILLNEED);
                for (size_t i = 0; i < n; i += PAGE)
                        (void)*(const volatile uint8_t *)(f->data + at + i);
                int k = advance(l, n);
                if (k < 0)
                        return k;
        }
        return 0;
}

static bool holds(const ModelFile *f, const Tensor *t) {
        const uint8_t *p = t->data;
        return p >= f->data && p < f->data + f->size;
}

/* Matrices that lie in file `n` are used where they are. */
static int wrap_file(Loader *l, size_t n) {
        Model *m = l->m;
        const ModelFile *f = m->files[n];
        Buffer *b = &m->matrices[n];
        int k = m->device->ops->buffer_wrap(m->device, f->data, f->size, b);
        if (k < 0)
                return MODEL_REFUSE(m, l->e, k, "%s cannot use it in place: %s", m->device->name, strerror(-k));
        for (size_t i = 0; i < m->n_weights; i++) {
                const Weight *w = &m->weights[i];
                if (w->matrix && holds(f, w->tensor))
                        w->matrix->data = (char *)b->data + ((const uint8_t *)w->data - f->data);
        }
        return 0;
}

static int allocate_buffers(Loader *l, size_t n) {
        l->m->matrices = calloc(n, sizeof(*l->m->matrices));
        if (!l->m->matrices)
                return MODEL_REFUSE(l->m, l->e, -ENOMEM, "no memory for %zu buffers", n);
        l->m->n_matrices = n;
        return 0;
}

static int wrap_matrices(Loader *l) {
        Model *m = l->m;
        int k = allocate_buffers(l, m->n_files);
        for (size_t i = 0; i < m->n_files && k == 0; i++) {
                l->total += m->files[i]->size;
                k = wrap_file(l, i);
        }
        for (size_t i = 0; i < m->n_files && k == 0; i++)
                k = touch(l, m->files[i]);
        return k;
}

/* Operations read numbers where numbers may be; not every file has put them there. */
static bool all_aligned(const Model *m) {
        for (size_t i = 0; i < m->n_weights; i++) {
                const Weight *w = &m->weights[i];
                size_t align = w->tensor->type == DTYPE_F32 ? sizeof(float) : w->tensor->type == DTYPE_MXFP4 ? 1 : sizeof(uint16_t);
                if (w->matrix && (uintptr_t)w->data % align != 0)
                        return false;
        }
        return true;
}

static int upload_matrix(Loader *l, const Weight *w) {
        char *to = (char *)w->matrix->data;
        for (size_t at = 0; at < w->size; at += SLICE) {
                size_t n = MIN((size_t)SLICE, w->size - at);
                l->m->device->ops->upload(l->stream, to + at, (const char *)w->data + at, n);
                int k = mark_stream(l, false);
                if (k < 0 || (k = advance(l, n)) < 0)
                        return k;
        }
        return 0;
}

/* The file's size bounds all sums here: tensors do not overlap. */
static size_t aligned(size_t n) {
        return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static int upload_matrices(Loader *l) {
        Model *m = l->m;
        size_t at = 0;
        for (size_t i = 0; i < m->n_weights; i++)
                if (m->weights[i].matrix) {
                        at += aligned(m->weights[i].size);
                        l->total += m->weights[i].size;
                }
        int k = allocate_buffers(l, 1);
        if (k == 0)
                k = new_buffer(l, at, &m->matrices[0]);
        at = 0;
        for (size_t i = 0; i < m->n_weights && k == 0; i++) {
                const Weight *w = &m->weights[i];
                if (!w->matrix)
                        continue;
                w->matrix->data = (char *)m->matrices[0].data + at;
                at += aligned(w->size);
                k = upload_matrix(l, w);
        }
        return k == 0 ? mark_stream(l, true) : k;
}

/* IEEE 754 binary16: 1 sign, 5 exponent, 10 fraction bits. */
static float from_half(uint16_t h) {
        int exponent = h >> 10 & 31, fraction = h & 1023;
        float v = exponent == 0    ? ldexpf((float)fraction, -24)
                  : exponent == 31 ? (fraction ? NAN : INFINITY)
                                   : ldexpf((float)(fraction | 1024), exponent - 25);
        return h & 0x8000 ? -v : v;
}

/* Value `i` of a vector in one of the plain formats. */
static float value_at(const Weight *w, size_t i) {
        float v;
        uint32_t bits;
        uint16_t half;
        if (w->tensor->type == DTYPE_F32) {
                memcpy(&v, (const char *)w->data + i * sizeof(v), sizeof(v));
                return v;
        }
        memcpy(&half, (const char *)w->data + i * sizeof(half), sizeof(half));
        if (w->tensor->type == DTYPE_F16)
                return from_half(half);
        bits = (uint32_t)half << 16; /* BF16 is the upper half of a float32 */
        memcpy(&v, &bits, sizeof(v));
        return v;
}

static size_t vector_size(const Weight *w) {
        return w->vector ? aligned(w->n * sizeof(float)) : 0;
}

static int load_vectors(Loader *l) {
        Model *m = l->m;
        size_t size = 0, at = 0;
        for (size_t i = 0; i < m->n_weights; i++)
                size += vector_size(&m->weights[i]);
        _cleanup_free_ char *host = calloc(1, MAX(size, (size_t)1));
        if (!host)
                return MODEL_REFUSE(m, l->e, -ENOMEM, "no memory for %zu bytes of vectors", size);
        int k = new_buffer(l, size, &m->vectors);
        if (k < 0)
                return k;
        for (size_t i = 0; i < m->n_weights; i++) {
                const Weight *w = &m->weights[i];
                if (!w->vector)
                        continue;
                for (size_t n = 0; n < w->n; n++)
                        ((float *)(host + at))[n] = (value_at(w, n) + w->offset) * w->scale;
                *w->vector = (const float *)((char *)m->vectors.data + at);
                at += vector_size(w);
        }
        m->device->ops->upload(l->stream, m->vectors.data, host, size);
        return mark_stream(l, true);
}

/* Where experts are, once they have been placed. */
static int load_tables(Loader *l) {
        Model *m = l->m;
        size_t n = 0, at = 0;
        for (size_t i = 0; i < m->n_expert_sets; i++)
                n += m->expert_sets[i].experts->n;
        if (n == 0)
                return 0;
        _cleanup_free_ const void **host = calloc(n, sizeof(*host));
        if (!host)
                return MODEL_REFUSE(m, l->e, -ENOMEM, "no memory for %zu experts", n);
        int k = new_buffer(l, n * sizeof(*host), &m->tables);
        if (k < 0)
                return k;
        for (size_t i = 0; i < m->n_expert_sets; i++) {
                ExpertSet *s = &m->expert_sets[i];
                s->experts->each = (const void *const *)m->tables.data + at;
                for (uint32_t x = 0; x < s->experts->n; x++)
                        host[at++] = s->matrices[x].data;
        }
        m->device->ops->upload(l->stream, m->tables.data, host, n * sizeof(*host));
        return mark_stream(l, true);
}

static Precision precision_of(const Model *m, const Weight *w) {
        return MIN(m->precision, w->coarsest);
}

/* Bytes of a packed weight, aligned; false: too large. */
static bool packed_size(const Model *m, const Device *d, const Weight *w, size_t *ret) {
        size_t size = d->ops->packed_size(d, precision_of(m, w), w->packed->rows, w->packed->cols);
        return checked_align(size, ALIGNMENT, ret);
}

static bool packed_total(const Model *m, const Device *d, size_t *ret) {
        size_t size;
        *ret = 0;
        for (size_t i = 0; i < m->n_weights; i++)
                if (m->weights[i].packed && (!packed_size(m, d, &m->weights[i], &size) || !checked_add(*ret, size, ret)))
                        return false;
        return true;
}

size_t model_load_size(const Model *m, const Device *d) {
        size_t total = 0;
        if (m->encodes && d->ops->packed_size && !packed_total(m, d, &total)) /* without it loading will say what is wrong */
                return SIZE_MAX;
        for (size_t i = 0; i < m->n_weights; i++) {
                const Weight *w = &m->weights[i];
                if (!checked_add(total, w->matrix ? aligned(w->size) : vector_size(w), &total))
                        return SIZE_MAX;
        }
        for (size_t i = 0; i < m->n_expert_sets; i++)
                if (!checked_add(total, m->expert_sets[i].experts->n * sizeof(void *), &total))
                        return SIZE_MAX;
        return total;
}

/* The file's pages were read for this once; others may have a use for their memory. */
static void forget(const Weight *w) {
        uintptr_t begin = ((uintptr_t)w->data + PAGE - 1) / PAGE * PAGE, end = ((uintptr_t)w->data + w->size) / PAGE * PAGE;
        if (begin < end)
                (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
}

static int pack_weight(Loader *l, const Weight *w, void *to) {
        *w->packed = (Packed){.data = to,
                              .precision = precision_of(l->m, w),
                              .rows = w->packed->rows,
                              .cols = w->packed->cols};
        l->m->device->ops->pack(l->stream, w->packed, 0,
                                &(Matrix){w->data, w->tensor->type, w->packed->rows, w->packed->cols});
        int k = mark_stream(l, true);
        forget(w);
        return k < 0 ? k : advance(l, w->size);
}

static int pack_weights(Loader *l) {
        Model *m = l->m;
        size_t total, at = 0, size = 0;
        if (!packed_total(m, m->device, &total))
                return MODEL_REFUSE(m, l->e, -ENOMEM, "its weights are larger than any memory");
        int k = new_buffer(l, total, &m->packed);
        for (size_t i = 0; i < m->n_weights && k == 0; i++) {
                const Weight *w = &m->weights[i];
                if (!w->packed || !packed_size(m, m->device, w, &size))
                        continue;
                k = pack_weight(l, w, (char *)m->packed.data + at);
                at += size;
        }
        return k;
}

static int check_limits(const Model *m, const Device *d, Error *e) {
        const ModelInfo *i = &m->info;
        const DeviceLimits *most = &d->limits;
        const struct {
                const char *what;
                uint32_t has, most;
        } limits[] = {
                {"attention heads", i->n_heads, most->heads},
                {"values in an attention head", i->head_dim, m->encodes ? 0 : most->head_dim},
                {"tokens in its vocabulary", i->n_vocab, m->encodes ? 0 : most->vocab},
                {"columns in a matrix", MAX(i->n_embd, i->n_ff), m->encodes ? most->cols : 0},
        };
        for (size_t n = 0; n < ARRAY_SIZE(limits); n++)
                if (limits[n].most > 0 && limits[n].has > limits[n].most)
                        return MODEL_REFUSE(m, e, -EOPNOTSUPP,
                                            "it has %" PRIu32 " %s, and %s computes with at most %" PRIu32
                                            "; a pool with 'device: cpu' takes it",
                                            limits[n].has, limits[n].what, d->name, limits[n].most);
        return 0;
}

int model_load(Model *m, Device *d, ModelProgress progress, void *arg, Error *e) {
        Loader l = {.m = m, .progress = progress, .arg = arg, .e = e};
        if (m->device)
                return MODEL_REFUSE(m, e, -EBUSY, "is loaded already");
        if (m->encodes && !d->ops->linear)
                return MODEL_REFUSE(m, e, -EOPNOTSUPP, "%s does not compute embeddings and scores", d->name);
        int k = check_limits(m, d, e);
        if (k < 0 || (k = d->ops->stream_new(d, STREAM_LOADING, &l.stream, e)) < 0)
                return k;
        m->device = d;
        for (size_t i = 0; i < m->n_weights; i++)
                if (m->weights[i].packed)
                        l.total += m->weights[i].size;
        k = load_vectors(&l);
        if (k == 0)
                k = d->ops->buffer_wrap && all_aligned(m) ? wrap_matrices(&l) : upload_matrices(&l);
        if (k == 0)
                k = load_tables(&l);
        if (k == 0 && m->encodes)
                k = pack_weights(&l);
        d->ops->stream_free(l.stream);
        if (k < 0)
                unload(m);
        return k;
}

/* ---- steps ---- */

Dtype model_kv_type(const Model *m) {
        return m->type == DTYPE_F32 ? DTYPE_F32 : DTYPE_F16;
}

size_t model_kv_page_size(const Model *m, Dtype type, uint32_t page_size) {
        const ModelInfo *i = &m->info;
        size_t size;
        if (!checked_mul3(dtype_row_size(type, (uint64_t)i->n_kv_heads * i->head_dim), page_size, 2ul * i->n_layers,
                          &size))
                return SIZE_MAX;
        return size;
}

/* Bytes of a part, aligned. */
static bool part_size(const WorkspacePart *p, size_t *ret) {
        return checked_mul3(p->rows, p->cols, sizeof(float), ret) && checked_align(*ret, ALIGNMENT, ret);
}

/* An encoder's ids are as large as float32. */
static void parts_of(const Model *m, uint32_t rows, uint32_t logits, WorkspacePart parts[static WORKSPACE_PARTS]) {
        memset(parts, 0, WORKSPACE_PARTS * sizeof(*parts));
        m->arch->parts(m, rows, logits, parts);
        if (m->encodes)
                parts[WORKSPACE_IDS] = (WorkspacePart){1, EMBED_TABLES * (size_t)rows + logits + 1};
}

size_t workspace_size(const Model *m, uint32_t max_rows, uint32_t max_logits) {
        WorkspacePart parts[WORKSPACE_PARTS];
        size_t total = 0, size;
        parts_of(m, max_rows, max_logits, parts);
        for (size_t i = 0; i < WORKSPACE_PARTS; i++)
                if (!part_size(&parts[i], &size) || !checked_add(total, size, &total))
                        return SIZE_MAX;
        return total;
}

int workspace_new(const Model *m, Device *d, uint32_t max_rows, uint32_t max_logits, Workspace **ret, Error *e) {
        _cleanup_(workspace_freep) Workspace *w = calloc(1, sizeof(*w));
        WorkspacePart parts[WORKSPACE_PARTS];
        size_t total = workspace_size(m, max_rows, max_logits), size;
        char text[32];
        if (!w)
                return MODEL_REFUSE(m, e, -ENOMEM, "no memory for a workspace");
        int k = total == SIZE_MAX ? -ENOMEM : d->ops->buffer_new(d, MAX(total, (size_t)ALIGNMENT), &w->buffer);
        if (k < 0)
                return MODEL_REFUSE(m, e, k, "%s has no room for %s of scratch for steps of %" PRIu32 " rows", d->name,
                                    format_size(text, sizeof(text), total), max_rows);
        w->device = d;
        w->max_rows = max_rows;
        w->max_logits = max_logits;
        w->host_ids = m->encodes ? calloc(max_rows, sizeof(*w->host_ids)) : NULL;
        if (m->encodes && !w->host_ids)
                return MODEL_REFUSE(m, e, -ENOMEM, "no memory for a workspace");
        parts_of(m, max_rows, max_logits, parts);
        char *at = w->buffer.data;
        for (size_t i = 0; i < WORKSPACE_PARTS && part_size(&parts[i], &size); at += size, i++)
                w->part[i] = size ? (float *)at : NULL;
        *ret = TAKE(w);
        return 0;
}

void workspace_free(Workspace *w) {
        if (!w)
                return;
        if (w->device)
                w->device->ops->buffer_free(w->device, &w->buffer);
        free(w->host_ids);
        free(w);
}

void model_forward(Model *m, Workspace *w, Stream *s, const Rows *rows, const KvArena *kv, const int32_t *logit_index,
                   uint32_t n_logits, float **ret_logits, uint64_t *ret_nearly) {
        assert(m->device && !m->encodes && rows->n <= w->max_rows && n_logits <= w->max_logits && n_logits <= rows->n);
        m->arch->forward(m, w, s, rows, kv, logit_index, n_logits, ret_logits, ret_nearly);
}

/* ---- batches of texts ---- */

/* transformers' positions: counted from the first, but padding, which stands at its own, is passed over. */
static void number_positions(const Model *m, const EncoderBatch *b, int32_t *positions) {
        for (uint32_t t = 0; t < b->n_texts; t++) {
                int32_t next = m->params.first_position;
                for (uint32_t i = b->starts[t]; i < b->starts[t + 1]; i++)
                        positions[i] = m->params.pad_token >= 0 && b->tokens[i] == m->params.pad_token
                                               ? m->params.pad_token
                                               : next++;
        }
}

static uint32_t longest_text(const Model *m, const EncoderBatch *b) {
        uint32_t longest = 0;
        assert(b->starts[0] == 0 && b->starts[b->n_texts] == b->n_tokens);
        for (uint32_t t = 0; t < b->n_texts; t++) {
                uint32_t n = b->starts[t + 1] - b->starts[t];
                assert(b->starts[t] < b->starts[t + 1] && n <= m->encoder.max_tokens);
                longest = MAX(longest, n);
        }
        return longest;
}

void model_encode(Model *m, Workspace *w, Stream *s, const EncoderBatch *b, float **ret_out, uint64_t *ret_nearly) {
        const DeviceOps *ops = w->device->ops;
        uint32_t n = b->n_tokens;
        int32_t *tokens = (int32_t *)w->part[WORKSPACE_IDS], *positions = tokens + n, *types = positions + n;
        uint32_t *starts = (uint32_t *)(types + n);
        assert(m->device && m->encodes && n <= w->max_rows && b->n_texts <= w->max_logits && b->n_texts > 0);
        number_positions(m, b, w->host_ids);
        ops->upload(s, positions, w->host_ids, n * sizeof(*positions));
        ops->upload(s, tokens, b->tokens, n * sizeof(*tokens));
        if (!b->types)
                memset(w->host_ids, 0, n * sizeof(*types));
        ops->upload(s, types, b->types ? b->types : w->host_ids, n * sizeof(*types));
        ops->upload(s, starts, b->starts, (b->n_texts + 1) * sizeof(*starts));
        Texts texts = {.n_rows = n, .n = b->n_texts, .longest = longest_text(m, b), .starts = starts};
        m->arch->encode(m, w, s, &texts, (const int32_t *[]){tokens, positions, types}, ret_out, ret_nearly);
}
