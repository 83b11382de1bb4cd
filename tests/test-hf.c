/* Models from Hugging Face directories: what is understood of config.json, and what is refused, with the directories of
 * tests/data changed a little. */
#include <errno.h>
#include <jansson.h>

#define MODELS "hf-"
#include "model-folder.h"

static void copy(const Folder *f, const char *name, const char *file, const char *as) {
        size_t n;
        _cleanup_free_ char *data = read_file(source(name, file), &n);
        folder_put(f, as, data, n);
}

static void copy_all(const Folder *f, const char *name) {
        DIR *d = opendir(source(name, ""));
        assert_non_null(d);
        for (struct dirent *e; (e = readdir(d));)
                if (e->d_name[0] != '.')
                        copy(f, name, e->d_name, e->d_name);
        closedir(d);
}

/* ---- understood ---- */

static void test_info(void **state) {
        Folder *f = *state;
        copy_all(f, "qwen3");
        _cleanup_(model_freep) Model *m = open_model(f);
        const ModelInfo *i = model_info(m);
        assert_string_equal(i->format, "safetensors");
        assert_string_equal(i->architecture, "qwen3");
        assert_string_equal(i->name, strrchr(f->path, '/') + 1);
        assert_string_equal(i->quantization, "F32");
        assert_int_equal(i->n_layers, 2);
        assert_int_equal(i->n_embd, 32);
        assert_int_equal(i->n_heads, 4);
        assert_int_equal(i->n_kv_heads, 2);
        assert_int_equal(i->head_dim, 12);
        assert_int_equal(i->n_ff, 16);
        assert_int_equal(i->n_vocab, 40);
        assert_int_equal(i->context_length, 64);
        assert_int_equal(i->window, 0);
        assert_int_equal(i->n_params,
                         2 * 40 * 32 + 32 + 2 * (2 * 32 * 48 + 2 * 32 * 24 + 3 * 32 * 16 + 2 * 32 + 2 * 12));
        assert_int_equal(i->weights_size, 4 * i->n_params);
        assert_int_equal(m->n_files, 4);
        assert_null(model_gguf(m));
        assert_non_null(model_hf(m));
}

/* Older files spell rope out at the top, newer ones in rope_parameters. */
static void test_rope(void **state) {
        Folder *f = *state;
        copy_all(f, "mistral");
        _cleanup_(model_freep) Model *newer = open_model(f);
        put_changed(f, "mistral", "config.json",
                    "{\"rope_parameters\": null, \"rope_theta\": 500, \"rope_scaling\": "
                    "{\"type\": \"linear\", \"factor\": 2}}");
        _cleanup_(model_freep) Model *older = open_model(f);
        const Model *both[] = {newer, older};
        for (size_t i = 0; i < ARRAY_SIZE(both); i++) {
                assert_true(both[i]->params.rope.base == 500);
                assert_true(both[i]->params.rope.scale == 0.5f);
                assert_int_equal(both[i]->params.rope.style, ROPE_NEOX);
                assert_int_equal(both[i]->info.window, 7);
                assert_int_equal(both[i]->type, DTYPE_BF16);
        }
}

/* What is absent is as transformers has it; a window counts where the model's class looks at it. */
static void test_defaults(void **state) {
        Folder *f = *state;
        static const struct {
                const char *model, *members;
                uint32_t window;
        } cases[] = {
                {"mistral", "{\"sliding_window\": null}", 0},
                {"mistral", "{\"sliding_window\": 5}", 5},
                {"llama", "{\"sliding_window\": 5}", 0},
                {"qwen2", "{\"sliding_window\": 5}", 0},
                {"qwen2", "{\"sliding_window\": 5, \"use_sliding_window\": true, \"layer_types\": null}", 0},
                {"qwen2",
                 "{\"sliding_window\": 5, \"use_sliding_window\": true, \"layer_types\": null, "
                 "\"max_window_layers\": 0}",
                 5},
                {"qwen2",
                 "{\"sliding_window\": 5, \"use_sliding_window\": true, \"layer_types\": "
                 "[\"sliding_attention\", \"sliding_attention\"]}",
                 5},
                {"llama", "{\"architectures\": null, \"head_dim\": null, \"partial_rotary_factor\": 1.0}", 0},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                copy_all(f, cases[i].model);
                put_changed(f, cases[i].model, "config.json", cases[i].members);
                _cleanup_(model_freep) Model *m = open_model(f);
                assert_int_equal(model_info(m)->window, cases[i].window);
                folder_put(f, "model.safetensors", NULL, 0);
        }
}

