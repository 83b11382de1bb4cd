/* What a GGUF file says of its model. Keys and names of tensors are those of ggml's docs/gguf.md, and are what the
 * description calls things, too. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/gguf-keys.h"
#include "util/str.h"

/* ---- keys ---- */

int gguf_key_u32(const Model *m, const char *key, bool required, uint32_t *value, Error *e) {
        char name[128];
        uint64_t v;
        snprintf(name, sizeof(name), "%s.%s", m->info.architecture, key);
        int k = gguf_get_u64(m->gguf, name, &v, e);
        if (k < 0)
                return k != -ENOENT ? k : required ? -EINVAL : 0;
        if (v > INT32_MAX)
                return MODEL_REFUSE(m, e, -EINVAL, "key '%s': is %" PRIu64 ", which is too large", name, v);
        *value = (uint32_t)v;
        return 0;
}

int gguf_key_f32(const Model *m, const char *key, bool required, float *value, Error *e) {
        char name[128];
        double v;
        snprintf(name, sizeof(name), "%s.%s", m->info.architecture, key);
        int k = gguf_get_f64(m->gguf, name, &v, e);
        if (k < 0)
                return k != -ENOENT ? k : required ? -EINVAL : 0;
        if (!isfinite((float)v))
                return MODEL_REFUSE(m, e, -EINVAL, "key '%s': is %g, should be a number", name, v);
        *value = (float)v;
        return 0;
}

int gguf_key_pooling(const Model *m, Pooling *ret, bool *ret_rank, bool *ret_there, Error *e) {
        enum { NONE, MEAN, CLS, LAST, RANK };
        uint32_t type = NONE;
        int k = gguf_key_u32(m, "pooling_type", false, &type, e);
        *ret_there = type != NONE;
        *ret_rank = type == RANK;
        if (k < 0 || !*ret_there)
                return k;
        if (type > RANK)
                return MODEL_REFUSE(m, e, -EOPNOTSUPP,
                                    "key '%s.pooling_type': is %" PRIu32 "; 1 (mean), 2 (first token), 3 (last) and 4 "
                                    "(scores) are supported",
                                    m->info.architecture, type);
        *ret = type == LAST ? POOLING_LAST : type == MEAN ? POOLING_MEAN : POOLING_CLS;
        return 0;
}

/* ---- sizes and options ---- */

static int read_sizes(Model *m, Error *e) {
        ModelInfo *i = &m->info;
        const struct {
                const char *key;
                uint32_t *value;
        } sizes[] = {
                {"context_length", &i->context_length}, {"block_count", &i->n_layers},
                {"embedding_length", &i->n_embd},       {"feed_forward_length", &i->n_ff},
                {"attention.head_count", &i->n_heads},
        };
        for (size_t n = 0; n < ARRAY_SIZE(sizes); n++) {
                int k = gguf_key_u32(m, sizes[n].key, true, sizes[n].value, e);
                if (k < 0)
                        return k;
                if (*sizes[n].value == 0)
                        return MODEL_REFUSE(m, e, -EINVAL, "key '%s.%s': is 0", i->architecture, sizes[n].key);
        }
        if (i->n_layers > gguf_n_tensors(m->gguf))
                return MODEL_REFUSE(m, e, -EINVAL,
                                    "key '%s.block_count': is %" PRIu32 ", but there are only %zu tensors",
                                    i->architecture, i->n_layers, gguf_n_tensors(m->gguf));
        return gguf_key_u32(m, "attention.sliding_window", false, &i->window, e);
}

