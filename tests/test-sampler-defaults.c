/* What a model's files recommend for sampling, in both formats: read, refused where it is none, and applied only to what a
 * request does not name. */
#include <errno.h>

#define MODELS "hf-"
#include "engine/sampler-defaults.h"
#include "model-folder.h"

static const char *const files[] = {"config.json", "model.safetensors", "generation_config.json"};

static void put_model(const Folder *f, const char *members) {
        for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
                size_t n;
                _cleanup_free_ char *data = read_file(source("llama", files[i]), &n);
                folder_put(f, files[i], data, n);
        }
        put_changed(f, "llama", "generation_config.json", members);
}

static SamplerDefaults read_folder(const Folder *f, const char *members) {
        SamplerDefaults d;
        Error e = ERROR_NULL;
        put_model(f, members);
        _cleanup_(model_freep) Model *m = open_model(f);
        if (sampler_defaults_read(m, &d, &e) < 0)
                fail_msg("%s", e.text);
        return d;
}

static void test_hugging_face(void **state) {
        Folder *f = *state;
        assert_int_equal(read_folder(f, "{}").said, 0);
        SamplerDefaults d = read_folder(f, "{\"do_sample\": true, \"temperature\": 0.6, \"top_p\": 0.95, \"top_k\": 20, "
                                           "\"min_p\": 0, \"repetition_penalty\": 1.05, \"max_new_tokens\": 7}");
        assert_int_equal(d.said, IPC_SAID_TEMPERATURE | IPC_SAID_TOP_P | IPC_SAID_TOP_K | IPC_SAID_MIN_P |
                                         IPC_SAID_REPEAT_PENALTY | IPC_SAID_PENALTY_LAST);
        assert_true(d.temperature == 0.6f && d.top_p == 0.95f && d.top_k == 20 && d.min_p == 0);
        assert_true(d.repeat_penalty == 1.05f && d.penalty_last == -1);
        _cleanup_buf_ Buf text = BUF_NULL;
        sampler_defaults_write(&d, true, &text);
        assert_string_equal(text.data, "temperature                    0.6\ntop_k                          20\n"
                                       "top_p                          0.95\nmin_p                          0\n"
                                       "repeat_penalty                 1.05\nrepeat_last_n                  -1");
        buf_clear(&text);
        sampler_defaults_write(&d, false, &text);
        assert_string_equal(text.data, "temperature 0.6, top_k 20, top_p 0.95, min_p 0, repeat_penalty 1.05, repeat_last_n -1");
        d = read_folder(f, "{\"do_sample\": false, \"temperature\": 0.6, \"top_k\": null}");
        assert_int_equal(d.said, IPC_SAID_TEMPERATURE);
        assert_true(d.temperature == 0);
}

