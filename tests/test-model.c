/* Opening and loading models: what is read from a sound file, what is refused and how it is said, and that a damaged
 * file which still opens can be computed with. The files are those of tests/data, changed a little. */
#include <fcntl.h>

#include "unit.h"
#include "model/model.c"

/* ---- changed files ---- */

static const char *data_path(const char *kind, const char *name) {
        static char path[4096];
        const char *dir = getenv("top_srcdir");
        snprintf(path, sizeof(path), "%s/tests/data/%s-%s.gguf", dir ? dir : ".", kind, name);
        return path;
}

static const char *case_path(const char *name) {
        return data_path("arch", name);
}

static Buf slurp(const char *path) {
        Buf b = BUF_NULL;
        FILE *f = fopen(path, "re");
        if (!f)
                fail_msg("%s: cannot open it", path);
        for (int c; (c = getc(f)) != EOF;)
                buf_putc(&b, (char)c);
        fclose(f);
        assert_false(b.failed);
        return b;
}

static int file_new(const Buf *b) {
        int fd = memfd_create("test.gguf", MFD_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, b->data, b->len, 0), b->len);
        return fd;
}

static int open_fd(int fd, Model **ret, Error *e) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return model_open(path, ret, e);
}

static int open_bytes(const Buf *b, Model **ret, Error *e) {
        int fd = file_new(b);
        int k = open_fd(fd, ret, e);
        close(fd);
        return k;
}

static void put_u32(Buf *b, uint32_t v) {
        buf_put(b, &v, sizeof(v));
}

static void put_string(Buf *b, const char *s, size_t n) {
        uint64_t len = n;
        buf_put(b, &len, sizeof(len));
        buf_put(b, s, n);
}

/* A metadata entry and its value. */
typedef struct Entry {
        const char *key;
        GgufType type;
        uint32_t number;
        float real;
        const char *text;
} Entry;

static void put_entry(Buf *b, const Entry *n) {
        put_string(b, n->key, strlen(n->key));
        put_u32(b, n->type);
        if (n->type == GGUF_STRING)
                put_string(b, n->text, strlen(n->text));
        else if (n->type == GGUF_F32)
                buf_put(b, &n->real, sizeof(n->real));
        else if (n->type == GGUF_BOOL)
                buf_putc(b, (char)n->number);
        else if (n->type == GGUF_U32)
                put_u32(b, n->number);
        else if (strstr(n->key, ".tokens") && n->number > 0) { /* so many empty strings */
                put_u32(b, GGUF_STRING), buf_put(b, &(uint64_t){n->number}, 8);
                for (uint32_t i = 0; i < n->number; i++)
                        put_string(b, "", 0);
        } else if (n->number > 0) { /* an array of so many flags: no, yes, no, … */
                put_u32(b, GGUF_BOOL), buf_put(b, &(uint64_t){n->number}, 8);
                for (uint32_t i = 0; i < n->number; i++)
                        buf_putc(b, i % 2);
        } else /* of two numbers */
                put_u32(b, GGUF_U32), buf_put(b, &(uint64_t){2}, 8), put_u32(b, 1), put_u32(b, 1);
}

/* The file with one more entry at the front, and another that keeps the tensor data aligned. */
static Buf with_entry(const Buf *file, const Entry *n) {
        static const char spaces[64] = "                                ";
        Buf b = BUF_NULL;
        uint64_t count;
        buf_put(&b, file->data, 24);
        memcpy(&count, b.data + 16, sizeof(count));
        count += 2;
        memcpy(b.data + 16, &count, sizeof(count));
        put_entry(&b, n);
        size_t tail = 8 + 3 + 4 + 8; /* of the entry "pad" */
        put_string(&b, "pad", 3);
        put_u32(&b, GGUF_STRING);
        put_string(&b, spaces, (32 - (b.len + 8 - 24) % 32) % 32);
        assert_int_equal((b.len - 24) % 32, 0);
        assert_true(b.len > tail);
        buf_put(&b, file->data + 24, file->len - 24);
        return b;
}

/* Replaces the first `from` by `to`, of the same length. */
static void patch(Buf *b, const void *from, const void *to, size_t n) {
        char *at = memmem(b->data, b->len, from, n);
        assert_non_null(at);
        memcpy(at, to, n);
}

