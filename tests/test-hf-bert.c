/* Encoders in Hugging Face directories: what is understood of config.json and of sentence-transformers' files, and what is
 * refused, with the directories of tests/data changed a little. */
#include <errno.h>

#define MODELS "enc-"
#include "model-folder.h"

static const char *const files[] = {"config.json", "model.safetensors", "modules.json", "1_Pooling/config.json",
                                    "sentence_bert_config.json"};

static void copy_all(const Folder *f, const char *model) {
        for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
                size_t n = 0;
                bool there = access(source(model, files[i]), R_OK) == 0;
                _cleanup_free_ char *data = there ? read_file(source(model, files[i]), &n) : NULL;
                folder_put(f, files[i], data, n);
        }
}

/* ---- understood ---- */

static void test_models(void **state) {
        Folder *f = *state;
        static const struct {
                const char *model, *architecture;
                EncoderInfo encoder;
                Dtype type;
        } cases[] = {
                {"bert", "bert", {false, 24, POOLING_MEAN, true, false, 44, 32, 2, false}, DTYPE_F32},
                {"xlm-roberta", "xlm-roberta", {false, 24, POOLING_CLS, true, false, 42, 32, 1, false}, DTYPE_BF16},
                {"roberta", "roberta", {false, 24, POOLING_MEAN, false, false, 42, 32, 1, false}, DTYPE_F16},
                {"bert-rerank", "bert", {true, 1, POOLING_CLS, false, true, 44, 44, 2, false}, DTYPE_F32},
                {"roberta-rerank", "roberta", {true, 3, POOLING_CLS, false, false, 42, 42, 1, false}, DTYPE_F32},
                {"xlm-roberta-rerank", "xlm-roberta", {true, 1, POOLING_CLS, false, true, 42, 42, 1, false}, DTYPE_BF16},
                {"nomic", "nomic_bert", {false, 24, POOLING_MEAN, true, false, 44, 32, 2, false}, DTYPE_F32},
                {"jina", "bert", {false, 24, POOLING_MEAN, true, false, 8192, 8192, 2, false}, DTYPE_F32},
                {"jina-rerank", "bert", {true, 1, POOLING_CLS, false, true, 8192, 8192, 2, false}, DTYPE_F32},
                {"qwen3", "qwen3", {false, 24, POOLING_LAST, true, false, 44, 32, 0, true}, DTYPE_BF16},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                copy_all(f, cases[i].model);
                _cleanup_(model_freep) Model *m = open_model(f);
                const EncoderInfo *got = model_encoder(m), *want = &cases[i].encoder;
                assert_non_null(got);
                assert_string_equal(model_info(m)->architecture, cases[i].architecture);
                assert_int_equal(model_info(m)->n_layers, 2);
                assert_int_equal(model_info(m)->context_length, got->max_tokens);
                assert_int_equal(m->type, cases[i].type);
                assert_int_equal(got->scores, want->scores);
                assert_int_equal(got->n_out, want->n_out);
                assert_int_equal(got->pooling, want->pooling);
                assert_int_equal(got->normalised, want->normalised);
                assert_int_equal(got->sigmoid, want->sigmoid);
                assert_int_equal(got->max_tokens, want->max_tokens);
                assert_int_equal(got->usual_tokens, want->usual_tokens);
                assert_int_equal(got->n_types, want->n_types);
                assert_int_equal(got->causal, want->causal);
        }
}

/* Without sentence-transformers' files an encoder's rows are averaged; a decoder generates text. */
static void test_plain(void **state) {
        Folder *f = *state;
        copy_all(f, "xlm-roberta");
        folder_put(f, "modules.json", NULL, 0);
        _cleanup_(model_freep) Model *m = open_model(f);
        assert_int_equal(model_encoder(m)->pooling, POOLING_MEAN);
        assert_true(model_encoder(m)->normalised);
        assert_int_equal(model_encoder(m)->usual_tokens, 42);
        copy_all(f, "qwen3");
        folder_put(f, "modules.json", NULL, 0);
        refused(f, -EOPNOTSUPP, "'Qwen3Model', which is no language model");
        put_changed(f, "qwen3", "config.json", "{\"architectures\": [\"Qwen3ForCausalLM\"]}");
        refused(f, -EINVAL, "lm_head.weight: is missing");
        put_changed(f, "qwen3", "config.json",
                    "{\"architectures\": [\"Qwen3ForCausalLM\"], \"tie_word_embeddings\": true}");
        _cleanup_(model_freep) Model *text = open_model(f);
        assert_null(model_encoder(text));
}