static int read_heads(Model *m, Error *e) {
        ModelInfo *i = &m->info;
        uint32_t value_dim;
        int k;
        i->n_kv_heads = i->n_heads;
        i->head_dim = i->n_embd / i->n_heads;
        if ((k = gguf_key_u32(m, "attention.head_count_kv", false, &i->n_kv_heads, e)) < 0 ||
            (k = gguf_key_u32(m, "attention.key_length", false, &i->head_dim, e)) < 0)
                return k;
        value_dim = i->head_dim;
        if ((k = gguf_key_u32(m, "attention.value_length", false, &value_dim, e)) < 0)
                return k;
        if ((k = model_check_heads(m, e)) < 0)
                return k;
        if (value_dim != i->head_dim)
                return MODEL_REFUSE(m, e, -EOPNOTSUPP,
                                    "values of %" PRIu32 " and keys of %" PRIu32
                                    " dimensions: different lengths are not supported",
                                    value_dim, i->head_dim);
        return 0;
}

static bool is_text(FileText text, const char *what) {
        return bytes_are(text.data, text.len, what);
}

static int read_yarn(Model *m, float factor, Error *e) {
        Yarn y = {.factor = factor, .beta_fast = 32, .beta_slow = 1, .original = m->info.context_length, .whole = true};
        int k;
        if ((k = gguf_key_u32(m, "rope.scaling.original_context_length", false, &y.original, e)) < 0 ||
            (k = gguf_key_f32(m, "rope.scaling.beta_fast", false, &y.beta_fast, e)) < 0 || /* Ollama's names */
            (k = gguf_key_f32(m, "rope.scaling.beta_slow", false, &y.beta_slow, e)) < 0 ||
            (k = gguf_key_f32(m, "rope.scaling.yarn_beta_fast", false, &y.beta_fast, e)) < 0 ||
            (k = gguf_key_f32(m, "rope.scaling.yarn_beta_slow", false, &y.beta_slow, e)) < 0)
                return k;
        return model_set_yarn(m, &y, e);
}

static bool is_about_images(FileText name) {
        return (name.len > 2 && memcmp(name.data, "v.", 2) == 0) || (name.len > 3 && memcmp(name.data, "mm.", 3) == 0);
}

static bool is_gemma3(const Model *m) {
        return m->kind->gemma && m->kind->qk_norm;
}

/* Ollama's files of gemma3 have all in one, and do not say that positions are scaled, as they are in those that see. */
static float usual_factor(const Model *m) {
        bool sees = false;
        for (size_t i = 0; is_gemma3(m) && i < m->n_tensors; i++)
                sees |= is_about_images(m->tensors[i].name);
        return sees ? 8 : 1;
}

static bool may_be_long(const Model *m) {
        return m->kind->fused;
}

/* Linear scaling, which an absent type means as in older files, multiplies positions. */
static int read_rope_scaling(Model *m, Rope *rope, Error *e) {
        char key[64], shown[32];
        float factor = usual_factor(m);
        FileText type = {.data = m->kind->oss ? "yarn" : "linear", .len = m->kind->oss ? 4 : 6};
        snprintf(key, sizeof(key), "%s.rope.scaling.type", m->info.architecture);
        int k = gguf_get_string(m->gguf, key, &type, e);
        if (k < 0 && k != -ENOENT)
                return k;
        bool none = is_text(type, "none") || (may_be_long(m) && is_text(type, "longrope"));
        bool yarn = is_text(type, "yarn") && m->arch != &arch_bert && !may_be_long(m);
        if (!none && !yarn && !is_text(type, "linear"))
                return MODEL_REFUSE(m, e, -EOPNOTSUPP, "key '%s': rope scaling '%s' is not supported; linear %s", key,
                                    file_text(shown, sizeof(shown), type), m->arch == &arch_bert ? "is" : "and yarn are");
        if ((k = gguf_key_f32(m, "rope.scale_linear", false, &factor, e)) < 0 || /* the old name */
            (k = gguf_key_f32(m, "rope.scaling.factor", false, &factor, e)) < 0)
                return k;
        if (factor < 0)
                return MODEL_REFUSE(m, e, -EINVAL, "key '%s.rope.scaling.factor': is %g", m->info.architecture,
                                    (double)factor);
        if (yarn)
                return read_yarn(m, factor, e);
        rope->scale = none || factor == 0 ? 1 : 1 / factor;
        return may_be_long(m) ? gguf_key_f32(m, "rope.scaling.attn_factor", false, &rope->magnitude, e) : 0;
}

