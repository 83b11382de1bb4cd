/* References of models, as people write them for registries. */
#include "unit.h"

#include "cli/reference.h"
#include "util/macro.h"

static void test_good(void **state) {
        (void)state;
        static const struct {
                const char *text, *registry, *repository, *tag, *name;
        } cases[] = {
                {"llama3.2", "https://registry.ollama.ai", "library/llama3.2", "latest", "llama3.2"},
                {"llama3.2:1b", "https://registry.ollama.ai", "library/llama3.2", "1b", "llama3.2:1b"},
                {"llama3.2:latest", "https://registry.ollama.ai", "library/llama3.2", "latest", "llama3.2"},
                {"somebody/model:v1.0-x_y", "https://registry.ollama.ai", "somebody/model", "v1.0-x_y", "model:v1.0-x_y"},
                {"hf.co/Qwen/Qwen3-0.6B-GGUF:Q8_0", "https://hf.co", "Qwen/Qwen3-0.6B-GGUF", "Q8_0", "Qwen3-0.6B-GGUF:Q8_0"},
                {"hf.co/Qwen/Qwen3-0.6B-GGUF", "https://hf.co", "Qwen/Qwen3-0.6B-GGUF", "latest", "Qwen3-0.6B-GGUF"},
                {"https://hf.co/a/b", "https://hf.co", "a/b", "latest", "b"},
                {"http://here/a", "http://here", "a", "latest", "a"},
                {"http://127.0.0.1:5000/a/b:c", "http://127.0.0.1:5000", "a/b", "c", "b:c"},
                {"localhost:5000/a/b", "https://localhost:5000", "a/b", "latest", "b"},
                {"localhost/a", "https://localhost", "a", "latest", "a"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Reference r;
                const char *why = NULL;
                if (!reference_parse(cases[i].text, &r, &why))
                        fail_msg("%s: %s", cases[i].text, why);
                assert_string_equal(r.registry, cases[i].registry);
                assert_string_equal(r.repository, cases[i].repository);
                assert_string_equal(r.tag, cases[i].tag);
                assert_string_equal(r.name, cases[i].name);
                assert_true(reference_is_name(r.name));
                reference_deinit(&r);
        }
}

static void test_bad(void **state) {
        (void)state;
        static const char *const cases[] = {
                "", "/", "a/", "/a", "a//b", "a b", "a:", ":b", "a:b:c", "../a", "a/../b", ".a", "-a", "a:.b", "a?b", "a#b", "a%2fb", "a\nb",
                "http://", "http:///a", "http://host", "https://host/", "ftp://host/a", "user@host.de/a", "hf.co/", "hf.co//a",
                "\xc3\xa4", "a\\b", "[::1]:5000/a",
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Reference r;
                const char *why = NULL;
                if (reference_parse(cases[i], &r, &why))
                        fail_msg("'%s' passes", cases[i]);
                assert_non_null(why);
        }
        char longest[300];
        Reference r;
        const char *why;
        memset(longest, 'a', sizeof(longest));
        longest[128] = 0;
        assert_true(reference_parse(longest, &r, &why));
        reference_deinit(&r);
        longest[128] = 'a';
        longest[129] = 0;
        assert_false(reference_parse(longest, &r, &why));
}

static void test_names(void **state) {
        (void)state;
        static const char *const good[] = {"a", "a:b", "A-1.5_x", "my model", "a+b"}, *const bad[] = {"", ".a", "a/b", "a\tb", " a", "-a", "\x7f"};
        for (size_t i = 0; i < ARRAY_SIZE(good); i++)
                assert_true(reference_is_name(good[i]));
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_false(reference_is_name(bad[i]));
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_bad), cmocka_unit_test(test_names)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