/* A Nomic model's configuration as transformers itself writes it. */
static void test_nomic_by_transformers(void **state) {
        Folder *f = *state;
        copy_all(f, "nomic");
        put_changed(f, "nomic", "config.json",
                    "{\"n_embd\": null, \"n_head\": null, \"n_inner\": null, \"n_layer\": null, \"n_positions\": null, "
                    "\"activation_function\": null, \"rotary_emb_base\": null, \"max_trained_positions\": null, "
                    "\"hidden_size\": 24, \"num_attention_heads\": 2, \"intermediate_size\": 40, \"num_hidden_layers\": 2, "
                    "\"max_position_embeddings\": 2048, \"hidden_act\": \"silu\", \"rope_parameters\": {\"rope_theta\": "
                    "500.0, \"rope_type\": \"default\"}}");
        _cleanup_(model_freep) Model *m = open_model(f);
        assert_int_equal(model_encoder(m)->max_tokens, 2048);
        assert_int_equal(model_info(m)->head_dim, 12);
        assert_true(m->params.rope.base == 500 && m->params.gated && m->params.rotary);
}

static void test_sigmoid(void **state) {
        Folder *f = *state;
        static const struct {
                const char *members;
                bool sigmoid;
        } cases[] = {
                {"{\"sbert_ce_default_activation_function\": \"torch.nn.modules.linear.Identity\"}", false},
                {"{\"sbert_ce_default_activation_function\": \"torch.nn.modules.activation.Sigmoid\"}", true},
                {"{\"sentence_transformers\": {\"activation_fn\": \"torch.nn.modules.linear.Identity\"}}", false},
                {"{\"id2label\": null, \"num_labels\": 1}", true},
        };
        copy_all(f, "bert-rerank");
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                put_changed(f, "bert-rerank", "config.json", cases[i].members);
                _cleanup_(model_freep) Model *m = open_model(f);
                assert_int_equal(model_encoder(m)->sigmoid, cases[i].sigmoid);
        }
}

/* ---- refused ---- */