/* Two files that old models hold and that say nothing new: the rotary frequencies, and the table twice. */
static void test_ignored(void **state) {
        Folder *f = *state;
        size_t n;
        uint64_t len;
        copy_all(f, "llama");
        _cleanup_free_ char *file = read_file(source("llama", "model.safetensors"), &n);
        memcpy(&len, file, sizeof(len));
        static const char from[] = "\"model.layers.0.self_attn.q_proj.bias\"",
                          to[] = "\"model.layers.0.self_attn.rotary_emb.inv_freq\"";
        char *at = memmem(file + 8, len, from, sizeof(from) - 1), *data = calloc(1, n + sizeof(to));
        assert_true(at && data);
        size_t before = (size_t)(at - file), grown = sizeof(to) - sizeof(from);
        memcpy(data, file, before);
        memcpy(data + before, to, sizeof(to) - 1);
        memcpy(data + before + sizeof(to) - 1, at + sizeof(from) - 1, n - before - sizeof(from) + 1);
        len += grown;
        memcpy(data, &len, sizeof(len));
        folder_put(f, "model.safetensors", data, n + grown);
        free(data);
        refused(f, -EINVAL, "model.layers.0.self_attn.q_proj.bias: is missing");
        put_changed(f, "llama", "config.json", "{\"attention_bias\": false}");
        refused(f, -EOPNOTSUPP, "_proj.bias' has no place"); /* of the frequencies it does not speak */
        put_changed(f, "llama", "config.json", "{\"tie_word_embeddings\": true}");
        copy(f, "llama", "model.safetensors", "model.safetensors");
        _cleanup_(model_freep) Model *m = open_model(f);
}

/* Numbers that begin at an odd byte are copied to where they can be read. */
static void test_unaligned(void **state) {
        Folder *f = *state;
        Device *d;
        Error e = ERROR_NULL;
        size_t n;
        uint64_t len;
        copy_all(f, "llama");
        _cleanup_free_ char *file = read_file(source("llama", "model.safetensors"), &n), *odd = calloc(1, n + 1);
        memcpy(&len, file, sizeof(len));
        memcpy(odd, file, 8 + len);
        odd[8 + len] = ' ';
        memcpy(odd + 8 + len + 1, file + 8 + len, n - 8 - len);
        len++;
        memcpy(odd, &len, sizeof(len));
        folder_put(f, "model.safetensors", odd, n + 1);
        _cleanup_(model_freep) Model *m = open_model(f);
        assert_int_equal(device_cpu_new(1, &d, &e), 0);
        assert_int_equal(model_load(m, d, NULL, NULL, &e), 0);
        assert_int_equal(m->n_matrices, 1);
        assert_false(m->matrices[0].wrapped);
        for (size_t i = 0; i < m->n_weights; i++)
                if (m->weights[i].matrix) {
                        assert_int_equal((uintptr_t)m->weights[i].tensor->data % 2, 1);
                        assert_int_equal((uintptr_t)m->weights[i].matrix->data % 4, 0);
                        assert_memory_equal(m->weights[i].matrix->data, m->weights[i].tensor->data,
                                            m->weights[i].tensor->size);
                }
        model_free(TAKE(m));
        device_free(d);
}

/* ---- refused ---- */

