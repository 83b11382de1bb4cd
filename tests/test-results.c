/* Results that are gone on with: what counts as done, torn lines, files that are something else. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "cli/results.h"

static char path[64];

static void write_file(const char *text) {
        FILE *f = fopen(path, "we");
        assert_non_null(f);
        fputs(text, f);
        fclose(f);
}

static char *read_back(void) {
        static char text[4096];
        FILE *f = fopen(path, "re");
        assert_non_null(f);
        text[fread(text, 1, sizeof(text) - 1, f)] = 0;
        fclose(f);
        return text;
}

static bool have(const Results *r, uint64_t index, const char *id) {
        json_t *value = id ? json_loads(id, JSON_DECODE_ANY, NULL) : NULL;
        bool result = results_have(r, index, value);
        json_decref(value);
        return result;
}

static Results *open_results(bool redo_failed) {
        Results *r = NULL;
        Error e = ERROR_NULL;
        if (results_open(path, redo_failed, &r, &e) < 0)
                fail_msg("%s", e.text);
        return r;
}

static void test_new_file(void **state) {
        unlink(path);
        Results *r = open_results(false);
        assert_false(have(r, 0, NULL));
        assert_false(have(r, 0, "\"a\""));
        assert_int_equal(results_add(r, "{\"index\":0}", NULL), 0);
        assert_int_equal(results_add(r, "{\"index\":1}", NULL), 0);
        assert_int_equal(results_sync(r, NULL), 0);
        results_free(r);
        assert_string_equal(read_back(), "{\"index\":0}\n{\"index\":1}\n");
}

static void test_done(void **state) {
        write_file("{\"index\":3,\"text\":\"x\"}\n{\"index\":5000,\"error\":\"x\"}\n"
                   "{\"index\":7,\"id\":\"seven\"}\n{\"text\":\"x\",\"index\":8,\"id\":{\"b\":1,\"a\":[2]}}\n");
        Results *r = open_results(false);
        assert_int_equal(results_found(r), 4);
        assert_true(have(r, 3, NULL));
        assert_true(have(r, 5000, NULL));
        assert_false(have(r, 4, NULL));
        assert_false(have(r, 1 << 20, NULL));
        /* What has an id is known by it, wherever it is now. */
        assert_true(have(r, 100, "\"seven\""));
        assert_true(have(r, 0, "{\"a\":[2],\"b\":1}"));
        assert_false(have(r, 7, NULL));
        assert_false(have(r, 3, "\"other\""));
        assert_false(have(r, 3, "7"));
        results_free(r);
}

static void test_redo_failed(void **state) {
        write_file("{\"index\":0,\"text\":\"x\"}\n{\"index\":1,\"error\":\"x\"}\n"
                   "{\"index\":2,\"id\":1,\"error\":\"\"}\n");
        Results *r = open_results(true);
        assert_true(have(r, 0, NULL));
        assert_false(have(r, 1, NULL));
        assert_false(have(r, 2, "1"));
        results_free(r);
}

/* A last line without its end does not count, even one that is complete JSON: it might be the half of a longer one. */
static void test_torn(void **state) {
        const char *const tails[] = {"{\"index\":1,\"te", "{\"index\":1}", "{"};
        for (size_t i = 0; i < ARRAY_SIZE(tails); i++) {
                char text[256];
                snprintf(text, sizeof(text), "{\"index\":0}\n%s", tails[i]);
                write_file(text);
                Results *r = open_results(false);
                assert_true(have(r, 0, NULL));
                assert_false(have(r, 1, NULL));
                assert_int_equal(results_add(r, "{\"index\":9}", NULL), 0);
                results_free(r);
                assert_string_equal(read_back(), "{\"index\":0}\n{\"index\":9}\n");
        }
}

/* Somebody's file is not written into. */
static void test_other_file(void **state) {
        const char *const texts[] = {"Dear diary,\n", "{\"index\":0}\n[]\n", "{\"index\":-1}\n", "{\"index\":\"0\"}\n",
                                     "\n", "{\"index\":99999999999999}\n"};
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                Results *r = NULL;
                Error e = ERROR_NULL;
                write_file(texts[i]);
                assert_int_equal(results_open(path, false, &r, &e), -EINVAL);
                assert_non_null(strstr(e.text, "is no result of this command"));
                assert_string_equal(read_back(), texts[i]);
        }
}

static void test_one_writer(void **state) {
        write_file("");
        Results *first = open_results(false), *second = NULL;
        Error e = ERROR_NULL;
        assert_int_equal(results_open(path, false, &second, &e), -EBUSY);
        results_free(first);
        second = open_results(false);
        results_free(second);
}

static void test_cannot_write(void **state) {
        Results *r = NULL;
        Error e = ERROR_NULL;
        assert_true(results_open("/nonexistent/file", false, &r, &e) < 0);
        assert_non_null(strstr(e.text, "/nonexistent/file"));
        assert_int_equal(results_open("/dev/full", false, &r, &e), 0); /* no regular file: nothing to go on with */
        assert_int_equal(results_add(r, "{}", &e), -ENOSPC);
        results_free(r);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_new_file),    cmocka_unit_test(test_done),
                cmocka_unit_test(test_redo_failed), cmocka_unit_test(test_torn),
                cmocka_unit_test(test_other_file),  cmocka_unit_test(test_one_writer),
                cmocka_unit_test(test_cannot_write),
        };
        snprintf(path, sizeof(path), "/tmp/zl-test-%d.jsonl", (int)getpid());
        int r = cmocka_run_group_tests(tests, NULL, NULL);
        unlink(path);
        return r;
}
