/* Files that come and go whole: what is there afterwards, and what is left as it was when something is in the way. */
#include <errno.h>
#include <stdbool.h>

#include "folder.h"
#include "util/place.h"

static const char *in(const Folder *f, const char *name) {
        static char path[2][512];
        static int i;
        i = !i;
        snprintf(path[i], sizeof(path[i]), "%s/%s", f->path, name);
        return path[i];
}

static bool is_there(const Folder *f, const char *name) {
        struct stat st;
        return lstat(in(f, name), &st) == 0;
}

/* Of all that is there, hidden or not. */
static int count(const Folder *f) {
        int n = 0;
        DIR *d = opendir(f->path);
        for (struct dirent *e; (e = readdir(d));)
                n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
        closedir(d);
        return n;
}

static void check_text(const Folder *f, const char *name, const char *expected) {
        struct stat st;
        char *text = read_file(in(f, name), NULL);
        assert_string_equal(text, expected);
        free(text);
        assert_int_equal(stat(in(f, name), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0644);
}

static void test_text(void **state) {
        Folder *f = *state;
        umask(0077); /* as the service has it: who may read does not depend on it */
        assert_int_equal(place_text(in(f, "a"), "first", 5), 0);
        check_text(f, "a", "first");
        assert_int_equal(place_text(in(f, "a"), "second one", 10), 0);
        check_text(f, "a", "second one");
        assert_int_equal(place_text(in(f, "new/sub/b"), "", 0), 0);
        check_text(f, "new/sub/b", "");
        assert_int_equal(place_text(in(f, "a/b"), "x", 1), -ENOTDIR);
        assert_int_equal(place_text(in(f, "new"), "x", 1), -EISDIR);
        assert_int_equal(count(f), 2); /* no part of what failed */
}

static void test_directory(void **state) {
        Folder *f = *state;
        assert_int_equal(place_directory(in(f, "x/y/z")), 0);
        assert_int_equal(place_directory(in(f, "x/y/z")), 0);
        assert_true(is_there(f, "x/y/z"));
        assert_int_equal(place_text(in(f, "x/file"), "x", 1), 0);
        assert_int_equal(place_directory(in(f, "x/file/z")), -ENOTDIR);
}

static void test_remove(void **state) {
        Folder *f = *state;
        folder_put_text(f, "kept", "1");
        folder_put_text(f, "file", "2");
        folder_put_text(f, "model/config.json", "{}");
        folder_put_text(f, "model/.hidden", "3");
        assert_int_equal(place_text(in(f, "model/pool/deep/a"), "4", 1), 0);
        assert_int_equal(symlink(in(f, "kept"), in(f, "link")), 0);
        assert_int_equal(symlink(f->path, in(f, "model/loop")), 0);
        assert_int_equal(place_remove(in(f, "nothing")), -ENOENT);
        assert_int_equal(place_remove(in(f, "file")), 0);
        assert_int_equal(place_remove(in(f, "link")), 0);
        assert_int_equal(place_remove(in(f, "model")), 0);
        assert_int_equal(count(f), 1); /* nothing hidden, either */
        assert_true(is_there(f, "kept"));
}

/* Deeper than any model is: refused before anything goes. */
static void test_remove_all_or_nothing(void **state) {
        Folder *f = *state;
        char deep[256] = "model";
        for (int i = 0; i < 40; i++)
                strcat(deep, "/d");
        folder_put_text(f, "model/config.json", "{}");
        assert_int_equal(place_directory(in(f, deep)), 0);
        assert_int_equal(place_remove(in(f, "model")), -ELOOP);
        assert_true(is_there(f, "model/config.json") && is_there(f, deep));
        assert_int_equal(count(f), 1);
}

/* A part that somebody else owns: nothing goes. */
static void test_remove_others(void **state) {
        Folder *f = *state;
        enum { NOBODY = 65534 };
        bool is_root = geteuid() == 0; /* whom no mode stops */
        folder_put_text(f, "model/config.json", "{}");
        assert_int_equal(place_text(in(f, "model/theirs/file"), "x", 1), 0);
        assert_int_equal(chmod(in(f, "model/theirs"), 0555), 0);
        if (is_root) {
                assert_int_equal(chown(f->path, NOBODY, NOBODY) | chown(in(f, "model"), NOBODY, NOBODY), 0);
                assert_int_equal(seteuid(NOBODY), 0);
        }
        int r = place_remove(in(f, "model"));
        if (is_root)
                assert_int_equal(seteuid(0), 0);
        assert_int_equal(r, -EACCES);
        assert_true(is_there(f, "model/config.json") && is_there(f, "model/theirs/file"));
        assert_int_equal(count(f), 1);
        assert_int_equal(chmod(in(f, "model/theirs"), 0755), 0);
}

/* What somebody left who was killed on the way is in nobody's way, and goes with the next. */
static void test_leftovers(void **state) {
        Folder *f = *state;
        assert_int_equal(place_text(in(f, ".model.removed.abcdef/sub/large"), "x", 1), 0);
        folder_put_text(f, ".kept", "1");
        folder_put_text(f, "model/config.json", "{}");
        assert_int_equal(place_remove(in(f, "model")), 0);
        assert_true(is_there(f, ".kept"));
        assert_int_equal(count(f), 1);
        assert_int_equal(unlink(in(f, ".kept")), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_text, folder_setup, folder_teardown),
                cmocka_unit_test_setup_teardown(test_directory, folder_setup, folder_teardown),
                cmocka_unit_test_setup_teardown(test_remove, folder_setup, folder_teardown),
                cmocka_unit_test_setup_teardown(test_remove_all_or_nothing, folder_setup, folder_teardown),
                cmocka_unit_test_setup_teardown(test_remove_others, folder_setup, folder_teardown),
                cmocka_unit_test_setup_teardown(test_leftovers, folder_setup, folder_teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