static void test_config(void **state) {
        Folder *f = *state;
        static const struct {
                const char *members;
                int code;
                const char *message;
        } cases[] = {
                {"{\"model_type\": null}", -EINVAL, "config.json: 'model_type' is missing"},
                {"{\"model_type\": 7}", -EINVAL, "'model_type' should be a string"},
                {"{\"model_type\": \"phi9\"}", -EOPNOTSUPP, "its architecture 'phi9' is not supported"},
                {"{\"model_type\": \"llama\\u001b\"}", -EOPNOTSUPP, "its architecture 'llama?' is not supported"},
                {"{\"architectures\": [\"LlamaForSequenceClassification\"]}", -EOPNOTSUPP,
                 "which is no language model"},
                {"{\"architectures\": [\"LlamaModel\"]}", -EOPNOTSUPP, "'LlamaModel', which is no language model"},
                {"{\"architectures\": 7}", -EINVAL, "'architectures' should be a list of names"},
                {"{\"hidden_size\": null}", -EINVAL, "'hidden_size' is missing"},
                {"{\"hidden_size\": 0}", -EINVAL, "'hidden_size' should be a whole number from 1"},
                {"{\"hidden_size\": -1}", -EINVAL, "'hidden_size' should be a whole number from 1"},
                {"{\"hidden_size\": 32.0}", -EINVAL, "'hidden_size' should be a whole number from 1"},
                {"{\"hidden_size\": 2147483648}", -EINVAL, "'hidden_size' should be a whole number from 1"},
                {"{\"hidden_size\": 2147483647}", -EINVAL, "should be"},
                {"{\"num_hidden_layers\": 3}", -EINVAL, "model.layers.2.self_attn.q_proj.weight: is missing"},
                {"{\"num_hidden_layers\": 1}", -EOPNOTSUPP, "' has no place in a llama model"},
                {"{\"num_hidden_layers\": 2147483647}", -EINVAL, "is 2147483647, but there are only"},
                {"{\"num_attention_heads\": 2147483647, \"num_key_value_heads\": 1}", -EINVAL, "which is too large"},
                {"{\"num_key_value_heads\": 3}", -EINVAL, "4 attention heads cannot share 3 key/value heads"},
                {"{\"num_key_value_heads\": null}", -EINVAL, "k_proj.weight: is [32, 16], should be [32, 32]"},
                {"{\"head_dim\": 7}", -EINVAL, "attention heads of 7 values cannot be rotated"},
                {"{\"head_dim\": 16}", -EINVAL, "q_proj.weight: is [32, 32], should be [32, 64]"},
                {"{\"head_dim\": 2147483646}", -EOPNOTSUPP, "'head_dim' is 2147483646; at most"},
                {"{\"vocab_size\": 41}", -EINVAL, "model.embed_tokens.weight: is [32, 40], should be [32, 41]"},
                {"{\"rms_norm_eps\": 0}", -EINVAL, "'rms_norm_eps' should be a positive number"},
                {"{\"rms_norm_eps\": \"1e-5\"}", -EINVAL, "'rms_norm_eps' should be a positive number"},
                {"{\"rms_norm_eps\": 1e300}", -EINVAL, "'rms_norm_eps' should be a positive number"},
                {"{\"tie_word_embeddings\": 1}", -EINVAL, "'tie_word_embeddings' should be true or false"},
                {"{\"attention_bias\": false}", -EOPNOTSUPP, "bias' has no place in a llama model"},
                {"{\"mlp_bias\": true}", -EOPNOTSUPP, "'mlp_bias' asks for biases"},
                {"{\"hidden_act\": \"gelu\"}", -EOPNOTSUPP, "'hidden_act' is 'gelu'; 'silu' is supported"},
                {"{\"hidden_act\": []}", -EOPNOTSUPP, "'hidden_act' is 'no string'"},
                {"{\"partial_rotary_factor\": 0.5}", -EOPNOTSUPP, "'partial_rotary_factor' asks for"},
                {"{\"quantization_config\": {\"quant_method\": \"gptq\"}}", -EOPNOTSUPP,
                 "'quantization_config' says that"},
                {"{\"quantization\": {}}", -EOPNOTSUPP, "'quantization' says that the weights are quantised"},
                {"{\"rope_parameters\": 7}", -EINVAL, "'rope_parameters' should be an object"},
                {"{\"rope_parameters\": {\"rope_type\": \"dynamic\"}}", -EOPNOTSUPP,
                 "'rope_type' is 'dynamic'; default, linear, llama3 and"},
                {"{\"rope_parameters\": {\"rope_type\": \"yarn\", \"factor\": 0}}", -EINVAL, "'factor' should be a positive"},
                {"{\"rope_parameters\": {\"rope_type\": \"yarn\", \"factor\": 2, \"mscale\": 1}}", -EOPNOTSUPP, "'mscale' is not supported"},
                {"{\"rope_parameters\": {\"rope_type\": \"yarn\", \"factor\": 2, \"truncate\": 1}}", -EINVAL, "'truncate' should be true"},
                {"{\"rope_parameters\": {\"rope_type\": \"yarn\", \"factor\": 2, \"beta_slow\": 0}}", -EINVAL, "'beta_slow' should be a positive"},
                {"{\"rope_parameters\": {\"rope_type\": \"yarn\", \"factor\": 2, \"rope_theta\": 0.5}}", -EINVAL, "a base that is not above 1"},
                {"{\"rope_parameters\": {\"rope_type\": 7}}", -EINVAL, "'rope_type' should be a string"},
                {"{\"rope_parameters\": {\"rope_type\": \"linear\"}}", -EINVAL, "'factor' is missing"},
                {"{\"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": 0}}", -EINVAL,
                 "'factor' should be a positive"},
                {"{\"rope_parameters\": {\"rope_type\": \"llama3\", \"factor\": 8}}", -EINVAL,
                 "'low_freq_factor' is missing"},
                {"{\"rope_parameters\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, "
                 "\"high_freq_factor\": 4, \"original_max_position_embeddings\": 32}}",
                 -EINVAL, "should be above low_freq"},
                {"{\"rope_parameters\": null, \"rope_theta\": -1}", -EINVAL,
                 "'rope_theta' should be a positive number"},
        };
        copy_all(f, "llama");
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                put_changed(f, "llama", "config.json", cases[i].members);
                refused(f, cases[i].code, cases[i].message);
        }
        folder_put_text(f, "config.json", "{\"model_type\": \"llama\", \"model_type\": \"llama\"}");
        refused(f, -EINVAL, "config.json: is no sound JSON: duplicate");
        folder_put_text(f, "config.json", "[]");
        refused(f, -EINVAL, "config.json: is not a JSON object");
        folder_put(f, "config.json", NULL, 0);
        refused(f, -ENOENT, "is a directory without a config.json, so no model");
}