static int read_rope(Model *m, Rope *rope, Error *e) {
        const ModelInfo *i = &m->info;
        int k;
        *rope = (Rope){.style = m->kind->gguf_rope, .n_rot = i->head_dim, .base = 10000, .scale = 1};
        if (m->params.local_base > 0) {
                rope->base = 1000000; /* gemma3's */
                if ((k = gguf_key_f32(m, "rope.global.freq_base", false, &rope->base, e)) < 0)
                        return k;
        }
        if ((k = gguf_key_u32(m, "rope.dimension_count", false, &rope->n_rot, e)) < 0 ||
            (k = gguf_key_f32(m, "rope.freq_base", false, &rope->base, e)) < 0)
                return k;
        if (rope->n_rot == 0 || rope->n_rot % 2 != 0 || rope->n_rot > i->head_dim)
                return MODEL_REFUSE(m, e, -EINVAL,
                                    "key '%s.rope.dimension_count': is %" PRIu32
                                    ", should be even and at most %" PRIu32,
                                    i->architecture, rope->n_rot, i->head_dim);
        if (rope->base <= 0)
                return MODEL_REFUSE(m, e, -EINVAL, "key '%s.rope.freq_base': is %g, should be positive",
                                    i->architecture, (double)rope->base);
        return read_rope_scaling(m, rope, e);
}

static bool may_scale(const Model *m) {
        return strcmp(m->info.architecture, "granite") == 0;
}

static bool may_have_experts(const Model *m) {
        return m->kind->experts || strcmp(m->info.architecture, "llama") == 0; /* of llama it is Mixtral */
}

static bool may_slide(const Model *m) {
        return m->kind->global_every > 0;
}

static bool is_gemma(const Model *m) {
        return m->kind->gemma;
}

/* Options that would change the result and are not computed here, or only of some models; with the value that changes
 * nothing. */