static void test_config(void **state) {
        Folder *f = *state;
        static const struct {
                const char *model, *members;
                int code;
                const char *message;
        } cases[] = {
                {"bert", "{\"position_embedding_type\": \"relative_key\"}", -EOPNOTSUPP,
                 "'position_embedding_type' is 'relative_key'; 'absolute' is supported"},
                {"bert", "{\"position_embedding_type\": \"alibi\"}", -EOPNOTSUPP, "'feed_forward_type' is 'no string'; 'geglu'"},
                {"jina", "{\"feed_forward_type\": \"reglu\"}", -EOPNOTSUPP, "'feed_forward_type' is 'reglu'; 'geglu' is"},
                {"jina", "{\"position_embedding_type\": \"absolute\"}", -EOPNOTSUPP, "'auto_map' says that"},
                {"jina", "{\"intermediate_size\": 41}", -EINVAL, "mlp.gated_layers.weight: is [24, 80], should be [24, 82]"},
                {"jina", "{\"num_hidden_layers\": 3}", -EINVAL, "encoder.layer.2.attention.self.query.weight: is missing"},
                {"bert", "{\"hidden_act\": \"geglu\"}", -EOPNOTSUPP, "'hidden_act' is 'geglu'; gelu, gelu_new,"},
                {"bert", "{\"hidden_act\": 7}", -EOPNOTSUPP, "'hidden_act' is 'no string'"},
                {"bert", "{\"is_decoder\": true}", -EOPNOTSUPP, "'is_decoder' is true"},
                {"bert", "{\"auto_map\": {}}", -EOPNOTSUPP, "'auto_map' says that the model is computed otherwise"},
                {"bert", "{\"architectures\": [\"BertForQuestionAnswering\"]}", -EOPNOTSUPP,
                 "'BertForQuestionAnswering'; …Model and …ForSequenceClassification are"},
                {"bert", "{\"num_attention_heads\": 5}", -EINVAL, "does not divide 24 values into heads"},
                {"bert", "{\"hidden_size\": 48}", -EINVAL,
                 "embeddings.word_embeddings.weight: is [24, 40], should be [48, 40]"},
                {"bert", "{\"hidden_size\": 2147483647, \"num_attention_heads\": 1}", -EINVAL, "at most 512"},
                {"bert", "{\"intermediate_size\": 41}", -EINVAL, "is [24, 40], should be [24, 41]"},
                {"bert", "{\"intermediate_size\": 2147483648}", -EINVAL, "should be a whole number from 1"},
                {"bert", "{\"num_hidden_layers\": 3}", -EINVAL, "encoder.layer.2.attention.self.query.weight: is missing"},
                {"bert", "{\"num_hidden_layers\": 1}", -EOPNOTSUPP, "has no place in a bert model"},
                {"bert", "{\"vocab_size\": 41}", -EINVAL, "word_embeddings.weight: is [24, 40], should be [24, 41]"},
                {"bert", "{\"type_vocab_size\": 3}", -EINVAL, "token_type_embeddings.weight: is [24, 2]"},
                {"bert", "{\"max_position_embeddings\": 43}", -EINVAL, "position_embeddings.weight: is [24, 44]"},
                {"bert", "{\"layer_norm_eps\": 0}", -EINVAL, "'layer_norm_eps' should be a positive number"},
                {"roberta", "{\"pad_token_id\": 43}", -EINVAL, "'pad_token_id' should be a token"},
                {"roberta", "{\"pad_token_id\": -1}", -EINVAL, "'pad_token_id' should be a token"},
                {"roberta", "{\"model_type\": \"camembert\"}", -EOPNOTSUPP, "its architecture 'camembert' is not supp"},
                {"bert-rerank", "{\"id2label\": {\"0\": \"a\", \"1\": \"b\"}}", -EINVAL,
                 "classifier.weight: is [24, 1], should be [24, 2]"},
                {"bert-rerank", "{\"id2label\": {}}", -EINVAL, "'id2label' names no labels"},
                {"bert-rerank", "{\"sbert_ce_default_activation_function\": \"torch.nn.Softmax\"}", -EOPNOTSUPP,
                 "'activation_fn' is 'torch.nn.Softmax'; Sigmoid and Identity are supported"},
                {"roberta-rerank", "{\"architectures\": [\"RobertaModel\"]}", -EOPNOTSUPP,
                 "tensor 'classifier.dense.bias' has no place in a roberta model"},
                {"nomic", "{\"activation_function\": \"gelu\"}", -EOPNOTSUPP, "'activation_function' is 'gelu'; swiglu is"},
                {"nomic", "{\"prenorm\": true}", -EOPNOTSUPP, "'prenorm' is true, which is not supported"},
                {"nomic", "{\"prenorm\": 0}", -EINVAL, "'prenorm' should be true or false"},
                {"nomic", "{\"use_rms_norm\": true}", -EOPNOTSUPP, "'use_rms_norm' is true"},
                {"nomic", "{\"rotary_emb_interleaved\": true}", -EOPNOTSUPP, "'rotary_emb_interleaved' is true"},
                {"nomic", "{\"rotary_emb_fraction\": 0.5}", -EOPNOTSUPP, "'rotary_emb_fraction' is not 1"},
                {"nomic", "{\"rotary_emb_scale_base\": 512}", -EOPNOTSUPP, "'rotary_emb_scale_base' is not supported"},
                {"nomic", "{\"rotary_emb_base\": null}", -EINVAL, "'rotary_emb_base' is missing"},
                {"nomic", "{\"rope_parameters\": {\"rope_type\": \"yarn\"}}", -EOPNOTSUPP, "'rope_type' asks for scaled"},
                {"nomic", "{\"moe_every_n_layers\": 2}", -EOPNOTSUPP, "'moe_every_n_layers' asks for a mixture of experts"},
                {"nomic", "{\"n_head\": 24}", -EINVAL, "attention heads of 1 values cannot be rotated"},
                {"nomic", "{\"n_head\": 5}", -EINVAL, "'n_head' is 5, which does not divide 24 values"},
                {"nomic", "{\"n_embd\": 48}", -EINVAL, "word_embeddings.weight: is [24, 40], should be [48, 40]"},
                {"nomic", "{\"n_layer\": 3}", -EINVAL, "encoder.layers.2.attn.Wqkv.weight: is missing"},
                {"nomic", "{\"n_inner\": 41}", -EINVAL, "encoder.layers.0.mlp.fc11.weight: is [24, 40], should be [24, 41]"},
                {"nomic", "{\"type_vocab_size\": 0}", -EOPNOTSUPP, "token_type_embeddings.weight' has no place"},
                {"nomic", "{\"type_vocab_size\": -1}", -EINVAL, "'type_vocab_size' should be a whole number"},
                {"qwen3", "{\"is_causal\": false}", -EOPNOTSUPP, "'is_causal' asks for attention in both directions"},
                {"qwen3", "{\"use_sliding_window\": true, \"sliding_window\": 8, \"layer_types\": null, "
                          "\"max_window_layers\": 0}",
                 -EOPNOTSUPP, "'sliding_window' is not supported for embeddings"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                copy_all(f, cases[i].model);
                put_changed(f, cases[i].model, "config.json", cases[i].members);
                refused(f, cases[i].code, cases[i].message);
        }
}

static void test_sentence_files(void **state) {
        Folder *f = *state;
#define MODULE(kind, path) "{\"type\": \"sentence_transformers.models." kind "\", \"path\": \"" path "\"}"
        static const struct {
                const char *file, *text;
                int code;
                const char *message;
        } cases[] = {
                {"modules.json", "{}", -EINVAL, "modules.json: is not a JSON array"},
                {"modules.json", "[]", -EOPNOTSUPP, "has no Pooling"},
                {"modules.json", "[7]", -EOPNOTSUPP, "module 0 is 'unnamed'"},
                {"modules.json", "[" MODULE("Transformer", "") "]", -EOPNOTSUPP, "has no Pooling"},
                {"modules.json",
                 "[" MODULE("Transformer", "") "," MODULE("Pooling", "1_Pooling") "," MODULE("Dense", "2_Dense") "]",
                 -EOPNOTSUPP, "module 2 is 'Dense'; supported are Transformer, Pooling and Normalize, in this order"},
                {"modules.json", "[" MODULE("Transformer", "0_T") "," MODULE("Pooling", "1_Pooling") "]", -EOPNOTSUPP,
                 "its Transformer is not in this directory itself"},
                {"modules.json", "[" MODULE("Transformer", "") "," MODULE("Pooling", "../x") "]", -EINVAL,
                 "its Pooling is not in a folder of this directory"},
                {"modules.json", "[" MODULE("Transformer", "") "," MODULE("Pooling", "absent") "]", -ENOENT, "absent"},
                {"1_Pooling/config.json", "{}", -EOPNOTSUPP, "1_Pooling/config.json: asks for 0 ways"},
                {"1_Pooling/config.json", "{\"pooling_mode\": [\"cls\", \"mean\"]}", -EOPNOTSUPP, "asks for 2 ways"},
                {"1_Pooling/config.json", "{\"pooling_mode\": \"max\"}", -EOPNOTSUPP, "'max' pooling is not supported"},
                {"1_Pooling/config.json", "{\"pooling_mode_weightedmean_tokens\": true}", -EOPNOTSUPP,
                 "'weightedmean' pooling is not supported; cls, mean and lasttoken are"},
                {"sentence_bert_config.json", "{\"max_seq_length\": 0}", -EINVAL, "'max_seq_length' should be"},
                {"sentence_bert_config.json", "{\"do_lower_case\": true}", -EOPNOTSUPP, "'do_lower_case' is true"},
                {"sentence_bert_config.json", "[", -EINVAL, "sentence_bert_config.json: is no sound JSON"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                copy_all(f, "bert");
                folder_put_text(f, cases[i].file, cases[i].text);
                refused(f, cases[i].code, cases[i].message);
        }
}

/* Of a type that no weight can have: where it is wanted it is refused, and counters of old files are passed over. */
static void test_types(void **state) {
        Folder *f = *state;
        size_t n;
        copy_all(f, "bert");
        _cleanup_free_ char *data = read_file(source("bert", "model.safetensors"), &n);
        char *entry = memmem(data, n, "\"embeddings.LayerNorm.bias\"", 27), *type = strstr(entry, "F32");
        memcpy(type, "I32", 3);
        folder_put(f, "model.safetensors", data, n);
        refused(f, -EOPNOTSUPP, "embeddings.LayerNorm.bias: is stored as I32; supported are F32, F16 and BF16");
        memcpy(type, "F32", 3);
        memcpy(entry + 1, "embeddings.LayerNorm.bigs", 25);
        folder_put(f, "model.safetensors", data, n);
        refused(f, -EINVAL, "embeddings.LayerNorm.bias: is missing");
        memcpy(entry + 1, "embeddings.LayerNorm.bias", 25);
        entry = memmem(data, n, "embeddings.position_ids", 23);
        memcpy(entry, "embeddings.position_odd", 23);
        folder_put(f, "model.safetensors", data, n);
        refused(f, -EOPNOTSUPP, "tensor 'embeddings.position_odd' has no place");
}

static int setup(void **state) {
        static Folder f;
        folder_init(&f);
        *state = &f;
        return 0;
}

static int teardown(void **state) {
        folder_deinit(*state);
        return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_models), TEST(test_plain),          TEST(test_sigmoid), TEST(test_nomic_by_transformers),
                TEST(test_config), TEST(test_sentence_files), TEST(test_types),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
