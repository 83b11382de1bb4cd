/* A Hugging Face directory under test, for its tokenizer. */
#pragma once

#include <errno.h>

#include "folder.h"
#include "json-file.h"
#include "engine/vocab-hf.h"

/* A folder with an empty config.json, as *state. */
static inline int vocab_folder_setup(void **state) {
        folder_setup(state);
        folder_put_text(*state, "config.json", "{}");
        return 0;
}

#define VOCAB_TEST(name) cmocka_unit_test_setup_teardown(name, vocab_folder_setup, folder_teardown)

static inline int load(const char *path, Tokenizer **ret, Error *e) {
        _cleanup_(hf_freep) HfModel *h = NULL;
        int r = hf_open(path, &h, e);
        return r < 0 ? r : vocab_hf_tokenizer_new(h, ret, e);
}

static inline int load_text(const Folder *f, const json_t *tokenizer, Tokenizer **ret, Error *e) {
        char *text = json_dumps(tokenizer, JSON_COMPACT);
        assert_non_null(text);
        folder_put_text(f, "tokenizer.json", text);
        free(text);
        return load(f->path, ret, e);
}

static inline void refused(const Folder *f, int code, const char *message) {
        Tokenizer *t = NULL;
        Error e = ERROR_NULL;
        int r = load(f->path, &t, &e);
        if (r != code || !strstr(e.text, message))
                fail_msg("wanted %d '%s', got %d '%s'", code, message, r, e.text);
}

/* Replaces the first `from`. The caller frees. */
static inline char *with(const char *text, const char *from, const char *to) {
        const char *at = strstr(text, from);
        char *changed;
        if (!at)
                fail_msg("there is no %s", from);
        assert_true(asprintf(&changed, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) >= 0);
        return changed;
}

/* A part of a file to replace, and how the file is then refused. */
typedef struct Refusal {
        const char *from, *to;
        int code;
        const char *message;
} Refusal;

static inline void check_refusals(const Folder *f, const char *name, const char *text, const Refusal *cases, size_t n) {
        for (size_t i = 0; i < n; i++) {
                _cleanup_free_ char *changed = with(text, cases[i].from, cases[i].to);
                folder_put_text(f, name, changed);
                refused(f, cases[i].code, cases[i].message);
        }
}

/* Loads the file with any one member of any of its objects odd or gone, and uses what still loads. */
typedef void UseTokenizer(const Tokenizer *t);

static inline void try_member(const Folder *f, json_t *root, json_t *object, const char *key, UseTokenizer *use,
                              size_t *loaded) {
        static const char *const odd[] = {NULL,   "null", "7",  "-1",   "0.5",           "true", "\"x\"",
                                          "\"\"", "[]",   "{}", "[[]]", "{\"type\": 7}", "[7]"};
        json_t *old = json_incref(json_object_get(object, key));
        for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
                _cleanup_(tokenizer_freep) Tokenizer *t = NULL;
                Error e = ERROR_NULL;
                if (odd[i])
                        json_object_set_new(object, key, json_loads(odd[i], JSON_DECODE_ANY, NULL));
                else
                        json_object_del(object, key);
                int r = load_text(f, root, &t, &e);
                assert_true(r == 0 || e.text[0]);
                if (r == 0) {
                        use(t);
                        (*loaded)++;
                }
        }
        json_object_set_new(object, key, old);
}

static inline void try_members(const Folder *f, json_t *root, json_t *at, UseTokenizer *use, size_t *tried,
                               size_t *loaded) {
        size_t i, n = 0;
        json_t *item;
        const char *key, *keys[64];
        json_array_foreach(at, i, item)
                try_members(f, root, item, use, tried, loaded);
        json_object_foreach(at, key, item)
                if (n < ARRAY_SIZE(keys))
                        keys[n++] = key;
        for (i = 0; i < n; i++) {
                _cleanup_free_ char *name = strdup(keys[i]);
                try_member(f, root, at, name, use, loaded);
                (*tried)++;
                try_members(f, root, json_object_get(at, name), use, tried, loaded);
        }
}

static inline void check_odd_members(const Folder *f, const char *text, UseTokenizer *use) {
        size_t tried = 0, loaded = 0;
        json_t *root = json_loads(text, 0, NULL);
        assert_non_null(root);
        try_members(f, root, root, use, &tried, &loaded);
        json_decref(root);
        print_message("%zu members: %zu odd files loaded\n", tried, loaded);
        assert_true(tried > 20 && loaded > 0 && loaded < 13 * tried);
}