/* Sets the number after a key. */
static void set_number(Buf *b, const char *key, uint32_t value) {
        char *at = memmem(b->data, b->len, key, strlen(key));
        assert_non_null(at);
        memcpy(at + strlen(key) + 4, &value, sizeof(value));
}

/* ---- sound files ---- */

static void test_info(void **state) {
        (void)state;
        _cleanup_(model_freep) Model *m = NULL;
        Error e = ERROR_NULL;
        assert_int_equal(model_open(case_path("qwen3"), &m, &e), 0);
        const ModelInfo *i = model_info(m);
        assert_string_equal(i->architecture, "qwen3");
        assert_string_equal(i->name, "tiny qwen3");
        assert_string_equal(i->quantization, "F32");
        assert_int_equal(i->n_layers, 2);
        assert_int_equal(i->n_embd, 32);
        assert_int_equal(i->n_heads, 4);
        assert_int_equal(i->n_kv_heads, 2);
        assert_int_equal(i->head_dim, 12);
        assert_int_equal(i->n_ff, 32);
        assert_int_equal(i->n_vocab, 40);
        assert_int_equal(i->context_length, 64);
        assert_int_equal(i->window, 0);
        /* 2 tables, 1 norm; in each layer q, k, v, o, 3 of the network, 2 norms, 2 head norms */
        assert_int_equal(i->n_params,
                         2 * 40 * 32 + 32 + 2 * (2 * 32 * 48 + 2 * 32 * 24 + 3 * 32 * 32 + 2 * 32 + 2 * 12));
        assert_int_equal(i->weights_size, 4 * i->n_params);
        assert_int_equal(model_kv_type(m), DTYPE_F32);
        assert_int_equal(model_kv_page_size(m, DTYPE_F16, 16), 2 * 2 * 16 * 2 * 12 * 2);
}

/* As most bytes are stored, or by the name that the file has for its mixture. */
static void test_quantization(void **state) {
        (void)state;
        _cleanup_(model_freep) Model *mixed = NULL, *unnamed = NULL;
        assert_int_equal(model_open(data_path("quant", "q4_k_m"), &mixed, NULL), 0);
        assert_string_equal(model_info(mixed)->quantization, "Q4_K_M");
        _cleanup_buf_ Buf b = slurp(data_path("quant", "q4_k_m"));
        set_number(&b, "general.file_type", 4711);
        assert_int_equal(open_bytes(&b, &unnamed, NULL), 0);
        assert_string_equal(model_info(unnamed)->quantization, "Q6_K");
        skip_without("models/babyllama105-q8_0.gguf");
        _cleanup_(model_freep) Model *m = NULL;
        assert_int_equal(model_open(test_data("models/babyllama105-q8_0.gguf"), &m, NULL), 0);
        assert_string_equal(model_info(m)->quantization, "Q8_0");
        assert_int_equal(model_kv_type(m), DTYPE_F16);
}

/* The first tensor is of another type than most. */
static void test_mixed(void **state) {
        (void)state;
        _cleanup_(model_freep) Model *m = NULL;
        _cleanup_buf_ Buf b = slurp(case_path("llama3"));
        Dtype half = DTYPE_F16;
        char *at = memmem(b.data, b.len, "token_embd.weight", 17);
        assert_non_null(at);
        memcpy(at + 17 + 4 + 2 * 8, &half, sizeof(half)); /* after n_dims and dims */
        assert_int_equal(open_bytes(&b, &m, NULL), 0);
        assert_int_equal(gguf_tensor_at(model_gguf(m), 0)->type, DTYPE_F16);
        assert_string_equal(model_info(m)->quantization, "F32");
}

static void test_window_and_name(void **state) {
        (void)state;
        _cleanup_(model_freep) Model *m = NULL, *n = NULL;
        _cleanup_buf_ Buf b = slurp(case_path("mistral"));
        assert_int_equal(model_open(case_path("mistral"), &m, NULL), 0);
        assert_int_equal(model_info(m)->window, 7);
        patch(&b, "tiny mistral", "t\nny\xffmistral", 12);
        assert_int_equal(open_bytes(&b, &n, NULL), 0);
        assert_string_equal(model_info(n)->name, "t?ny"); /* neither control characters nor what is not UTF-8 */
}