static void test_refused(void **state) {
        Folder *f = *state;
        static const struct {
                const char *members, *message;
        } cases[] = {
                {"{\"temperature\": -1}", "generation_config.json: temperature' is -1, should be a number from 0 to 100"},
                {"{\"temperature\": \"hot\"}", "generation_config.json: temperature' is nan"},
                {"{\"top_p\": 1.5}", "generation_config.json: top_p' is 1.5"},
                {"{\"top_k\": 1.5}", "generation_config.json: top_k' is 1.5, should be a whole number"},
                {"{\"top_k\": 1e300}", "generation_config.json: top_k' is 1e+300"},
                {"{\"repetition_penalty\": 0}", "generation_config.json: repetition_penalty' is 0"},
                {"{\"do_sample\": 0}", "generation_config.json: 'do_sample' should be true or false"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                SamplerDefaults d;
                Error e = ERROR_NULL;
                put_model(f, cases[i].members);
                _cleanup_(model_freep) Model *m = open_model(f);
                assert_int_equal(sampler_defaults_read(m, &d, &e), -EINVAL);
                if (!strstr(e.text, cases[i].message) || !strstr(e.text, f->path))
                        fail_msg("wanted '%s', got '%s'", cases[i].message, e.text);
        }
}

/* ---- GGUF ---- */

static void put_key(Buf *b, const char *name, uint32_t type, const void *value, size_t n) {
        uint64_t len = strlen(name);
        buf_put(b, &len, sizeof(len));
        buf_puts(b, name);
        buf_put(b, &type, sizeof(type));
        buf_put(b, value, n);
}

static void put_f32(Buf *b, const char *name, float v) {
        put_key(b, name, GGUF_F32, &v, sizeof(v));
}

static void put_i32(Buf *b, const char *name, int32_t v) {
        put_key(b, name, GGUF_I32, &v, sizeof(v));
}

/* A recorded file with more keys, whose bytes are made a multiple of the alignment so that the rest stays as it is. */
static void put_gguf(const Folder *f, const Buf *keys, uint64_t n_keys) {
        enum { HEADER = 24, COUNT = 16, ALIGN = 32, FILLER = 8 + 4 + 4 + 8 };
        size_t n;
        uint64_t count;
        _cleanup_free_ char *data = read_file(recorded("arch-llama3.gguf"), &n);
        _cleanup_buf_ Buf out = BUF_NULL;
        char text[ALIGN] = "";
        uint64_t fill = ALIGN - (keys->len + FILLER) % ALIGN;
        memcpy(&count, data + COUNT, sizeof(count));
        count += n_keys + 1;
        memcpy(data + COUNT, &count, sizeof(count));
        buf_put(&out, data, HEADER);
        buf_put(&out, keys->data, keys->len);
        put_key(&out, "fill", GGUF_STRING, &fill, sizeof(fill));
        buf_put(&out, text, fill);
        buf_put(&out, data + HEADER, n - HEADER);
        folder_put(f, "model.gguf", out.data, out.len);
}

static int read_gguf(const Folder *f, SamplerDefaults *ret, Error *e) {
        char path[128];
        _cleanup_(model_freep) Model *m = NULL;
        snprintf(path, sizeof(path), "%s/model.gguf", f->path);
        int r = model_open(path, &m, e);
        return r < 0 ? r : sampler_defaults_read(m, ret, e);
}

static void test_gguf(void **state) {
        Folder *f = *state;
        _cleanup_buf_ Buf keys = BUF_NULL, wrong = BUF_NULL;
        SamplerDefaults d;
        Error e = ERROR_NULL;
        put_f32(&keys, "general.sampling.temp", 0.25f);
        put_f32(&keys, "general.sampling.top_p", 0.5f);
        put_f32(&keys, "general.sampling.min_p", 0.125f);
        put_f32(&keys, "general.sampling.penalty_repeat", 1.5f);
        put_i32(&keys, "general.sampling.top_k", 12);
        put_i32(&keys, "general.sampling.penalty_last_n", 99);
        put_gguf(f, &keys, 6);
        if (read_gguf(f, &d, &e) < 0)
                fail_msg("%s", e.text);
        assert_int_equal(d.said, 63);
        assert_true(d.temperature == 0.25f && d.top_p == 0.5f && d.min_p == 0.125f && d.repeat_penalty == 1.5f);
        assert_true(d.top_k == 12 && d.penalty_last == 99);
        put_f32(&wrong, "general.sampling.top_p", 7);
        put_gguf(f, &wrong, 1);
        assert_int_equal(read_gguf(f, &d, &e), -EINVAL);
        assert_non_null(strstr(e.text, "'general.sampling.top_p' is 7, should be a number from 0 to 1"));
}

/* ---- requests ---- */

static void test_apply(void **state) {
        (void)state;
        const SamplerDefaults d = {.said = IPC_SAID_TEMPERATURE | IPC_SAID_TOP_K, .temperature = 0.5f, .top_k = 5, .top_p = 0.1f};
        IpcJob job = {.temperature = 1, .top_p = 0.9f, .top_k = 40};
        sampler_defaults_apply(&d, &job);
        assert_true(job.temperature == 0.5f && job.top_p == 0.9f && job.top_k == 5);
        job = (IpcJob){.temperature = 1, .top_p = 0.9f, .top_k = 40, .said = IPC_SAID_TEMPERATURE};
        sampler_defaults_apply(&d, &job);
        assert_true(job.temperature == 1 && job.top_p == 0.9f && job.top_k == 5);
        const SamplerDefaults all = {.said = 63, .temperature = 0.5f, .top_p = 0.25f, .min_p = 0.125f, .repeat_penalty = 2,
                                     .top_k = 5, .penalty_last = 6};
        IpcJob each = {.temperature = 1, .presence_penalty = 3}, rest = each;
        sampler_defaults_apply(&all, &each);
        assert_true(each.temperature == 0.5f && each.top_p == 0.25f && each.min_p == 0.125f && each.repeat_penalty == 2);
        assert_true(each.top_k == 5 && each.penalty_last == 6 && each.presence_penalty == 3);
        rest.said = 63;
        sampler_defaults_apply(&all, &rest);
        assert_true(rest.temperature == 1 && rest.top_p == 0 && rest.min_p == 0 && rest.top_k == 0 && rest.penalty_last == 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_hugging_face), TEST(test_refused), TEST(test_gguf), cmocka_unit_test(test_apply),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
