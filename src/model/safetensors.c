/* safetensors files, mapped read-only and checked once; see safetensors.h. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "model/safetensors.h"
#include "util/checked.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "values are read as they stand in the file");

enum {
        PREFIX = 8,                     /* bytes of the header's length */
        HEADER_MAX = 100 * 1000 * 1000, /* the limit of the format's own reader */
        DIMS_MAX = 4,
        SHOWN_MAX = 120, /* bytes of a name in messages */
};

struct Safetensors {
        ModelFile file;
        json_t *header; /* the names are its */
        const uint8_t *data;
        size_t data_size, n_tensors;
        Tensor *tensors;
};

#define REFUSE(s, e, code, fmt, ...) FILE_REFUSE(&(s)->file, e, code, fmt, ##__VA_ARGS__)

/* All types the format has, and which of them are formats of weights here. */
static const struct {
        const char *name;
        uint8_t size;
        bool supported;
        Dtype type;
} types[] = {
        {"F32", 4, true, DTYPE_F32},
        {"F16", 2, true, DTYPE_F16},
        {"BF16", 2, true, DTYPE_BF16},
        {.name = "F64", .size = 8},     {.name = "I64", .size = 8},     {.name = "I32", .size = 4},
        {.name = "I16", .size = 2},     {.name = "I8", .size = 1},      {.name = "U64", .size = 8},
        {.name = "U32", .size = 4},     {.name = "U16", .size = 2},     {.name = "U8", .size = 1},
        {.name = "BOOL", .size = 1},    {.name = "F8_E5M2", .size = 1}, {.name = "F8_E4M3", .size = 1},
};

/* ---- one tensor ---- */

/* A tensor's entry while it is read. */
typedef struct Entry {
        const Safetensors *s;
        const char *name;
        char shown[SHOWN_MAX];
        size_t type; /* in types[] */
        Error *e;
} Entry;

static int read_type(Entry *t, const json_t *dtype) {
        const char *name = json_string_value(dtype);
        if (!name)
                return REFUSE(t->s, t->e, -EINVAL, "tensor '%s': its dtype is not a string", t->shown);
        for (t->type = 0; t->type < ARRAY_SIZE(types); t->type++)
                if (strcmp(name, types[t->type].name) == 0)
                        break;
        if (t->type == ARRAY_SIZE(types))
                return REFUSE(t->s, t->e, -EINVAL, "tensor '%s': is of unknown dtype '%.40s'", t->shown, name);
        return 0;
}

/* The shape, and in *ret_size the bytes it takes. Of more dimensions than a Tensor has, as convolutions of videos, the outermost
 * are one. */
static int read_shape(Entry *t, const json_t *shape, Tensor *ret, size_t *ret_size) {
        size_t n = json_array_size(shape), size = types[t->type].size;
        if (!json_is_array(shape))
                return REFUSE(t->s, t->e, -EINVAL, "tensor '%s': its shape is not an array", t->shown);
        ret->n_dims = (uint32_t)MIN(n, (size_t)DIMS_MAX);
        for (size_t i = 0; i < DIMS_MAX; i++)
                ret->dims[i] = 1;
        for (size_t i = 0; i < n; i++) {
                const json_t *dim = json_array_get(shape, n - 1 - i);
                json_int_t v = json_integer_value(dim);
                if (!json_is_integer(dim) || v < 0)
                        return REFUSE(t->s, t->e, -EINVAL, "tensor '%s': dimension %zu of its shape is no size",
                                      t->shown, n - 1 - i);
                uint64_t *place = &ret->dims[MIN(i, (size_t)DIMS_MAX - 1)];
                if (!checked_mul(size, (size_t)v, &size) || __builtin_mul_overflow(*place, (uint64_t)v, place))
                        return REFUSE(t->s, t->e, -EINVAL, "tensor '%s': its shape is larger than any file", t->shown);
        }
        *ret_size = size;
        return 0;
}

static int read_offsets(Entry *t, const json_t *offsets, size_t size, Tensor *ret) {
        const json_t *from = json_array_get(offsets, 0), *to = json_array_get(offsets, 1);
        json_int_t begin = json_integer_value(from), end = json_integer_value(to);
        if (json_array_size(offsets) != 2 || !json_is_integer(from) || !json_is_integer(to) || begin < 0 || end < begin)
                return REFUSE(t->s, t->e, -EINVAL,
                              "tensor '%s': its data_offsets are not two offsets, the first not above the second",
                              t->shown);
        if ((size_t)end > t->s->data_size)
                return REFUSE(t->s, t->e, -EINVAL,
                              "tensor '%s': ends at %" JSON_INTEGER_FORMAT
                              ", beyond the %zu bytes of data; the file is cut short or damaged: fetch it again",
                              t->shown, end, t->s->data_size);
        if ((size_t)(end - begin) != size)
                return REFUSE(t->s, t->e, -EINVAL,
                              "tensor '%s': has %" JSON_INTEGER_FORMAT " bytes of data, its shape needs %zu", t->shown,
                              end - begin, size);
        ret->data = t->s->data + begin;
        ret->size = size;
        return 0;
}