/* Values from IEEE 754. */
static void test_half(void **state) {
        (void)state;
        static const struct {
                uint16_t half;
                float value;
        } cases[] = {
                {0x0000, 0},        {0x3c00, 1},           {0xc000, -2},       {0x7bff, 65504},
                {0x0001, 0x1p-24f}, {0x03ff, 0x3.ffp-16f}, {0x0400, 0x1p-14f}, {0x3555, 0.333251953f},
                {0x7c00, INFINITY}, {0xfc00, -INFINITY},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                assert_true(from_half(cases[i].half) == cases[i].value);
        assert_true(isnan(from_half(0x7e00)));
        assert_true(signbit(from_half(0x8000)));
}

/* ---- refused files ---- */

static void refused(const Buf *b, int code, const char *message) {
        Model *m = NULL;
        Error e = ERROR_NULL;
        int k = open_bytes(b, &m, &e);
        if (k != code || !strstr(e.text, message) || strncmp(e.text, "/proc/self/fd/", 14) != 0)
                fail_msg("wanted %d '%s', got %d '%s'", code, message, k, e.text);
        assert_null(m);
}

/* Options that change the result and that we do not compute. */
static void test_options(void **state) {
        (void)state;
        static const struct {
                Entry entry;
                int code;
                const char *message;
        } cases[] = {
                {{"llama.expert_count", GGUF_U32, .number = 8}, -EINVAL, "key 'llama.expert_used_count' is missing"},
                {{"llama.expert_shared_count", GGUF_U32, .number = 1}, -EOPNOTSUPP, "asks for experts that all tokens go to"},
                {{"llama.attn_logit_softcapping", GGUF_F32, .real = 30}, -EOPNOTSUPP, "asks for soft-capped attention"},
                {{"llama.final_logit_softcapping", GGUF_F32, .real = 30}, -EOPNOTSUPP, "asks for soft-capped logits"},
                {{"llama.attention.clamp_kqv", GGUF_F32, .real = 8}, -EOPNOTSUPP, "asks for clamped attention"},
                {{"llama.use_parallel_residual", GGUF_BOOL, .number = 1}, -EOPNOTSUPP, "asks for parallel residuals"},
                {{"llama.attention.causal", GGUF_BOOL, .number = 0}, -EOPNOTSUPP, "asks for attention in both"},
                {{"llama.logit_scale", GGUF_F32, .real = 0.5f}, -EOPNOTSUPP, "asks for scaled logits"},
                {{"llama.attention.sliding_window_pattern", GGUF_ARRAY},
                 -EOPNOTSUPP,
                 "a sliding window in some layers"},
                {{"llama.rope.scaling.type", GGUF_STRING, .text = "yarn"}, -EOPNOTSUPP, "'rope_freqs.weight' has no place"},
                {{"llama.rope.scaling.yarn_attn_factor", GGUF_F32, .real = 2}, -EOPNOTSUPP, "asks for YaRN with an attention factor"},
                {{"llama.rope.scaling.type", GGUF_STRING, .text = "longrope"},
                 -EOPNOTSUPP,
                 "'longrope' is not supported; linear and yarn are"},
                {{"llama.rope.scaling.type", GGUF_U32, .number = 1}, -EINVAL, "is u32, should be a string"},
                {{"llama.rope.scaling.factor", GGUF_F32, .real = -1}, -EINVAL, "'llama.rope.scaling.factor': is -1"},
                {{"llama.rope.scaling.factor", GGUF_F32, .real = NAN}, -EINVAL, "nan, should be a number"},
                {{"llama.rope.dimension_count", GGUF_U32, .number = 7}, -EINVAL, "is 7, should be even and at most 8"},
                {{"llama.rope.dimension_count", GGUF_U32, .number = 10},
                 -EINVAL,
                 "is 10, should be even and at most 8"},
                {{"llama.rope.dimension_count", GGUF_U32, .number = 4},
                 -EINVAL,
                 "rope_freqs.weight: is [4], should be [2]"},
                {{"llama.attention.key_length", GGUF_U32, .number = 7}, -EINVAL, "heads of 7 values cannot be rotated"},
                {{"llama.attention.key_length", GGUF_U32, .number = 6},
                 -EINVAL,
                 "rope_freqs.weight: is [4], should be [3]"},
                {{"llama.attention.value_length", GGUF_U32, .number = 4},
                 -EOPNOTSUPP,
                 "different lengths are not supported"},
                {{"llama.attention.sliding_window", GGUF_F32, .real = 4}, -EINVAL, "is f32, should be a whole number"},
                {{"tokenizer.ggml.tokens", GGUF_ARRAY}, -EINVAL, "token_embd.weight: is [32, 40], should be [32, 2]"},
        };
        _cleanup_buf_ Buf file = slurp(case_path("llama3"));
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_buf_ Buf b = with_entry(&file, &cases[i].entry);
                refused(&b, cases[i].code, cases[i].message);
        }
}

