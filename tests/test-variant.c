/* Variants' files: what a good one says, and what is said of the others. */
#include "folder.h"
#include "daemon/variant.h"

static Variant *read_it(const Folder *f, const char *text) {
        char *path;
        assert_true(asprintf(&path, "%s/v.json", f->path) > 0);
        folder_put_text(f, "v.json", text);
        Variant *v = variant_read("v.json", 1, path);
        assert_non_null(v);
        assert_string_equal(v->name, "v");
        return v;
}

static void test_good(void **state) {
        Variant *v = read_it(*state, "{\"from\": \"base:1b\", \"system\": \"Be \\\"it\\\".\", \"parameters\": {\"temperature\": 0},"
                                     "\"messages\": [{\"role\": \"user\", \"content\": \"é\"}], \"license\": \"free\"}");
        assert_null(v->error);
        assert_string_equal(v->from, "base:1b");
        assert_string_equal(v->opening, "[{\"role\":\"system\",\"content\":\"Be \\\"it\\\".\"},{\"role\":\"user\",\"content\":\"é\"}]");
        assert_true(v->modified > 0);
        assert_int_equal(json_array_size(json_object_get(v->definition, "messages")), 1); /* as the file has it */
        variant_free(v);

        /* A system's message may be among the others, as the first; what else messages have is left out. */
        v = read_it(*state, "{\"from\": \"base\", \"parameters\": {}, \"license\": [\"a\", \"b\"], \"messages\": [{\"role\": \"system\","
                            "\"content\": \"s\", \"x\": 1}, {\"role\": \"tool\", \"content\": \"\"}]}");
        assert_null(v->error);
        assert_int_equal(json_object_size(v->definition), 3);
        assert_string_equal(v->opening, "[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"tool\",\"content\":\"\"}]");
        variant_free(v);

        v = read_it(*state, "{\"from\": \"base\", \"system\": \"\", \"messages\": []}");
        assert_null(v->error);
        assert_null(v->opening);
        variant_free(v);
}

static void test_broken(void **state) {
        static const struct {
                const char *text, *error;
        } rows[] = {
                {"", "line 1, column 0"},
                {"{\n \"from\" 1}", "line 2"},
                {"[]", "no JSON object"},
                {"{}", "from:"},
                {"{\"from\": \"a\", \"more\": 1}", "'more' is nothing that a variant has"},
                {"{\"from\": \"a\", \"sytem\": \"b\"}", "did you mean 'system'?"},
                {"{\"from\": 1}", "from:"},
                {"{\"from\": \"a\", \"from\": \"b\"}", "twice"},
                {"{\"from\": \"a\\u0000b\"}", "line 1"},
                {"secretword", "line 1, column 10: that is no JSON"},
                {"{\"from\": \"a\", \"system\": [1]}", "system: must be a text"},
                {"{\"from\": \"a\", \"parameters\": []}", "parameters: must be an object"},
                {"{\"from\": \"a\", \"parameters\": {\"stop\": [[1]]}}", "parameters: must be an object of"},
                {"{\"from\": \"a\", \"license\": [1]}", "license: must be"},
                {"{\"from\": \"a\", \"messages\": [{\"role\": \"robot\", \"content\": \"b\"}]}", "messages[0]"},
                {"{\"from\": \"a\", \"messages\": [{\"role\": \"user\", \"content\": \"b\"}, {\"role\": \"system\", \"content\": \"b\"}]}",
                 "messages[1]"},
                {"{\"from\": \"a\", \"system\": \"s\", \"messages\": [{\"role\": \"system\", \"content\": \"b\"}]}", "messages[0]"},
                {"{\"from\": \"a\", \"messages\": {}}", "messages: must be a list"},
                {"{\"from\": \"a\", \"messages\": [{\"role\": \"user\", \"content\": \"b\"}, {\"role\": \"user\"}]}", "messages[1]"},
                {"{\"from\": \"a\", \"messages\": [1]}", "messages[0]"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                Variant *v = read_it(*state, rows[i].text);
                assert_null(v->definition);
                assert_null(strstr(v->error, "secretword")); /* what the file has is not everybody's */
                if (!strstr(v->error, rows[i].error))
                        fail_msg("%s: '%s' says nothing of '%s'", rows[i].text, v->error, rows[i].error);
                variant_free(v);
        }
}

static void test_no_file(void **state) {
        Folder *f = *state;
        char *path, *large = calloc(1, VARIANT_MAX_BYTES + 2);
        assert_non_null(large);
        memset(large, ' ', VARIANT_MAX_BYTES + 1);
        Variant *v = read_it(f, large);
        free(large);
        assert_non_null(strstr(v->error, "256 KiB"));
        variant_free(v);

        assert_true(asprintf(&path, "%s/fifo.json", f->path) > 0);
        assert_int_equal(mkfifo(path, 0600), 0);
        v = variant_read("fifo", 4, path); /* nobody waits for its writer */
        assert_non_null(v->error);
        remove(v->path);
        variant_free(v);

        assert_true(asprintf(&path, "%s/none.json", f->path) > 0);
        v = variant_read("none", 4, path);
        assert_non_null(strstr(v->error, "No such file"));
        variant_free(v);
}

static void test_names(void **state) {
        (void)state;
        char longest[VARIANT_NAME_MAX + 2];
        memset(longest, 'x', sizeof(longest) - 1);
        longest[VARIANT_NAME_MAX] = 0;
        assert_true(variant_name_is_good("mario:7b v2.1-é") && variant_name_is_good(longest));
        longest[VARIANT_NAME_MAX] = 'x';
        longest[VARIANT_NAME_MAX + 1] = 0;
        static const char *const bad[] = {"", ".", "..", ".x", "a/b", "/", "a\nb", "a\x7f", "a\\b", ":a", "a:", " a", "a ", "builtin:x",
                                          "a.gguf", ".json", "a.json"};
        assert_false(variant_name_is_good(longest));
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_false(variant_name_is_good(bad[i]));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_good, folder_setup, folder_teardown),
                cmocka_unit_test_setup_teardown(test_broken, folder_setup, folder_teardown),
                cmocka_unit_test_setup_teardown(test_no_file, folder_setup, folder_teardown),
                cmocka_unit_test(test_names),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