static int refuse_options(const Model *m, Error *e) {
        static const struct {
                const char *key;
                double neutral;
                const char *what;
                bool (*computes)(const Model *m);
        } options[] = {
                {"expert_count", 0, "a mixture of experts", may_have_experts},
                {"expert_shared_count", 0, "experts that all tokens go to"},
                {"expert_weights_scale", 1, "scaled weights of experts"},
                {"use_parallel_residual", 0, "parallel residuals"},
                {"attention.clamp_kqv", 0, "clamped attention"},
                {"attention.max_alibi_bias", 0, "ALiBi"},
                {"attention.scale", 0, "a scale of its own for attention", may_scale},
                {"attention.temperature_scale", 0, "attention temperature"},
                {"rope.scaling_beta", 0, "attention temperature"}, /* as Ollama calls it */
                {"attention.sliding_window_pattern", 0, "a sliding window in some layers only", may_slide},
                {"attn_logit_softcapping", 0, "soft-capped attention", is_gemma},
                {"final_logit_softcapping", 0, "soft-capped logits", is_gemma},
                {"logit_scale", 1, "scaled logits", may_scale},
                {"embedding_scale", 1, "scaled embeddings", may_scale},
                {"residual_scale", 1, "scaled residuals", may_scale},
                {"rope.scaling.attn_factor", 1, "rope scaling with an attention factor", may_be_long},
                {"rope.scaling.yarn_attn_factor", 1, "YaRN with an attention factor"},
                {"rope.scaling.yarn_ext_factor", 1, "YaRN with an extrapolation factor"},
                {"rope.scaling.yarn_log_multiplier", 0, "YaRN with a factor of its magnitude"},
                {"rope.scaling.mscale_all_dim", 0, "YaRN with a factor of its magnitude"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
                char key[96];
                bool flag = false;
                double value = 0;
                if (options[i].computes && options[i].computes(m))
                        continue;
                snprintf(key, sizeof(key), "%s.%s", m->info.architecture, options[i].key);
                int k = gguf_get_bool(m->gguf, key, &flag, NULL);
                if (k == 0)
                        value = flag;
                else
                        k = gguf_get_f64(m->gguf, key, &value, NULL);
                if (k == -ENOENT)
                        continue;
                if (k < 0 || value != options[i].neutral) /* k < 0: not one number but, say, one for each layer */
                        return MODEL_REFUSE(m, e, -EOPNOTSUPP, "key '%s' asks for %s, which is not supported", key,
                                            options[i].what);
        }
        return 0;
}

static int check_causal(const Model *m, Error *e) {
        bool causal = m->arch != &arch_bert;
        char key[64];
        snprintf(key, sizeof(key), "%s.attention.causal", m->info.architecture);
        int k = gguf_get_bool(m->gguf, key, &causal, e);
        if (k < 0 && k != -ENOENT)
                return k;
        if (causal == (m->arch != &arch_bert))
                return 0;
        return MODEL_REFUSE(m, e, -EOPNOTSUPP, "key '%s' asks for attention %s, which is not supported", key,
                            causal ? "to what is before only" : "in both directions");
}

/* As many as the vocabulary has tokens, or the embedding rows; of a vocabulary that is longer than these see vocab.c. */
static uint64_t count_tokens(const Model *m) {
        GgufType type;
        size_t n;
        const Tensor *t = gguf_tensor(m->gguf, "token_embd.weight");
        uint64_t rows = t ? t->dims[1] : 0;
        if (gguf_get_array(m->gguf, "tokenizer.ggml.tokens", &type, &n, NULL) < 0)
                return rows;
        return is_gemma3(m) && rows > 0 ? MIN(n, rows) : n;
}

static int read_eps(Model *m, Error *e) {
        bool known = is_gemma3(m); /* Ollama's files leave it out */
        m->params.norm_eps = 1e-6f;
        int k = gguf_key_f32(m, "attention.layer_norm_rms_epsilon", !known, &m->params.norm_eps, e);
        if (k == 0 && m->params.norm_eps < 0)
                return MODEL_REFUSE(m, e, -EINVAL, "key '%s.attention.layer_norm_rms_epsilon': is %g",
                                    m->info.architecture, (double)m->params.norm_eps);
        return k;
}

/* One that says how rows become a vector embeds instead of generating text. */
static int read_embedder(Model *m, Error *e) {
        bool rank;
        m->encoder = (EncoderInfo){.n_out = m->info.n_embd,
                                   .max_tokens = m->info.context_length,
                                   .usual_tokens = m->info.context_length,
                                   .normalised = true,
                                   .causal = true};
        int k = gguf_key_pooling(m, &m->encoder.pooling, &rank, &m->encodes, e);
        if (k < 0 || !m->encodes)
                return k;
        bool other = !m->kind->embeds || m->info.n_experts > 0;
        if (rank || other || m->info.window > 0 || m->info.head_dim > SELF_ATTENTION_DIM_MAX)
                return MODEL_REFUSE(m, e, -EOPNOTSUPP,
                                    "key '%s.pooling_type': %s is not supported for %s models", m->info.architecture,
                                    rank    ? "making scores"
                                    : other ? "making embeddings"
                                            : "with a sliding window or heads of such a size it",
                                    m->info.architecture);
        m->params.head = PRESENT_NO;
        m->params.pad_token = -1;
        return 0;
}

/* Which layers slide: a list of flags, or every so many-th does not. */
static int read_slides(Model *m, Error *e) {
        static const char key[] = "attention.sliding_window_pattern";
        char name[96];
        const void *flags;
        size_t n;
        uint32_t every = m->kind->global_every;
        if (m->info.window == 0 || every == 0)
                return 0;
        snprintf(name, sizeof(name), "%s.%s", m->info.architecture, key);
        bool listed = gguf_get_array_data(m->gguf, name, GGUF_BOOL, &flags, &n, NULL) == 0;
        int k = listed ? 0 : gguf_key_u32(m, key, false, &every, e);
        if (k == 0 && (listed ? n != m->info.n_layers : every == 0))
                k = MODEL_REFUSE(m, e, -EINVAL, "key '%s': does not fit %" PRIu32 " layers", name, m->info.n_layers);
        if (k < 0 || (k = model_slides(m, every, e)) < 0)
                return k;
        for (size_t l = 0; listed && l < n; l++)
                m->params.slides[l] = ((const uint8_t *)flags)[l] != 0;
        return 0;
}

/* What files leave out is as llama.cpp has it. Ollama's gemma3 have their own names for the bases of rotation. The greatest of
 * gemma2 and gemma3, known by their layers, have scores as if heads shared n_embd. */
static int read_gemma(Model *m, Error *e) {
        enum { GEMMA2_27B = 46, GEMMA3_27B = 62 };
        ModelParams *p = &m->params;
        const ModelInfo *i = &m->info;
        bool third = m->kind->qk_norm, second = m->kind->post_norm && !third;
        int k;
        p->local_base = third ? 10000 : 0;
        p->attention_cap = second ? 50 : 0;
        p->logit_cap = second ? 30 : 0;
        if (third && i->window == 0)
                return MODEL_REFUSE(m, e, -EINVAL, "key 'gemma3.attention.sliding_window': is missing, or 0");
        if ((k = gguf_key_f32(m, "rope.local.freq_base", false, &p->local_base, e)) < 0 ||
            (k = gguf_key_f32(m, "rope.freq_base_swa", false, &p->local_base, e)) < 0 ||
            (k = gguf_key_f32(m, "attn_logit_softcapping", false, &p->attention_cap, e)) < 0 ||
            (k = gguf_key_f32(m, "final_logit_softcapping", false, &p->logit_cap, e)) < 0)
                return k;
        if (p->attention_cap < 0 || p->logit_cap < 0 || p->local_base < 0)
                return MODEL_REFUSE(m, e, -EINVAL, "a soft cap or base of rotation is below 0");
        if (m->kind->post_norm && i->n_layers == (third ? GEMMA3_27B : GEMMA2_27B))
                p->attention_scale = 1 / sqrtf((float)i->n_embd / (float)i->n_heads);
        return 0;
}

/* granite's, of which the logits' divides. */
static int read_scales(Model *m, Error *e) {
        ModelParams *p = &m->params;
        float divisor = 1;
        int k;
        if (!may_scale(m))
                return 0;
        if ((k = gguf_key_f32(m, "attention.scale", false, &p->attention_scale, e)) < 0 ||
            (k = gguf_key_f32(m, "embedding_scale", false, &p->embedding_scale, e)) < 0 ||
            (k = gguf_key_f32(m, "residual_scale", false, &p->residual_scale, e)) < 0 ||
            (k = gguf_key_f32(m, "logit_scale", false, &divisor, e)) < 0)
                return k;
        if (p->attention_scale < 0 || p->embedding_scale < 0 || p->residual_scale < 0 || divisor < 0)
                return MODEL_REFUSE(m, e, -EINVAL, "a scale is below 0");
        p->logit_scale = divisor > 0 ? 1 / divisor : 1;
        return 0;
}

static int read_experts(Model *m, Error *e) {
        ModelInfo *i = &m->info;
        uint32_t width = UINT32_MAX;
        int k;
        if (!may_have_experts(m))
                return 0;
        m->params.norm_experts = true;
        if ((k = gguf_key_u32(m, "expert_count", m->kind->experts, &i->n_experts, e)) < 0 ||
            (k = gguf_key_u32(m, "expert_used_count", i->n_experts > 0, &i->n_experts_used, e)) < 0 ||
            (k = gguf_key_u32(m, "expert_feed_forward_length", false, &width, e)) < 0)
                return k;
        const Tensor *gates = gguf_tensor(m->gguf, "blk.0.ffn_gate_exps.weight"); /* tells it where it is not said */
        if (width != UINT32_MAX)
                i->n_ff = width;
        else if (gates && gates->n_dims == 3 && gates->dims[1] <= INT32_MAX)
                i->n_ff = (uint32_t)gates->dims[1];
        if (i->n_ff == 0 || (m->kind->experts && i->n_experts == 0))
                return MODEL_REFUSE(m, e, -EINVAL, "experts, or their networks, are 0 in number or size");
        return model_check_experts(m, e);
}

static int describe_family(Model *m, Error *e) {
        if (m->arch == &arch_bert)
                return describe_gguf_bert(m, e);
        int k = read_eps(m, e);
        if (k == 0)
                k = read_slides(m, e);
        if (k == 0 && m->kind->gemma)
                k = read_gemma(m, e);
        if (k == 0 && m->kind->still_every > 0)
                k = model_still(m, m->kind->still_every, e);
        if (k == 0)
                k = read_scales(m, e);
        if (k < 0 || (k = read_experts(m, e)) < 0)
                return k;
        return read_embedder(m, e);
}

static int describe(Model *m, Error *e) {
        int k;
        if (m->n_tensors == 0)
                return MODEL_REFUSE(m, e, -EINVAL, "holds a vocabulary only, no weights");
        m->info.window = m->kind->gemma && m->kind->global_every == 2 ? 4096 : 0; /* gemma2's, where none is named */
        if ((k = read_sizes(m, e)) < 0 || (k = read_heads(m, e)) < 0 || (k = refuse_options(m, e)) < 0 ||
            (k = check_causal(m, e)) < 0 || (k = describe_family(m, e)) < 0 ||
            (k = read_rope(m, &m->params.rope, e)) < 0)
                return k;
        m->info.n_vocab = (uint32_t)MIN(count_tokens(m), (uint64_t)UINT32_MAX);
        return 0;
}

/* ---- opening ---- */

/* The names of mixtures of formats, which tensors do not tell; the numbers are those of enum llama_ftype in llama.h. */
static const char *mixture(uint64_t file_type) {
        static const char *const names[] = {[10] = "Q2_K",   [11] = "Q3_K_S", [12] = "Q3_K_M", [13] = "Q3_K_L", [14] = "Q4_K_S",
                                            [15] = "Q4_K_M", [16] = "Q5_K_S", [17] = "Q5_K_M", [18] = "Q6_K",   [21] = "Q2_K_S",
                                            [25] = "IQ4_NL", [30] = "IQ4_XS",  [38] = "MXFP4"};
        return file_type < ARRAY_SIZE(names) && names[file_type] ? names[file_type] : "";
}

static int name_it(Model *m, Error *e) {
        uint64_t file_type = 0;
        FileText name = {0};
        int k = gguf_get_string(m->gguf, "general.architecture", &name, e);
        if (k < 0)
                return k == -ENOENT ? -EINVAL : k;
        file_text(m->info.architecture, sizeof(m->info.architecture), name);
        name = (FileText){0};
        (void)gguf_get_string(m->gguf, "general.name", &name, NULL); /* may be absent */
        if (name.len > 0)
                file_text(m->info.name, sizeof(m->info.name), name);
        (void)gguf_get_u64(m->gguf, "general.file_type", &file_type, NULL); /* so may this */
        snprintf(m->info.quantization, sizeof(m->info.quantization), "%s", mixture(file_type));
        if (!*m->info.name)
                file_text(m->info.name, sizeof(m->info.name), file_base_name(gguf_file(m->gguf)->path));
        return 0;
}

static int open_gguf(Model *m, const char *path, Error *e) {
        int k = gguf_open(path, &m->gguf, e);
        if (k < 0)
                return k;
        m->label = gguf_file(m->gguf)->label;
        m->files = calloc(1, sizeof(*m->files));
        if (!m->files)
                return MODEL_REFUSE(m, e, -ENOMEM, "no memory to open it");
        m->files[m->n_files++] = gguf_file(m->gguf);
        m->tensors = gguf_tensor_at(m->gguf, 0);
        m->n_tensors = gguf_n_tensors(m->gguf);
        return name_it(m, e);
}

static void close_gguf(Model *m) {
        gguf_free(m->gguf);
}

/* LongRoPE's factors of phi3, of which a context has one set. */
static const char *long_name(const Model *m) {
        uint32_t original = m->info.context_length;
        (void)gguf_key_u32(m, "rope.scaling.original_context_length", false, &original, NULL);
        return model_is_long(m, original) ? "rope_factors_long.weight" : "rope_factors_short.weight";
}

/* Ollama's of gpt-oss. */
static bool other_name(const Model *m, const char *name, char *buf, size_t size) {
        static const char *const names[][2] = {
                {"attn_output.weight", "attn_out.weight"}, {"attn_output.bias", "attn_out.bias"},
                {"attn_sinks.weight", "attn_sinks"},       {"post_attention_norm.weight", "ffn_norm.weight"},
        };
        unsigned layer;
        char part[40];
        if (!m->kind->oss || model_has_tensor(m, name) || sscanf(name, "blk.%u.%39s", &layer, part) != 2)
                return false;
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                if (strcmp(part, names[i][0]) == 0) {
                        snprintf(buf, size, "blk.%u.%s", layer, names[i][1]);
                        return model_has_tensor(m, buf);
                }
        return false;
}

static Share tensor_name(const Model *m, const char *name, char *buf, size_t size) {
        static const char *const fused[] = {"attn_q", "attn_k", "attn_v"};
        unsigned layer, expert;
        char part[32], kind[16];
        Fused one;
        if (model_fused(m, name, &one)) {
                snprintf(buf, size, "blk.%u.%s.%s", one.layer, one.attention ? "attn_qkv" : "ffn_up", one.kind);
                return one.share;
        }
        if (other_name(m, name, buf, size))
                return (Share){0};
        snprintf(buf, size, "%s", m->kind->fused && strcmp(name, "rope_freqs.weight") == 0 ? long_name(m) : name);
        if (sscanf(name, "blk.%u.%31[a-z_].%u.weight", &layer, part, &expert) == 3 && !model_has_tensor(m, name)) {
                snprintf(buf, size, "blk.%u.%s_exps.weight", layer, part); /* older files have each by itself */
                return (Share){(uint16_t)expert, (uint16_t)m->info.n_experts, 1};
        }
        if (model_has_tensor(m, name) || sscanf(name, "blk.%u.%31[a-z_].%15s", &layer, part, kind) != 3)
                return (Share){0};
        for (uint8_t i = 0; m->arch == &arch_bert && i < ARRAY_SIZE(fused); i++)
                if (strcmp(part, fused[i]) == 0) {
                        char all[64];
                        snprintf(all, sizeof(all), "blk.%u.attn_qkv.%s", layer, kind);
                        if (!model_has_tensor(m, all))
                                return (Share){0};
                        snprintf(buf, size, "%s", all);
                        return (Share){(uint16_t)i, ARRAY_SIZE(fused), 1};
                }
        return (Share){0};
}

static bool ignores(const Model *m, FileText name) {
        static const char head[] = "output.weight";
        if (m->kind->sees && is_about_images(name))
                return true;
        if (m->kind->fused && name.len > 13 && memcmp(name.data, "rope_factors_", 13) == 0) /* of the other length */
                return true;
        return m->encodes && m->params.head == PRESENT_NO && name.len == sizeof(head) - 1 &&
               memcmp(name.data, head, name.len) == 0;
}

const ModelFormat format_gguf = {
        .name = "gguf",
        .open = open_gguf,
        .close = close_gguf,
        .describe = describe,
        .tensor_name = tensor_name,
        .ignores = ignores,
};
