/* Models by name: what a directory and a config give, tags and aliases, what comes and goes, and what stays because a
 * job needs it. */
#include <fcntl.h>
#include <sys/stat.h>

#include "unit.h"
#include "daemon/registry.h"

static char dir[] = "/tmp/test-registry-XXXXXX";
static int changes;

static void on_change(void *arg) {
        (void)arg;
        changes++;
}

static void touch(const char *name) {
        char path[256];
        snprintf(path, sizeof(path), "%s/%s", dir, name);
        int fd = open(path, O_WRONLY | O_CREAT, 0600);
        assert_int_equal(write(fd, "12345", 5), 5);
        close(fd);
}

static void drop(const char *name) {
        char path[256];
        snprintf(path, sizeof(path), "%s/%s", dir, name);
        remove(path);
}

/* The directory's time has a coarse clock: make sure that the next look sees a change. */
static void age(Registry *r) {
        r->scanned[0].tv_sec--;
}

static ModelEntry *find(Registry *r, const char *name) {
        return registry_find(r, name, strlen(name));
}

static Config *load(const char *text) {
        char path[256], body[1024];
        Config *c;
        Error e = ERROR_NULL;
        snprintf(path, sizeof(path), "%s/c.yaml", dir);
        snprintf(body, sizeof(body), "models_path: %s\n%s", dir, text);
        FILE *f = fopen(path, "we");
        fputs(body, f);
        fclose(f);
        if (config_load(path, &c, &e) < 0)
                fail_msg("%s", e.text);
        unlink(path);
        return c;
}

static void test_names(void **state) {
        (void)state;
        Registry r;
        touch("b.gguf");
        touch("a.gguf");
        touch("c:7b.gguf");
        touch("note.txt");
        touch(".hidden.gguf");
        Config *c = load("models:\n  - {name: chat, path: b.gguf, aliases: [gpt-4], slots: 3}\n  - {name: gone, path: /nowhere.gguf}\n");
        registry_init(&r, on_change, NULL);
        assert_int_equal(registry_configure(&r, c), 0);
        assert_int_equal(find(&r, "a")->size, 5);
        assert_ptr_equal(find(&r, "a"), find(&r, "a:latest"));
        assert_non_null(find(&r, "c:7b"));
        assert_null(find(&r, "a:7b"));
        assert_null(find(&r, ":latest"));
        assert_null(find(&r, "note"));
        assert_null(find(&r, ".hidden"));
        assert_null(find(&r, "gone")); /* configured, but the file is not there */
        assert_int_equal(find(&r, "chat")->config.slots, 3);
        assert_ptr_equal(find(&r, "chat"), find(&r, "gpt-4:latest"));
        assert_string_equal(registry_nearest(&r, "chatt"), "chat");
        registry_deinit(&r);
        config_free(c);
}

static void test_come_and_go(void **state) {
        (void)state;
        Registry r;
        Config *c = load("");
        registry_init(&r, on_change, NULL);
        assert_int_equal(registry_configure(&r, c), 0);
        ModelEntry *a = find(&r, "a");
        touch("new.gguf");
        age(&r);
        assert_non_null(find(&r, "new")); /* an unknown name makes it look again */
        a->running = 1;
        drop("a.gguf");
        age(&r);
        registry_refresh(&r);
        assert_true(a->missing); /* not freed: a job still holds it */
        assert_null(find(&r, "a"));
        a->running = 0;
        age(&r);
        registry_refresh(&r);
        list_foreach(m, &r.models, ModelEntry, node)
                assert_string_not_equal(m->name, "a");
        assert_true(changes >= 3);
        registry_deinit(&r);
        config_free(c);
}

static void make_directory(const char *name) {
        char path[256];
        snprintf(path, sizeof(path), "%s/%s", dir, name);
        assert_int_equal(mkdir(path, 0700), 0);
}

/* A directory is a model when its config.json is there; its size is that of its weights. */
static void test_directories(void **state) {
        (void)state;
        Registry r;
        make_directory("hf");
        make_directory("other");
        make_directory("b");
        touch("b.gguf");
        touch("b/config.json");
        touch("other/note.txt");
        Config *c = load("models:\n  - {name: named, path: hf}\n");
        registry_init(&r, on_change, NULL);
        assert_int_equal(registry_configure(&r, c), 0);
        assert_null(find(&r, "hf"));
        assert_null(find(&r, "named"));
        touch("hf/config.json");
        touch("hf/model-1.safetensors");
        touch("hf/model-2.safetensors");
        touch("hf/tokenizer.json");
        assert_non_null(find(&r, "hf")); /* although the directory it lies in did not change */
        assert_int_equal(find(&r, "hf")->size, 10);
        assert_int_equal(find(&r, "named")->size, 10);
        assert_null(find(&r, "other"));
        assert_non_null(strstr(find(&r, "b")->path, "b.gguf")); /* of two with a name the file */
        drop("hf/config.json");
        registry_refresh(&r);
        assert_null(find(&r, "hf"));
        assert_string_equal(registry_find_missing(&r, "hf")->name, "hf");
        registry_deinit(&r);
        config_free(c);
}

static int setup(void **state) {
        (void)state;
        return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state) {
        (void)state;
        static const char *const names[] = {"a.gguf", "b.gguf", "c:7b.gguf", "new.gguf", "note.txt", ".hidden.gguf",
                                            "b/config.json", "other/note.txt", "hf/config.json", "hf/model-1.safetensors",
                                            "hf/model-2.safetensors", "hf/tokenizer.json", "b", "other", "hf"};
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                drop(names[i]);
        return rmdir(dir);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_come_and_go),
                                           cmocka_unit_test(test_directories)};
        return cmocka_run_group_tests(tests, setup, teardown);
}