static void test_slides(void **state) {
        Folder *f = *state;
        static const struct {
                const char *model, *members;
                bool slides[2];
        } cases[] = {
                {"qwen2", "{\"use_sliding_window\": true, \"sliding_window\": 5, \"layer_types\": [\"full_attention\", \"sliding_attention\"]}",
                 {false, true}},
                {"qwen2", "{\"use_sliding_window\": true, \"sliding_window\": 5, \"layer_types\": null, \"max_window_layers\": 1}", {false, true}},
                {"gemma2", "{\"layer_types\": null}", {true, false}},
                {"gemma2", "{\"layer_types\": null, \"sliding_window_pattern\": 1}", {true, false}}, /* not of this generation */
                {"gemma3", "{\"layer_types\": null}", {true, true}},
                {"gemma3", "{\"layer_types\": null, \"sliding_window_pattern\": 2}", {true, false}},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                copy_all(f, cases[i].model);
                put_changed(f, cases[i].model, "config.json", cases[i].members);
                _cleanup_(model_freep) Model *m = open_model(f);
                for (int l = 0; l < 2; l++)
                        assert_int_equal(m->params.slides[l], cases[i].slides[l]);
                folder_put(f, "model.safetensors", NULL, 0);
        }
}

/* What Gemma's files leave out is as transformers has it. */
static void test_gemma_defaults(void **state) {
        Folder *f = *state;
        static const char *const models[] = {"gemma", "gemma2", "gemma3"};
        static const struct {
                float scale, attention_cap, logit_cap, base, local_base;
        } want[] = {{0, 0, 0, 10000, 0}, {1 / 16.0f, 50, 30, 10000, 0}, {1 / 16.0f, 0, 0, 1000000, 10000}};
        for (size_t i = 0; i < ARRAY_SIZE(models); i++) {
                copy_all(f, models[i]);
                static const char *const keys[] = {"hidden_activation", "query_pre_attn_scalar", "rms_norm_eps", "rope_parameters",
                                                   "attn_logit_softcapping", "final_logit_softcapping", "tie_word_embeddings",
                                                   "max_position_embeddings"};
                json_t *config = json_load_file(source(models[i], "config.json"), 0, NULL);
                for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
                        json_object_del(config, keys[k]);
                char *text = json_dumps(config, 0);
                folder_put_text(f, "config.json", text);
                free(text), json_decref(config);
                _cleanup_(model_freep) Model *m = open_model(f);
                const ModelParams *p = &m->params;
                assert_true(p->attention_scale == want[i].scale && p->attention_cap == want[i].attention_cap);
                assert_true(p->logit_cap == want[i].logit_cap && p->norm_eps == 1e-6f);
                assert_true(p->rope.base == want[i].base && p->local_base == want[i].local_base);
                assert_int_equal(m->info.context_length, i == 2 ? 131072 : 8192);
                folder_put(f, "model.safetensors", NULL, 0);
        }
        copy_all(f, "gemma2"); /* null is no cap */
        put_changed(f, "gemma2", "config.json", "{\"attn_logit_softcapping\": null, \"final_logit_softcapping\": null}");
        _cleanup_(model_freep) Model *m = open_model(f);
        assert_true(m->params.attention_cap == 0 && m->params.logit_cap == 0);
}

