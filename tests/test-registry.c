/* Models by name: what a directory and a config give, tags and aliases, what comes and goes, and what stays because a
 * job needs it. */
#include <fcntl.h>
#include <sys/stat.h>

#include "unit.h"
#include "daemon/registry.h"
#include "event/event.h"

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

static void write_text(const char *name, const char *text) {
        char path[256];
        snprintf(path, sizeof(path), "%s/%s", dir, name);
        FILE *f = fopen(path, "we");
        fputs(text, f);
        fclose(f);
}

static void drop(const char *name) {
        char path[256];
        snprintf(path, sizeof(path), "%s/%s", dir, name);
        remove(path);
}

/* ---- looking again, by a worker ---- */

static EventLoop *loop;
static int n_waiting;

static void looked(RegistryWaiter *w) {
        (void)w;
        if (--n_waiting == 0)
                event_loop_exit(loop, 0);
}

static void look(Registry *r, bool thorough, int n) {
        RegistryWaiter waiters[4];
        assert_int_equal(event_loop_new(&loop), 0);
        assert_int_equal(work_pool_new(loop, 1, &r->workers), 0);
        n_waiting = n;
        for (int i = 0; i < n; i++) {
                waiters[i] = (RegistryWaiter){.done = looked};
                registry_refresh(r, thorough, &waiters[i]);
        }
        event_loop_run(loop);
        assert_int_equal(n_waiting, 0);
        work_pool_free(r->workers);
        event_loop_free(loop);
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
        registry_init(&r, NULL, on_change, NULL);
        assert_int_equal(registry_configure(&r, c, NULL), 0);
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
        registry_init(&r, NULL, on_change, NULL);
        assert_int_equal(registry_configure(&r, c, NULL), 0);
        ModelEntry *a = find(&r, "a");
        touch("new.gguf");
        assert_null(find(&r, "new")); /* nobody has looked */
        look(&r, false, 1);
        assert_non_null(find(&r, "new"));
        a->running = 1;
        drop("a.gguf");
        look(&r, false, 3); /* one for the first, and one for those who came meanwhile */
        assert_true(a->missing); /* not freed: a job still holds it */
        assert_null(find(&r, "a"));
        a->running = 0;
        look(&r, true, 1);
        list_foreach(m, &r.models, ModelEntry, node)
                assert_string_not_equal(m->name, "a");
        assert_true(changes >= 3);
        /* What is known to be as it was is not read again, unless all is to be looked at. */
        for (size_t i = 0; i < ARRAY_SIZE(r.scanned); i++) {
                struct stat st;
                const char *dirs[] = {dir, PKGDATADIR "/models"};
                r.scanned[i] = stat(dirs[i], &st) == 0 ? st.st_mtim : (struct timespec){0};
        }
        int before = changes;
        look(&r, false, 1);
        assert_int_equal(changes, before);
        look(&r, true, 1);
        assert_int_equal(changes, before + 1);
        touch("a.gguf");
        look(&r, false, 1);
        assert_non_null(find(&r, "a"));
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
        registry_init(&r, NULL, on_change, NULL);
        assert_int_equal(registry_configure(&r, c, NULL), 0);
        assert_null(find(&r, "hf"));
        assert_null(find(&r, "named"));
        touch("hf/config.json");
        touch("hf/model-1.safetensors");
        touch("hf/model-2.safetensors");
        touch("hf/tokenizer.json");
        look(&r, true, 1); /* the directory it lies in did not change */
        assert_int_equal(find(&r, "hf")->size, 10);
        assert_int_equal(find(&r, "named")->size, 10);
        assert_null(find(&r, "other"));
        assert_non_null(strstr(find(&r, "b")->path, "b.gguf")); /* of two with a name the file */
        drop("hf/config.json");
        look(&r, true, 1);
        assert_null(find(&r, "hf"));
        assert_string_equal(registry_find_missing(&r, "hf")->name, "hf");
        registry_deinit(&r);
        config_free(c);
}

static const Variant *find_variant(Registry *r, const char *name) {
        return registry_find_variant(r, name, strlen(name));
}

/* A variant's name is its model's, until a model has that name. */
static void test_variants(void **state) {
        (void)state;
        Registry r;
        touch("b.gguf");
        write_text("v.json", "{\"from\": \"chat\"}");
        write_text("w.json", "{\"from\": \"nobody\"}");
        write_text("u.json", "{\"from\": \"v\"}");
        write_text("x.json", "{");
        Config *c = load("models:\n  - {name: chat, path: b.gguf, aliases: [gpt-4]}\n");
        registry_init(&r, NULL, on_change, NULL);
        assert_int_equal(registry_configure(&r, c, NULL), 0);
        assert_ptr_equal(find(&r, "v"), find(&r, "chat"));
        assert_ptr_equal(find(&r, "v:latest"), find(&r, "chat"));
        assert_ptr_equal(find_variant(&r, "v:latest"), find_variant(&r, "v"));
        assert_null(find_variant(&r, "chat"));
        assert_null(find_variant(&r, "gpt-4"));
        assert_null(find_variant(&r, "v:7b"));
        assert_null(find(&r, "w"));
        assert_string_equal(find_variant(&r, "w")->from, "nobody");
        assert_null(find(&r, "u")); /* of a variant there is none */
        assert_null(find(&r, "x"));
        assert_non_null(find_variant(&r, "x")->error);
        assert_string_equal(registry_nearest(&r, "vv"), "v");
        const char *before = "";
        list_foreach(v, &r.variants, Variant, node) {
                assert_true(strcmp(before, v->name) < 0); /* sorted */
                before = v->name;
        }

        write_text("b.json", "{\"from\": \"b\"}"); /* of the model that has its name, which then means the variant */
        look(&r, true, 1);
        assert_string_equal(find_variant(&r, "b:latest")->name, "b");
        assert_ptr_equal(registry_namesake(&r, find_variant(&r, "b")), find(&r, "b"));
        assert_ptr_equal(registry_model_of(&r, find_variant(&r, "b")), find(&r, "b"));
        write_text("b.json", "{\"from\": \"chat\"}");
        look(&r, true, 1);
        assert_null(find_variant(&r, "b"));
        drop("b.json");

        write_text("x.json", "{\"from\": \"gpt-4\"}");
        touch("v.gguf");
        drop("w.json");
        look(&r, true, 1);
        assert_ptr_equal(find(&r, "x"), find(&r, "chat"));
        assert_null(find_variant(&r, "v"));
        assert_ptr_not_equal(find(&r, "v"), find(&r, "chat"));
        assert_ptr_equal(find(&r, "u"), find(&r, "v"));
        assert_null(find_variant(&r, "w"));
        find(&r, "v")->running = 1;
        drop("v.gguf");
        look(&r, true, 1); /* still there for its job, but the name is the variant's again */
        assert_ptr_equal(find(&r, "v"), find(&r, "chat"));
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
                                            "hf/model-2.safetensors", "hf/tokenizer.json", "v.json", "u.json", "x.json", "b", "other", "hf"};
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                drop(names[i]);
        return rmdir(dir);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_come_and_go),
                                           cmocka_unit_test(test_directories), cmocka_unit_test(test_variants)};
        return cmocka_run_group_tests(tests, setup, teardown);
}
