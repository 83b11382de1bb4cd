/* Opening a Hugging Face model directory; see hf.h.
 *
 * With several shards the index is held against the files: every tensor it names is in the file that it says, and the
 * files hold no other. So a shard of another model, or a download that ended early, is told by the tensor's name. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "model/hf.h"
#include "util/map.h"

#define SINGLE "model.safetensors"
#define INDEX "model.safetensors.index.json"
#define TEMPLATE "chat_template.jinja"

enum {
        JSON_MAX = 64 << 20, /* bytes: the largest tokenizer.json have half of that */
        SHARDS_MAX = 1024,
        SHOWN_MAX = 120,
};

struct HfModel {
        char *path;
        json_t *config, *generation_config, *tokenizer_config;
        ModelFile template; /* chat_template.jinja */
        size_t n_shards;
        Safetensors **shards;
        Tensor *tensors;
        size_t n_tensors;
};

/* ---- files ---- */

int hf_open_file(const HfModel *h, const char *name, ModelFile *ret, Error *e) {
        _cleanup_free_ char *path = NULL;
        if (asprintf(&path, "%s/%s", h->path, name) < 0)
                return HF_REFUSE(h, e, -ENOMEM, "no memory to open %s", name);
        return model_file_open(path, ret, e);
}

static int read_json(const HfModel *h, const char *name, json_type type, json_t **ret, Error *e) {
        _cleanup_(model_file_close) ModelFile f = {0};
        json_error_t error;
        int k = hf_open_file(h, name, &f, e);
        if (k < 0)
                return k;
        if (f.size > JSON_MAX)
                return FILE_REFUSE(&f, e, -EINVAL, "has %zu bytes; at most %d are read", f.size, JSON_MAX);
        json_t *j = json_loadb((const char *)f.data, f.size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
        if (!j)
                return FILE_REFUSE(&f, e, -EINVAL, "is no sound JSON: %s, in line %d", error.text, error.line);
        if (json_typeof(j) != type) {
                json_decref(j);
                return FILE_REFUSE(&f, e, -EINVAL, "is not a JSON %s", type == JSON_OBJECT ? "object" : "array");
        }
        *ret = j;
        return 0;
}

int hf_read_json(const HfModel *h, const char *name, json_t **ret, Error *e) {
        return read_json(h, name, JSON_OBJECT, ret, e);
}

int hf_read_json_array(const HfModel *h, const char *name, json_t **ret, Error *e) {
        return read_json(h, name, JSON_ARRAY, ret, e);
}

/* An empty object where there is no such file. */
static int read_optional(const HfModel *h, const char *name, json_t **ret, Error *e) {
        int k = hf_read_json(h, name, ret, e);
        if (k != -ENOENT)
                return k;
        *ret = json_object();
        return *ret ? 0 : HF_REFUSE(h, e, -ENOMEM, "no memory to open it");
}

static int read_texts(HfModel *h, Error *e) {
        int k = hf_read_json(h, "config.json", &h->config, e);
        if (k < 0)
                return k == -ENOENT ? HF_REFUSE(h, e, k, "is a directory without a config.json, so no model") : k;
        if ((k = read_optional(h, "generation_config.json", &h->generation_config, e)) < 0 ||
            (k = read_optional(h, "tokenizer_config.json", &h->tokenizer_config, e)) < 0)
                return k;
        k = hf_open_file(h, TEMPLATE, &h->template, e);
        return k == -ENOENT ? 0 : k;
}

/* ---- weights ---- */

static int open_shard(HfModel *h, const char *name, Error *e) {
        _cleanup_free_ char *path = NULL;
        Safetensors **shards = reallocarray(h->shards, h->n_shards + 1, sizeof(*shards));
        if (shards)
                h->shards = shards;
        if (!shards || asprintf(&path, "%s/%s", h->path, name) < 0)
                return HF_REFUSE(h, e, -ENOMEM, "no memory to open %s", name);
        int k = safetensors_open(path, &h->shards[h->n_shards], e);
        if (k == 0)
                h->n_shards++;
        return k;
}

bool hf_is_plain(const char *name) {
        return name[0] && name[0] != '.' && !strchr(name, '/') && strlen(name) < 256;
}

/* Opens each file that the index names; `shard_of` gets its number. */
static int open_named(HfModel *h, json_t *weight_map, Map *shard_of, Error *e) {
        const char *tensor;
        json_t *file;
        int32_t known;
        char shown[SHOWN_MAX];
        json_object_foreach(weight_map, tensor, file) {
                const char *name = json_string_value(file);
                file_text(shown, sizeof(shown), (FileText){tensor, strlen(tensor)});
                if (!name || !hf_is_plain(name))
                        return HF_REFUSE(h, e, -EINVAL, INDEX ": tensor '%s' is not in a file of this directory",
                                         shown);
                if (map_get(shard_of, name, strlen(name), &known))
                        continue;
                if (h->n_shards == SHARDS_MAX)
                        return HF_REFUSE(h, e, -EOPNOTSUPP, INDEX ": names more than %d files", SHARDS_MAX);
                int k = open_shard(h, name, e);
                if (k < 0)
                        return k;
                if (map_set(shard_of, name, strlen(name), (int32_t)h->n_shards - 1) < 0)
                        return HF_REFUSE(h, e, -ENOMEM, "no memory for its index");
        }
        return 0;
}

static int check_index(const HfModel *h, json_t *weight_map, const Map *shard_of, Error *e) {
        char shown[SHOWN_MAX];
        size_t n = 0;
        for (size_t i = 0; i < h->n_shards; i++) {
                const Safetensors *s = h->shards[i];
                n += safetensors_n_tensors(s);
                for (size_t k = 0; k < safetensors_n_tensors(s); k++) {
                        const Tensor *t = safetensors_tensor_at(s, k);
                        const char *file = json_string_value(json_object_get(weight_map, t->name.data));
                        int32_t number;
                        if (!file || !map_get(shard_of, file, strlen(file), &number) || (size_t)number != i)
                                return FILE_REFUSE(safetensors_file(s), e, -EINVAL,
                                                   "holds a tensor '%s' that " INDEX " does not place there",
                                                   file_text(shown, sizeof(shown), t->name));
                }
        }
        if (n == json_object_size(weight_map)) /* each is where it is said to be, so there is no other */
                return 0;
        return HF_REFUSE(h, e, -EINVAL, INDEX ": names %zu tensors, of which its files hold %zu; fetch them again",
                         json_object_size(weight_map), n);
}

static int open_sharded(HfModel *h, Error *e) {
        _cleanup_(map_deinit) Map shard_of = {0};
        json_auto_t *index = NULL;
        int k = hf_read_json(h, INDEX, &index, e);
        if (k == -ENOENT)
                return HF_REFUSE(h, e, -ENOENT,
                                 "has neither " SINGLE " nor " INDEX "; weights in other formats have to be converted");
        if (k < 0)
                return k;
        json_t *weight_map = json_object_get(index, "weight_map");
        if (json_object_size(weight_map) == 0)
                return HF_REFUSE(h, e, -EINVAL, INDEX ": has no weight_map");
        if (map_init(&shard_of, 16) < 0)
                return HF_REFUSE(h, e, -ENOMEM, "no memory for its index");
        if ((k = open_named(h, weight_map, &shard_of, e)) < 0)
                return k;
        return check_index(h, weight_map, &shard_of, e);
}

/* All tensors in one array. Names cannot be there twice: one file has them once, and the index each in one file. */
static int gather_tensors(HfModel *h, Error *e) {
        size_t n = 0;
        for (size_t i = 0; i < h->n_shards; i++)
                n += safetensors_n_tensors(h->shards[i]);
        h->tensors = calloc(MAX(n, (size_t)1), sizeof(*h->tensors));
        if (!h->tensors)
                return HF_REFUSE(h, e, -ENOMEM, "no memory for its index");
        for (size_t i = 0; i < h->n_shards; i++)
                for (size_t k = 0; k < safetensors_n_tensors(h->shards[i]); k++)
                        h->tensors[h->n_tensors++] = *safetensors_tensor_at(h->shards[i], k);
        return 0;
}

int hf_open_weights(HfModel *h, Error *e) {
        int k = open_shard(h, SINGLE, e);
        if (k == -ENOENT)
                k = open_sharded(h, e);
        return k < 0 ? k : gather_tensors(h, e);
}

int hf_open(const char *path, HfModel **ret, Error *e) {
        _cleanup_(hf_freep) HfModel *h = calloc(1, sizeof(*h));
        if (!h || !(h->path = strdup(path)))
                return error_set(e, -ENOMEM, "%.200s: no memory to open it", path);
        int k = read_texts(h, e);
        if (k < 0)
                return k;
        *ret = TAKE(h);
        return 0;
}

void hf_free(HfModel *h) {
        if (!h)
                return;
        for (size_t i = 0; i < h->n_shards; i++)
                safetensors_free(h->shards[i]);
        free(h->shards);
        free(h->tensors);
        json_decref(h->config);
        json_decref(h->generation_config);
        json_decref(h->tokenizer_config);
        model_file_close(&h->template);
        free(h->path);
        free(h);
}

/* ---- what it holds ---- */

const char *hf_label(const HfModel *h) {
        size_t len = strlen(h->path);
        return h->path + (len > 200 ? len - 200 : 0);
}

const json_t *hf_config(const HfModel *h) {
        return h->config;
}

const char *hf_text_type(const HfModel *h) {
        static const char *const types[][2] = {{"gemma3", "gemma3_text"}, {"mistral3", "mistral"},   {"qwen2_vl", "qwen2"},
                                               {"qwen2_5_vl", "qwen2"},   {"qwen3_vl", "qwen3"}};
        const char *type = json_string_value(json_object_get(h->config, "model_type")),
                   *text = json_string_value(json_object_get(json_object_get(h->config, "text_config"), "model_type"));
        for (size_t i = 0; type && i < ARRAY_SIZE(types); i++)
                if (strcmp(type, types[i][0]) == 0) /* Mistral's are of several kinds, by their own names */
                        return text && strncmp(text, "mini", 4) == 0 ? text : types[i][1];
        return NULL;
}

const json_t *hf_text_config(const HfModel *h) {
        const json_t *text = json_object_get(h->config, "text_config");
        return hf_text_type(h) && json_is_object(text) ? text : h->config;
}

const json_t *hf_generation_config(const HfModel *h) {
        return h->generation_config;
}

const json_t *hf_tokenizer_config(const HfModel *h) {
        return h->tokenizer_config;
}

/* The one of that name in [{"name": …, "template": …}, …]. */
static const json_t *named_template(const json_t *templates, const char *wanted) {
        size_t i;
        json_t *t;
        json_array_foreach(templates, i, t) {
                const char *name = json_string_value(json_object_get(t, "name"));
                if (name && strcmp(name, wanted) == 0)
                        return json_object_get(t, "template");
        }
        return NULL;
}

int hf_chat_template(const HfModel *h, const char *name, FileText *ret, Error *e) {
        const json_t *t = json_object_get(h->tokenizer_config, "chat_template");
        bool is_default = strcmp(name, "default") == 0;
        if (!is_default && (h->template.data || !json_is_array(t) || !named_template(t, name)))
                return HF_REFUSE(h, e, -ENOENT, "has no chat template of that name");
        if (h->template.data) {
                *ret = (FileText){(const char *)h->template.data, h->template.size};
                return 0;
        }
        if (!t || json_is_null(t))
                return HF_REFUSE(h, e, -ENOENT, "has no chat template");
        if (json_is_array(t))
                t = named_template(t, name);
        if (!json_is_string(t))
                return HF_REFUSE(h, e, -EINVAL, "tokenizer_config.json: its chat_template is no text");
        *ret = (FileText){json_string_value(t), json_string_length(t)};
        return 0;
}

size_t hf_n_files(const HfModel *h) {
        return h->n_shards;
}

const ModelFile *hf_file_at(const HfModel *h, size_t i) {
        return safetensors_file(h->shards[i]);
}

size_t hf_n_tensors(const HfModel *h) {
        return h->n_tensors;
}

const Tensor *hf_tensors(const HfModel *h) {
        return h->tensors;
}