/* Qwen2.5-VL was published with all in one object, and a rotation by places in images, which for texts are places. */
static void test_sees(void **state) {
        Folder *f = *state;
        copy_all(f, "qwen2_5_vl");
        put_changed(f, "qwen2_5_vl", "config.json",
                    "{\"text_config\": null, \"hidden_size\": 32, \"intermediate_size\": 16, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, "
                    "\"num_key_value_heads\": 2, \"max_position_embeddings\": 64, \"vocab_size\": 40, \"rms_norm_eps\": 0.25, "
                    "\"rope_theta\": 77, \"rope_scaling\": {\"type\": \"mrope\", \"mrope_section\": [1, 1, 2]}}");
        _cleanup_(model_freep) Model *m = open_model(f);
        assert_string_equal(m->info.architecture, "qwen2");
        folder_put(f, "model.safetensors", NULL, 0);
        copy_all(f, "smollm3"); /* whose head is the table of embeddings where nothing is said */
        put_changed(f, "smollm3", "config.json", "{\"tie_word_embeddings\": null}");
        _cleanup_(model_freep) Model *tied = open_model(f);
        assert_int_equal(tied->params.head, PRESENT_NO);
        assert_true(m->params.norm_eps == 0.25f && m->params.rope.base == 77 && m->params.rope.scale == 1);
}