static int read_tensor(const Safetensors *s, const char *name, const json_t *fields, Tensor *ret, Error *e) {
        Entry t = {.s = s, .name = name, .e = e};
        size_t size;
        file_text(t.shown, sizeof(t.shown), (FileText){name, strlen(name)});
        const json_t *dtype = json_object_get(fields, "dtype"), *shape = json_object_get(fields, "shape"),
                     *offsets = json_object_get(fields, "data_offsets");
        if (!dtype || !shape || !offsets || json_object_size(fields) != 3)
                return REFUSE(s, e, -EINVAL, "tensor '%s': should have a dtype, a shape and data_offsets, and no more",
                              t.shown);
        int k = read_type(&t, dtype);
        if (k < 0 || (k = read_shape(&t, shape, ret, &size)) < 0 || (k = read_offsets(&t, offsets, size, ret)) < 0)
                return k;
        if (!types[t.type].supported)
                ret->foreign = types[t.type].name;
        ret->name = (FileText){name, strlen(name)};
        ret->type = types[t.type].type;
        return 0;
}

/* ---- all of them ---- */

static int check_metadata(const Safetensors *s, json_t *metadata, Error *e) {
        const char *key;
        json_t *value;
        char shown[SHOWN_MAX];
        if (!json_is_object(metadata) && !json_is_null(metadata))
                return REFUSE(s, e, -EINVAL, "its __metadata__ is not an object");
        json_object_foreach(metadata, key, value)
                if (!json_is_string(value))
                        return REFUSE(s, e, -EINVAL, "its __metadata__ has a '%s' that is not a string",
                                      file_text(shown, sizeof(shown), (FileText){key, strlen(key)}));
        return 0;
}

static int read_tensors(Safetensors *s, Error *e) {
        const char *name;
        json_t *fields;
        s->tensors = calloc(MAX(json_object_size(s->header), (size_t)1), sizeof(*s->tensors));
        if (!s->tensors)
                return REFUSE(s, e, -ENOMEM, "no memory for its index");
        json_object_foreach(s->header, name, fields) {
                int k = strcmp(name, "__metadata__") == 0
                                ? check_metadata(s, fields, e)
                                : read_tensor(s, name, fields, &s->tensors[s->n_tensors++], e);
                if (k < 0)
                        return k;
        }
        return 0;
}

/* By begin, then by end: of two that begin together the first has to be empty. */
static int by_place(const void *a, const void *b) {
        const Tensor *x = a, *y = b;
        if (x->data != y->data)
                return x->data < y->data ? -1 : 1;
        return x->size < y->size ? -1 : x->size > y->size;
}

/* The tensors, in order, fill the data. */
static int check_places(Safetensors *s, Error *e) {
        char shown[SHOWN_MAX], before[SHOWN_MAX];
        const uint8_t *at = s->data;
        qsort(s->tensors, s->n_tensors, sizeof(*s->tensors), by_place);
        for (size_t i = 0; i < s->n_tensors; i++) {
                const Tensor *t = &s->tensors[i];
                const uint8_t *begin = t->data;
                file_text(shown, sizeof(shown), t->name);
                if (begin < at)
                        return REFUSE(s, e, -EINVAL, "tensors '%s' and '%s' overlap; the file is damaged",
                                      file_text(before, sizeof(before), s->tensors[i - 1].name), shown);
                if (begin > at)
                        return REFUSE(s, e, -EINVAL,
                                      "the %td bytes before tensor '%s' belong to no tensor; the file is damaged",
                                      begin - at, shown);
                at = begin + t->size;
        }
        if (at != s->data + s->data_size)
                return REFUSE(s, e, -EINVAL, "its last %td bytes belong to no tensor; the file is damaged",
                              s->data + s->data_size - at);
        return 0;
}

static int read_header(Safetensors *s, Error *e) {
        uint64_t n;
        json_error_t error;
        if (s->file.size < PREFIX)
                return REFUSE(s, e, -EINVAL, "is no safetensors file: it has only %zu bytes", s->file.size);
        memcpy(&n, s->file.data, PREFIX);
        if (n > HEADER_MAX || n > s->file.size - PREFIX)
                return REFUSE(s, e, -EINVAL,
                              "says that its header has %" PRIu64 " bytes; it has %zu in all and a header at most %d: "
                              "it is no safetensors file, or cut short",
                              n, s->file.size, HEADER_MAX);
        const char *text = (const char *)s->file.data + PREFIX;
        if (n == 0 || text[0] != '{')
                return REFUSE(s, e, -EINVAL, "is no safetensors file: its header does not begin with '{'");
        s->header = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
        if (!s->header)
                return REFUSE(s, e, -EINVAL, "its header is not JSON: %s, at byte %d", error.text, error.position);
        s->data = s->file.data + PREFIX + n;
        s->data_size = s->file.size - PREFIX - n;
        return 0;
}

int safetensors_open(const char *path, Safetensors **ret, Error *e) {
        _cleanup_(safetensors_freep) Safetensors *s = calloc(1, sizeof(*s));
        if (!s)
                return error_set(e, -ENOMEM, "%s: no memory to open it", path);
        int k = model_file_open(path, &s->file, e);
        if (k < 0 || (k = read_header(s, e)) < 0 || (k = read_tensors(s, e)) < 0 || (k = check_places(s, e)) < 0)
                return k;
        *ret = TAKE(s);
        return 0;
}

void safetensors_free(Safetensors *s) {
        if (!s)
                return;
        json_decref(s->header);
        free(s->tensors);
        model_file_close(&s->file);
        free(s);
}

const ModelFile *safetensors_file(const Safetensors *s) {
        return &s->file;
}

size_t safetensors_n_tensors(const Safetensors *s) {
        return s->n_tensors;
}

const Tensor *safetensors_tensor_at(const Safetensors *s, size_t i) {
        return &s->tensors[i];
}