/* Keys that some families have. The entry comes first in the file, and the first of a name counts. */
static void test_families(void **state) {
        (void)state;
        static const struct {
                const char *file;
                Entry entry;
                int code;
                const char *message;
        } cases[] = {
                {"qwen3", {"qwen3.expert_count", GGUF_U32, .number = 8}, -EOPNOTSUPP, "'qwen3.expert_count' asks for a mixture"},
                {"qwen3", {"qwen3.attn_logit_softcapping", GGUF_F32, .real = 30}, -EOPNOTSUPP, "asks for soft-capped attention"},
                {"yarn", {"qwen3.rope.scaling.yarn_beta_fast", GGUF_F32, .real = 0}, -EINVAL, "its YaRN scaling has a number of 0"},
                {"yarn", {"qwen3.rope.dimension_count", GGUF_U32, .number = 6}, -EOPNOTSUPP, "heads that rotate in part"},
                {"gemma2", {"gemma2.pooling_type", GGUF_U32, .number = 1}, -EOPNOTSUPP, "making embeddings is not supported"},
                {"gemma3", {"gemma3.attention.sliding_window_pattern", GGUF_U32, .number = 0}, -EINVAL, "does not fit 7 layers"},
                {"gemma3", {"gemma3.attention.sliding_window_pattern", GGUF_ARRAY, .number = 6}, -EINVAL, "does not fit 7 layers"},
                {"gemma3", {"gemma3.final_logit_softcapping", GGUF_F32, .real = -1}, -EINVAL, "is below 0"},
                {"granite", {"granite.pooling_type", GGUF_U32, .number = 3}, -EOPNOTSUPP, "making embeddings is not supported"},
                {"qwen3", {"qwen3.rope.scaling.attn_factor", GGUF_F32, .real = 1.5f}, -EOPNOTSUPP, "rope scaling with an attention factor"},
                {"mistral3", {"mistral3.rope.scaling_beta", GGUF_F32, .real = 0.1f}, -EOPNOTSUPP, "asks for attention temperature"},
                {"mistral3", {"mistral3.rope.scaling.mscale_all_dim", GGUF_F32, .real = 1}, -EOPNOTSUPP, "YaRN with a factor of its magnitude"},
                {"qwen3moe", {"qwen3moe.pooling_type", GGUF_U32, .number = 3}, -EOPNOTSUPP, "making embeddings is not supported"},
                {"qwen3moe", {"qwen3moe.expert_weights_scale", GGUF_F32, .real = 2}, -EOPNOTSUPP, "asks for scaled weights of experts"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_buf_ Buf file = slurp(case_path(cases[i].file)), b = with_entry(&file, &cases[i].entry);
                refused(&b, cases[i].code, cases[i].message);
        }
}

static void test_numbers(void **state) {
        (void)state;
        enum { ONE = 0x3f800000 /* as a float */ };
        static const struct {
                const char *file, *key;
                uint32_t value;
                int code;
                const char *message;
        } cases[] = {
                {"yarn", "qwen3.rope.scaling.original_context_length", 0, -EINVAL, "its YaRN scaling has a number of 0"},
                {"yarn", "qwen3.rope.scaling.factor", 0, -EINVAL, "its YaRN scaling has a number of 0"},
                {"yarn", "qwen3.rope.freq_base", ONE, -EINVAL, "a base that is not above 1"},
                {"qwen3moe", "qwen3moe.expert_count", 0, -EINVAL, "experts, or their networks, are 0"},
                {"qwen3moe", "qwen3moe.expert_count", 513, -EOPNOTSUPP, "513 experts in a layer; at most 512 are supported"},
                {"qwen3moe", "qwen3moe.expert_count", 4, -EINVAL, "blk.0.ffn_gate_inp.weight: is [32, 5], should be [32, 4]"},
                {"qwen3moe", "qwen3moe.expert_used_count", 6, -EINVAL, "6 of 5 experts cannot be used"},
                {"qwen3moe", "qwen3moe.expert_used_count", 0, -EINVAL, "0 of 5 experts cannot be used"},
                {"qwen3moe", "qwen3moe.expert_feed_forward_length", 0, -EINVAL, "experts, or their networks, are 0"},
                {"qwen3moe", "qwen3moe.expert_feed_forward_length", 25, -EINVAL, "ffn_gate_exps.weight: is [32, 24, 5], should be [32, 25, 5]"},
                {"granite", "granite.residual_scale", 0xbf800000, -EINVAL, "a scale is below 0"}, /* -1 */
                {"phi3", "phi3.attention.head_count", 65534, -EOPNOTSUPP, "65534 attention heads are not supported"},
                {"phi3", "phi3.attention.head_count_kv", 1, -EINVAL, "attn_qkv.weight: is [32, 64], should be [32, 48]"},
                {"phi3", "phi3.feed_forward_length", 31, -EINVAL, "ffn_up.weight: is [32, 64], should be [32, 62]"},
                {"phi3-long", "phi3.rope.dimension_count", 10, -EINVAL, "rope_factors_long.weight: is [6], should be [5]"},
                {"smollm3", "smollm3.block_count", 4, -EOPNOTSUPP, "has no place in a smollm3 model"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_buf_ Buf b = slurp(case_path(cases[i].file));
                set_number(&b, cases[i].key, cases[i].value);
                refused(&b, cases[i].code, cases[i].message);
        }
        _cleanup_buf_ Buf b = slurp(case_path("qwen3moe"));
        patch(&b, "blk.1.ffn_up_exps", "blk.1.ffn_xx_exps", 17);
        refused(&b, -EINVAL, "blk.1.ffn_up_exps.weight: is missing");
}

static void check_slides(const char *key, GgufType type, uint32_t number, unsigned slides) {
        _cleanup_buf_ Buf file = slurp(case_path("gemma3")), b = with_entry(&file, &(Entry){key, type, .number = number});
        _cleanup_(model_freep) Model *m = NULL;
        Error e = ERROR_NULL;
        if (open_bytes(&b, &m, &e) < 0)
                fail_msg("%s", e.text);
        for (uint32_t l = 0; l < m->info.n_layers; l++)
                assert_int_equal(m->params.slides[l], slides >> l & 1);
}

/* What a file says that has the first name changed to the second, of the same length. */
static Model *renamed(const char *file, const char *from, const char *to) {
        Model *m = NULL;
        Error e = ERROR_NULL;
        _cleanup_buf_ Buf b = slurp(case_path(file));
        assert_int_equal(strlen(from), strlen(to));
        patch(&b, from, to, strlen(from));
        if (open_bytes(&b, &m, &e) < 0)
                fail_msg("%s", e.text);
        return m;
}

static void test_gemma_defaults(void **state) {
        (void)state;
        _cleanup_(model_freep) Model *swa = renamed("gemma3", "rope.freq_base_swa", "rope.freq_base_xyz");
        assert_true(swa->params.local_base == 10000 && swa->params.rope.base == 1000);
        _cleanup_(model_freep) Model *base = renamed("gemma3", "gemma3.rope.freq_base", "gemma3.xxxx.freq_base");
        assert_true(base->params.local_base == 50 && base->params.rope.base == 1000000);
        _cleanup_(model_freep) Model *second = renamed("gemma2", "gemma2.attention.sliding_window", "gemma2.attention.sliding_xxxxxx");
        assert_int_equal(second->info.window, 4096);
        _cleanup_(model_freep) Model *caps = renamed("gemma2", "gemma2.attn_logit", "gemma2.xxxx_logit");
        assert_true(caps->params.attention_cap == 50 && caps->params.logit_cap == 20);
        _cleanup_buf_ Buf b = slurp(case_path("gemma3"));
        patch(&b, "attention.sliding_window", "attention.sliding_xxxxxx", 24);
        refused(&b, -EINVAL, "key 'gemma3.attention.sliding_window': is missing");
        static const Entry ollama[] = {{"gemma3.rope.global.freq_base", GGUF_F32, .real = 77}, {"gemma3.rope.local.freq_base", GGUF_F32, .real = 78}};
        for (size_t i = 0; i < ARRAY_SIZE(ollama); i++) {
                Model *m = NULL;
                Error e = ERROR_NULL;
                _cleanup_buf_ Buf file = slurp(case_path("gemma3"));
                patch(&file, i ? "rope.freq_base_swa" : "rope.freq_base", i ? "rope.freq_base_xyz" : "rope.xxxx_base", i ? 18 : 14);
                _cleanup_buf_ Buf with = with_entry(&file, &ollama[i]);
                assert_int_equal(open_bytes(&with, &m, &e), 0);
                assert_true(i ? m->params.local_base == 78 : m->params.rope.base == 77);
                model_free(m);
        }
}

/* What sees has no part in texts, of the kinds that may see; and of tokens that are only images' there are no weights. */
static void test_sees(void **state) {
        (void)state;
        static const Entry tokens = {"tokenizer.ggml.tokens", GGUF_ARRAY, .number = 42};
        _cleanup_buf_ Buf other = slurp(case_path("qwen2vl")), seeing = slurp(case_path("ollama-gemma3")), more = with_entry(&seeing, &tokens);
        while (memmem(other.data, other.len, "qwen2vl", 7))
                patch(&other, "qwen2vl", "mistral", 7);
        refused(&other, -EOPNOTSUPP, "'v.blk.0.attn_q.weight' has no place in a mistral model");
        _cleanup_(model_freep) Model *m = NULL;
        Error e = ERROR_NULL;
        if (open_bytes(&more, &m, &e) < 0)
                fail_msg("%s", e.text);
        assert_int_equal(m->info.n_vocab, 40);
        size_t all = 0;
        for (size_t i = 0; i < m->n_tensors; i++)
                all += m->tensors[i].size;
        assert_int_equal(m->info.weights_size, all - 2 * 16 * sizeof(float)); /* which takes no memory */
}

/* Where a file does not say how wide experts are, they do. */
static void test_width_of_experts(void **state) {
        (void)state;
        _cleanup_(model_freep) Model *m = renamed("qwen3moe", "qwen3moe.expert_feed_forward_length", "qwen3moe.xxxxxx_feed_forward_length");
        assert_int_equal(m->info.n_ff, 24);
}

static void test_slides(void **state) {
        (void)state;
        check_slides("pad too", GGUF_U32, 1, 0x5f); /* every sixth does not */
        check_slides("gemma3.attention.sliding_window_pattern", GGUF_U32, 3, 0x5b);
        check_slides("gemma3.attention.sliding_window_pattern", GGUF_ARRAY, 7, 0x2a); /* see put_entry() */
}

/* The same keys with values that change nothing. */
static void test_neutral(void **state) {
        (void)state;
        static const Entry cases[] = {
                {"llama.expert_count", GGUF_U32, .number = 0},
                {"llama.use_parallel_residual", GGUF_BOOL, .number = 0},
                {"llama.attention.causal", GGUF_BOOL, .number = 1},
                {"llama.logit_scale", GGUF_F32, .real = 1},
                {"llama.rope.scaling.type", GGUF_STRING, .text = "none"},
                {"llama.attention.value_length", GGUF_U32, .number = 8},
                {"llama.rope.dimension_count", GGUF_U32, .number = 8},
                {"some.other.key", GGUF_ARRAY},
        };
        _cleanup_buf_ Buf file = slurp(case_path("llama3"));
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_buf_ Buf b = with_entry(&file, &cases[i]);
                _cleanup_(model_freep) Model *m = NULL;
                Error e = ERROR_NULL;
                if (open_bytes(&b, &m, &e) < 0)
                        fail_msg("%s: %s", cases[i].key, e.text);
        }
}

static void test_tensors(void **state) {
        (void)state;
        static const struct {
                const char *from, *to;
                int code;
                const char *message;
        } cases[] = {
                {"llama", "lxama", -EOPNOTSUPP,
                 "architecture 'lxama' is not supported; supported are llama, mistral, qwen2, qwen2vl, qwen25vl, qwen3vl, qwen3vlmoe, mistral3, qwen3, qwen3moe, gpt-oss, gptoss, phi3, granite, smollm3, olmo2, gemma, gemma2, gemma3, bert, roberta, xlm-roberta, nomic-bert"},
                {"general.architecture", "general.architectura", -EINVAL, "key 'general.architecture' is missing"},
                {"llama.block_count", "llama.block_kount", -EINVAL, "key 'llama.block_count' is missing"},
                {"rms_epsilon", "rms_epsilom", -EINVAL, "key 'llama.attention.layer_norm_rms_epsilon' is missing"},
                {"token_embd.weight", "token_embx.weight", -EINVAL, "token_embd.weight: is missing"},
                {"blk.1.ffn_up.weight", "blk.1.ffn_op.weight", -EINVAL,
                 "blk.1.ffn_up.weight: is missing; the file is not a complete llama model"},
                {"rope_freqs.weight", "rope_freks.weight", -EOPNOTSUPP,
                 "tensor 'rope_freks.weight' has no place in a llama model"},
                {"blk.0.attn_q.bias", "blk.0.attn_x.bias", -EOPNOTSUPP, "tensor 'blk.0.attn_x.bias' has no place"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_buf_ Buf b = slurp(case_path("llama3"));
                patch(&b, cases[i].from, cases[i].to, strlen(cases[i].from));
                refused(&b, cases[i].code, cases[i].message);
        }
}

static void test_sizes(void **state) {
        (void)state;
        static const struct {
                const char *key;
                uint32_t value;
                const char *message;
        } cases[] = {
                {"llama.attention.head_count_kv", 4, "blk.0.attn_k.weight: is [32, 16], should be [32, 32]"},
                {"llama.attention.head_count_kv", 3, "4 attention heads cannot share 3 key/value heads"},
                {"llama.attention.head_count_kv", 0, "4 attention heads cannot share 0 key/value heads"},
                {"llama.attention.head_count", 0, "key 'llama.attention.head_count': is 0"},
                {"llama.attention.head_count", 64, "attention heads of 0 values cannot be rotated"},
                {"llama.embedding_length", 64, "token_embd.weight: is [32, 40], should be [64, 40]"},
                {"llama.embedding_length", UINT32_MAX,
                 "key 'llama.embedding_length': is 4294967295, which is too large"},
                {"llama.feed_forward_length", 48, "blk.0.ffn_gate.weight: is [32, 32], should be [32, 48]"},
                {"llama.block_count", 3, "blk.2.attn_q.weight: is missing"},
                {"llama.block_count", 1, "has no place in a llama model"},
                {"llama.block_count", 0x7fffffff, "is 2147483647, but there are only"},
                {"llama.context_length", 0, "key 'llama.context_length': is 0"},
                {"llama.rope.freq_base", 0, "key 'llama.rope.freq_base': is 0, should be positive"},
                {"llama.rope.freq_base", 0x7f800000, "key 'llama.rope.freq_base': is inf, should be a number"},
                {"llama.attention.layer_norm_rms_epsilon", 0xbf800000, "layer_norm_rms_epsilon': is -1"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_buf_ Buf b = slurp(case_path("llama3"));
                set_number(&b, cases[i].key, cases[i].value);
                bool extra = cases[i].value == 1;
                refused(&b, extra ? -EOPNOTSUPP : -EINVAL, cases[i].message);
        }
}

static void test_vocabulary_only(void **state) {
        (void)state;
        skip_without("tokenizers/ggml-vocab/ggml-vocab-llama-spm.gguf");
        Model *m = NULL;
        Error e = ERROR_NULL;
        assert_int_equal(model_open(test_data("tokenizers/ggml-vocab/ggml-vocab-llama-spm.gguf"), &m, &e), -EINVAL);
        assert_non_null(strstr(e.text, "holds a vocabulary only, no weights"));
}

/* ---- loading ---- */

static bool never(float done, void *arg) {
        (void)done;
        ++*(int *)arg;
        return false;
}

static bool rising(float done, void *arg) {
        float *last = arg;
        assert_true(done >= *last && done <= 1);
        *last = done;
        return true;
}

static void test_load(void **state) {
        Device *d = *state;
        _cleanup_(model_freep) Model *m = NULL;
        Error e = ERROR_NULL;
        int calls = 0;
        float last = 0;
        assert_int_equal(model_open(case_path("llama3"), &m, &e), 0);
        assert_int_equal(model_load(m, d, never, &calls, &e), -ECANCELED);
        assert_int_equal(calls, 1);
        assert_non_null(strstr(e.text, "loading was cancelled"));
        assert_int_equal(model_load(m, d, rising, &last, &e), 0);
        assert_true(last == 1);
        assert_int_equal(model_load(m, d, NULL, NULL, &e), -EBUSY);
        assert_true(m->matrices[0].wrapped);
        const Matrix *w = m->weights[0].matrix;
        assert_ptr_equal(w->data, m->weights[0].tensor->data);
}

/* Some steps with a model whose file was damaged but opened: nothing out of bounds is touched. */
static void compute(Model *m, Device *d) {
        enum { N = 4, PAGE_ROWS = 4 };
        Error e = ERROR_NULL;
        Stream *s;
        _cleanup_(workspace_freep) Workspace *w = NULL;
        Buffer arena, ints;
        uint64_t ticket;
        float *logits;
        assert_int_equal(model_load(m, d, NULL, NULL, &e), 0);
        assert_int_equal(d->ops->stream_new(d, STREAM_STEPS, &s, &e), 0);
        assert_int_equal(workspace_new(m, d, N, N, &w, &e), 0);
        assert_int_equal(d->ops->buffer_new(d, model_kv_page_size(m, DTYPE_F16, PAGE_ROWS), &arena), 0);
        assert_int_equal(d->ops->buffer_new(d, 64 * sizeof(int32_t), &ints), 0);
        int32_t *zero = ints.data, *position = zero + 16, *tokens = zero + 32;
        d->ops->upload(s, position, (int32_t[N]){0, 1, 2, 3}, N * sizeof(int32_t));
        d->ops->upload(s, tokens, (int32_t[N]){1, 5, 1, 0}, N * sizeof(int32_t));
        Rows rows = {.n = N, .slot = zero, .position = position, .tokens = tokens, .context = N};
        KvArena kv = {.data = arena.data,
                      .type = DTYPE_F16,
                      .page_size = PAGE_ROWS,
                      .n_pages = 1,
                      .block_tables = zero,
                      .max_pages = 1};
        model_forward(m, w, s, &rows, &kv, position, N, &logits, NULL);
        assert_int_equal(d->ops->mark(s, &ticket), 0);
        assert_int_equal(d->ops->wait(s, ticket), 0);
        d->ops->stream_free(s);
        d->ops->buffer_free(d, &arena);
        d->ops->buffer_free(d, &ints);
}

static void test_flipped(void **state) {
        enum { FLIPS = 3000, HEADER = 2300 };
        static const char *const names[] = {"llama3", "mistral", "qwen2", "qwen3"};
        unsigned opened = 0;
        uint64_t rng = 88172645463325252u;
        for (size_t n = 0; n < ARRAY_SIZE(names); n++) {
                _cleanup_buf_ Buf b = slurp(case_path(names[n]));
                int fd = file_new(&b);
                for (int i = 0; i < FLIPS; i++) {
                        rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17; /* xorshift64 */
                        size_t at = (rng >> 3) % HEADER;
                        uint8_t byte = (uint8_t)((uint8_t)b.data[at] ^ (1u << (rng & 7)));
                        _cleanup_(model_freep) Model *m = NULL;
                        Error e = ERROR_NULL;
                        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
                        if (open_fd(fd, &m, &e) < 0)
                                assert_true(strlen(e.text) > 20);
                        else if (opened++ % 4 == 0)
                                compute(m, *state);
                        assert_int_equal(pwrite(fd, &b.data[at], 1, (off_t)at), 1);
                }
                close(fd);
        }
        print_message("%u of %zu damaged files opened\n", opened, FLIPS * ARRAY_SIZE(names));
        assert_in_range(opened, 10, FLIPS * ARRAY_SIZE(names) / 2);
}

static int group_setup(void **state) {
        Error e = ERROR_NULL;
        return device_cpu_new(1, (Device **)state, &e);
}

static int group_teardown(void **state) {
        device_free(*state);
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_info),
                cmocka_unit_test(test_quantization),
                cmocka_unit_test(test_half),
                cmocka_unit_test(test_mixed),
                cmocka_unit_test(test_window_and_name),
                cmocka_unit_test(test_options),
                cmocka_unit_test(test_families),
                cmocka_unit_test(test_numbers),
                cmocka_unit_test(test_gemma_defaults),
                cmocka_unit_test(test_sees), cmocka_unit_test(test_width_of_experts), cmocka_unit_test(test_slides),
                cmocka_unit_test(test_neutral),
                cmocka_unit_test(test_tensors),
                cmocka_unit_test(test_vocabulary_only),
                cmocka_unit_test(test_sizes),
                cmocka_unit_test(test_load),
                cmocka_unit_test(test_flipped),
        };
        return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