static void test_family_config(void **state) {
        Folder *f = *state;
        static const struct {
                const char *model, *members;
                int code;
                const char *message;
        } cases[] = {
                {"gemma2", "{\"hidden_activation\": \"gelu\"}", -EOPNOTSUPP, "'hidden_activation' is 'gelu'; 'gelu_pytorch_tanh' is"},
                {"gemma", "{\"hidden_activation\": 7}", -EOPNOTSUPP, "'hidden_activation' is 'no string'"},
                {"gemma3", "{\"use_bidirectional_attention\": true}", -EOPNOTSUPP, "asks for attention in both directions"},
                {"gemma3", "{\"query_pre_attn_scalar\": 0}", -EINVAL, "'query_pre_attn_scalar' should be a positive number"},
                {"gemma2", "{\"attn_logit_softcapping\": -1}", -EINVAL, "'attn_logit_softcapping' should be a positive number"},
                {"gemma3", "{\"layer_types\": [\"full_attention\"]}", -EINVAL, "'layer_types' lists 1 layers of 7"},
                {"gemma3", "{\"sliding_window_pattern\": 0}", -EINVAL, "'sliding_window_pattern' should be a whole number from 1"},
                {"gemma3", "{\"rope_parameters\": {\"full_attention\": {\"rope_type\": \"dynamic\"}}}", -EOPNOTSUPP, "'rope_type' is 'dynamic'"},
                {"gemma3", "{\"rope_parameters\": {\"sliding_attention\": {\"rope_type\": \"linear\", \"factor\": 8}}}", -EOPNOTSUPP,
                 "'rope_parameters' scale layers with a window"},
                {"gemma2", "{\"model_type\": \"qwen3moe\"}", -EOPNOTSUPP, "its architecture 'qwen3moe' is not supported"},
                {"phi3", "{\"rope_parameters\": {\"rope_type\": \"longrope\", \"long_factor\": [1, 2]}}", -EINVAL, "'long_factor' should be a list of"},
                {"phi3", "{\"rope_parameters\": {\"rope_type\": \"su\", \"long_factor\": [1, 2, 3, 4, 5, 0]}}", -EINVAL,
                 "'long_factor' should be a list of 6 positive"},
                {"qwen2", "{\"rope_parameters\": {\"rope_type\": \"longrope\"}}", -EOPNOTSUPP, "'rope_type' is 'longrope'"},
                {"smollm3", "{\"no_rope_layers\": [1, 0]}", -EINVAL, "'no_rope_layers' should list 5 layers"},
                {"smollm3", "{\"no_rope_layers\": [1, 0, 1, 2, 0]}", -EINVAL, "'no_rope_layers' should be a list of 0 and 1"},
                {"smollm3", "{\"no_rope_layer_interval\": 0}", -EINVAL, "'no_rope_layer_interval' should be a whole number from 1"},
                {"granite", "{\"logits_scaling\": 0}", -EINVAL, "'logits_scaling' should be a positive number"},
                {"mistral3", "{\"text_config\": {\"model_type\": \"ministral3\"}}", -EOPNOTSUPP, "its architecture 'ministral3' is not"},
                {"qwen2", "{\"rope_parameters\": {\"rope_type\": \"mrope\"}}", -EOPNOTSUPP, "'rope_type' is 'mrope'"},
                {"qwen2", "{\"architectures\": [\"Qwen2ForConditionalGeneration\"]}", -EOPNOTSUPP, "which is no language model"},
                {"gemma3-images", "{\"quantization_config\": {}}", -EOPNOTSUPP, "'quantization_config' says"},
                {"qwen3_moe", "{\"decoder_sparse_step\": 2}", -EOPNOTSUPP, "'decoder_sparse_step' asks for layers without experts"},
                {"qwen3_moe", "{\"mlp_only_layers\": [1]}", -EOPNOTSUPP, "'mlp_only_layers' asks for layers without experts"},
                {"qwen3_moe", "{\"num_local_experts\": null}", -EINVAL, "'num_local_experts' is missing"},
                {"qwen3_moe", "{\"num_experts\": 10}", -EINVAL, "mlp.gate.weight: is [32, 11], should be [32, 10]"},
                {"qwen3_moe", "{\"moe_intermediate_size\": null}", -EINVAL, "'moe_intermediate_size' is missing"},
                {"qwen3_moe", "{\"norm_topk_prob\": 1}", -EINVAL, "'norm_topk_prob' should be true or false"},
                {"qwen3_moe", "{\"num_experts_per_tok\": 12}", -EINVAL, "12 of 11 experts cannot be used"},
                {"mixtral", "{\"num_local_experts\": 100000}", -EOPNOTSUPP, "100000 experts in a layer; at most"},
                {"mixtral", "{\"num_local_experts\": 5}", -EINVAL, "gate.weight: is [32, 4], should be [32, 5]"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                copy_all(f, cases[i].model);
                put_changed(f, cases[i].model, "config.json", cases[i].members);
                refused(f, cases[i].code, cases[i].message);
                folder_put(f, "model.safetensors", NULL, 0);
                folder_put(f, "model.safetensors.index.json", NULL, 0);
        }
}

static void test_qwen_config(void **state) {
        Folder *f = *state;
        static const struct {
                const char *members;
                int code;
                const char *message;
        } cases[] = {
                {"{\"layer_types\": [\"full_attention\"]}", -EINVAL, "'layer_types' lists 1 layers of 2"},
                {"{\"layer_types\": [\"full_attention\", \"linear_attention\"]}", -EOPNOTSUPP,
                 "a layer of 'linear_attention'"},
                {"{\"layer_types\": [7, 7]}", -EOPNOTSUPP, "a layer of 'no string'"},
                {"{\"layer_types\": 7}", -EINVAL, "'layer_types' should be a list"},
                {"{\"use_sliding_window\": 1}", -EINVAL, "'use_sliding_window' should be true or false"},
        };
        copy_all(f, "qwen2");
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                char members[256];
                bool uses = strstr(cases[i].members, "use_");
                snprintf(members, sizeof(members), "{%s%s", uses ? "" : "\"use_sliding_window\": true, \"sliding_window\": 5, ",
                         cases[i].members + 1);
                put_changed(f, "qwen2", "config.json", members);
                refused(f, cases[i].code, cases[i].message);
        }
}

#define INDEX "model.safetensors.index.json"
#define SHARD(n) "model-0000" #n "-of-00004.safetensors"

static void set_map(const Folder *f, const char *tensor, const char *file) {
        json_t *index = json_load_file(source("qwen3", INDEX), 0, NULL), *map = json_object_get(index, "weight_map");
        if (file)
                json_object_set_new(map, tensor, json_string(file));
        else
                json_object_del(map, tensor);
        char *text = json_dumps(index, 0);
        folder_put_text(f, INDEX, text);
        free(text);
        json_decref(index);
}

static void test_shards(void **state) {
        Folder *f = *state;
        copy_all(f, "qwen3");
        model_free(open_model(f));

        static const char *const outside[] = {"../x.safetensors", "/etc/passwd", "", ".", "a/b"};
        for (size_t i = 0; i < ARRAY_SIZE(outside); i++) {
                set_map(f, "model.norm.weight", outside[i]);
                refused(f, -EINVAL, "tensor 'model.norm.weight' is not in a file of this directory");
        }
        set_map(f, "model.norm.weight", "absent.safetensors");
        refused(f, -ENOENT, "absent.safetensors: cannot open it");
        set_map(f, "model.norm.weight", NULL);
        refused(f, -EINVAL, "holds a tensor 'model.norm.weight' that " INDEX " does not place there");
        set_map(f, "more.weight", SHARD(1));
        refused(f, -EINVAL, "names 26 tensors, of which its files hold 25");
        folder_put_text(f, INDEX, "{\"weight_map\": {\"a\": 7}}");
        refused(f, -EINVAL, "tensor 'a' is not in a file of this directory");
        folder_put_text(f, INDEX, "{\"weight_map\": []}");
        refused(f, -EINVAL, "has no weight_map");
        folder_put_text(f, INDEX, "{");
        refused(f, -EINVAL, INDEX ": is no sound JSON");

        copy(f, "qwen3", INDEX, INDEX);
        folder_put(f, SHARD(3), NULL, 0);
        refused(f, -ENOENT, SHARD(3) ": cannot open it: No such file");
        copy(f, "qwen3", SHARD(2), SHARD(3));
        refused(f, -EINVAL, SHARD(3) ": holds a tensor");
        copy(f, "qwen2", SHARD(3), SHARD(3));
        refused(f, -EINVAL, "model-0000");
        size_t n;
        _cleanup_free_ char *shard = read_file(source("qwen3", SHARD(3)), &n);
        folder_put(f, SHARD(3), shard, n - 1);
        refused(f, -EINVAL, "the file is cut short");
        folder_put(f, INDEX, NULL, 0);
        refused(f, -ENOENT, "has neither model.safetensors nor " INDEX);
}

static void test_published_cases(void **state) {
        (void)state;
        skip_without("models/tiny_random");
        static const struct {
                const char *name, *message;
        } cases[] = {
                {"tiny_random/tiny_qwen3_sharded", "'quantization' says that the weights are quantised"},
                {"tiny_random/tiny_llama3_tied", "'quantization' says that the weights are quantised"},
                {"gpt2-nano-sort-hf", "its architecture 'gpt2' is not supported"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                char name[128];
                Model *m = NULL;
                Error e = ERROR_NULL;
                snprintf(name, sizeof(name), "models/%s", cases[i].name);
                assert_int_equal(model_open(test_data(name), &m, &e), -EOPNOTSUPP);
                if (!strstr(e.text, cases[i].message))
                        fail_msg("%s", e.text);
        }
}

/* Odd and broken configurations of many families: each is refused in one sentence, since none has weights. */
static void test_odd_configs(void **state) {
        (void)state;
        skip_without("config_cases/mlxd");
        _cleanup_free_ char *root = strdup(test_data("config_cases/mlxd"));
        size_t n = 0;
        DIR *d = opendir(root);
        for (struct dirent *it; (it = readdir(d));) {
                char path[4352];
                Model *m = NULL;
                Error e = ERROR_NULL;
                if (strncmp(it->d_name, "model_config", 12) != 0)
                        continue;
                snprintf(path, sizeof(path), "%s/%s", root, it->d_name);
                assert_true(model_open(path, &m, &e) < 0);
                assert_non_null(strstr(e.text, it->d_name));
                n++;
        }
        closedir(d);
        assert_true(n > 50);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_info),        TEST(test_rope),      TEST(test_defaults),
                TEST(test_ignored),     TEST(test_unaligned), TEST(test_config),
                TEST(test_slides),      TEST(test_gemma_defaults), TEST(test_sees), TEST(test_family_config), TEST(test_qwen_config), TEST(test_shards),    TEST(test_published_cases),
                TEST(test_odd_configs),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
