/* GGUF files, mapped read-only and checked once.
 *
 * The layout is in gguf.h. gguf_open() walks it front to back with a Reader that cannot pass the end of the map:
 *
 *   header -> metadata -> tensor infos -> (alignment) -> tensor data
 *
 * and keeps an index: one Value per key and one Tensor per tensor, found by name through hash maps. Counts are
 * believed only as far as that many of the smallest possible entries fit into the bytes left, and up to ENTRIES_MAX,
 * so that the index is small whatever the file says. What holds once gguf_open() has returned 0:
 *  - every string, array and tensor lies within the map, and arrays hold no arrays;
 *  - keys and tensor names are unique, 1 to KEY_LEN_MAX and NAME_LEN_MAX bytes long;
 *  - tensors do not overlap, begin at a multiple of the alignment (8 at least), and have whole rows of a known type.
 * Metadata values stand unaligned in the file and are read with memcpy(). */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "model/gguf.h"
#include "util/buf.h"
#include "util/checked.h"
#include "util/map.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "values are read as they stand in the file");

enum {
        KEY_LEN_MAX = 65535, /* both from the specification */
        NAME_LEN_MAX = 64,
        DIMS_MAX = 4,
        ENTRIES_MAX = 65536, /* keys, tensors: far more than any model has, and little memory */
        ALIGNMENT_DEFAULT = 32,
        ALIGNMENT_MIN = 8,
        SHOWN_MAX = 80,  /* bytes of a key or name in messages */
        VALUE_MIN = 13,  /* bytes of the smallest metadata entry: key length 8, type 4, value 1 */
        TENSOR_MIN = 32, /* and of a tensor's info: name length 8, n_dims 4, one dim 8, type 4, offset 8 */
};

typedef struct Value {
        FileText key;
        GgufType type, element; /* element: of an array */
        const uint8_t *data;    /* the number, the text, or the first element */
        size_t n;               /* bytes of the text, or elements */
} Value;

struct Gguf {
        ModelFile file;
        size_t alignment;
        size_t n_values, n_tensors;
        Value *values;
        Tensor *tensors;
        Map by_key, by_name;
};

/* A position in the map; `where` says, for messages, what is being read. */
typedef struct Reader {
        const Gguf *g;
        const uint8_t *p, *end;
        char where[SHOWN_MAX + 32];
        Error *e;
} Reader;

#define REFUSE(g, e, code, fmt, ...) FILE_REFUSE(&(g)->file, e, code, fmt, ##__VA_ARGS__)

static const struct {
        const char *name;
        uint8_t size; /* 0: not fixed */
} types[] = {
        [GGUF_U8] = {"u8", 1},         [GGUF_I8] = {"i8", 1},       [GGUF_U16] = {"u16", 2}, [GGUF_I16] = {"i16", 2},
        [GGUF_U32] = {"u32", 4},       [GGUF_I32] = {"i32", 4},     [GGUF_F32] = {"f32", 4}, [GGUF_BOOL] = {"bool", 1},
        [GGUF_STRING] = {"string", 0}, [GGUF_ARRAY] = {"array", 0}, [GGUF_U64] = {"u64", 8}, [GGUF_I64] = {"i64", 8},
        [GGUF_F64] = {"f64", 8},
};

/* ---- reading ---- */

static size_t left(const Reader *r) {
        return (size_t)(r->end - r->p);
}

static int take(Reader *r, uint64_t n, const uint8_t **ret) {
        if (n > left(r))
                return REFUSE(r->g, r->e, -EINVAL,
                              "%s: needs %" PRIu64 " bytes where the file has %zu left; it is cut short or damaged: "
                              "fetch it again",
                              r->where, n, left(r));
        *ret = r->p;
        r->p += n;
        return 0;
}

static int take_u32(Reader *r, uint32_t *ret) {
        const uint8_t *p;
        int k = take(r, sizeof(*ret), &p);
        if (k == 0)
                memcpy(ret, p, sizeof(*ret));
        return k;
}

static int take_u64(Reader *r, uint64_t *ret) {
        const uint8_t *p;
        int k = take(r, sizeof(*ret), &p);
        if (k == 0)
                memcpy(ret, p, sizeof(*ret));
        return k;
}

static int take_string(Reader *r, FileText *ret) {
        uint64_t n;
        const uint8_t *p;
        int k = take_u64(r, &n);
        if (k == 0)
                k = take(r, n, &p);
        if (k == 0)
                *ret = (FileText){.data = (const char *)p, .len = n};
        return k;
}

/* A key or a tensor's name; from here on `where` is about it. */
static int take_name(Reader *r, const char *what, size_t max, FileText *ret) {
        char shown[SHOWN_MAX];
        int k = take_string(r, ret);
        if (k < 0)
                return k;
        if (ret->len == 0 || ret->len > max)
                return REFUSE(r->g, r->e, -EINVAL, "%s: its name is %zu bytes long; 1 to %zu are allowed", r->where,
                              ret->len, max);
        snprintf(r->where, sizeof(r->where), "%s '%s'", what, file_text(shown, sizeof(shown), *ret));
        return 0;
}

/* Enters a name that must be new. */
static int index_name(const Reader *r, Map *m, FileText name, size_t i) {
        int k = map_set(m, name.data, name.len, (int32_t)i);
        if (k > 0)
                return REFUSE(r->g, r->e, -EINVAL, "%s: is there twice; the file is damaged", r->where);
        return k < 0 ? error_set(r->e, k, "%s: no memory for its index", r->g->file.label) : 0;
}

/* ---- header and metadata ---- */

static int check_count(const Reader *r, const char *what, uint64_t n, size_t smallest) {
        if (n > left(r) / smallest)
                return REFUSE(r->g, r->e, -EINVAL,
                              "says that it holds %" PRIu64 " %s, more than its %zu bytes can; it is damaged", n, what,
                              r->g->file.size);
        if (n > ENTRIES_MAX)
                return REFUSE(r->g, r->e, -EOPNOTSUPP, "holds %" PRIu64 " %s; at most %d are supported", n, what,
                              ENTRIES_MAX);
        return 0;
}

static int check_magic(const Gguf *g, Error *e) {
        if (g->file.size < 4 || memcmp(g->file.data, "GGUF", 4) != 0)
                return REFUSE(g, e, -EINVAL, "is no GGUF file (it does not begin with \"GGUF\")");
        return 0;
}

static int check_version(const Gguf *g, uint32_t version, Error *e) {
        if (version == 2 || version == 3)
                return 0;
        if (version && (version & 0xffff) == 0)
                return REFUSE(g, e, -EOPNOTSUPP, "is a big-endian GGUF file; only little-endian ones are supported");
        return REFUSE(g, e, -EOPNOTSUPP,
                      "is GGUF version %" PRIu32 "; versions 2 and 3 are supported: convert it again", version);
}

static int take_header(Reader *r, uint64_t *ret_n_tensors, uint64_t *ret_n_values) {
        uint32_t version;
        int k = check_magic(r->g, r->e);
        if (k < 0)
                return k;
        r->p += 4;
        if ((k = take_u32(r, &version)) < 0 || (k = check_version(r->g, version, r->e)) < 0)
                return k;
        if ((k = take_u64(r, ret_n_tensors)) < 0 || (k = take_u64(r, ret_n_values)) < 0)
                return k;
        if ((k = check_count(r, "metadata entries", *ret_n_values, VALUE_MIN)) < 0)
                return k;
        return check_count(r, "tensors", *ret_n_tensors, TENSOR_MIN);
}

static int take_type(Reader *r, GgufType *ret) {
        uint32_t type;
        int k = take_u32(r, &type);
        if (k < 0)
                return k;
        if (type >= ARRAY_SIZE(types))
                return REFUSE(r->g, r->e, -EINVAL, "%s: is of unknown type %" PRIu32, r->where, type);
        *ret = (GgufType)type;
        return 0;
}

static int take_array(Reader *r, Value *v) {
        uint64_t n;
        FileText s;
        int k = take_type(r, &v->element);
        if (k < 0 || (k = take_u64(r, &n)) < 0)
                return k;
        if (v->element == GGUF_ARRAY)
                return REFUSE(r->g, r->e, -EOPNOTSUPP, "%s: is an array of arrays, which is not supported", r->where);
        size_t size = v->element == GGUF_STRING ? sizeof(uint64_t) : types[v->element].size; /* at least */
        if (n > left(r) / size)
                return REFUSE(r->g, r->e, -EINVAL,
                              "%s: says that it holds %" PRIu64 " elements, more than the %zu bytes left can", r->where,
                              n, left(r));
        v->data = r->p;
        v->n = n;
        if (v->element != GGUF_STRING)
                return take(r, n * size, &v->data);
        for (; n > 0 && k == 0; n--)
                k = take_string(r, &s);
        return k;
}

static int take_value(Reader *r, Value *v) {
        FileText s;
        int k = take_type(r, &v->type);
        if (k < 0)
                return k;
        if (v->type == GGUF_ARRAY)
                return take_array(r, v);
        if (v->type == GGUF_STRING) {
                if ((k = take_string(r, &s)) < 0)
                        return k;
                v->data = (const uint8_t *)s.data;
                v->n = s.len;
                return 0;
        }
        if ((k = take(r, types[v->type].size, &v->data)) < 0)
                return k;
        if (v->type == GGUF_BOOL && *v->data > 1)
                return REFUSE(r->g, r->e, -EINVAL, "%s: is neither true nor false but %u", r->where, *v->data);
        return 0;
}

static int take_metadata(Reader *r, Gguf *g, size_t n) {
        int k = map_init(&g->by_key, n);
        g->values = calloc(MAX(n, (size_t)1), sizeof(*g->values));
        if (k < 0 || !g->values)
                return REFUSE(g, r->e, -ENOMEM, "no memory for its index");
        for (size_t i = 0; i < n; i++) {
                Value *v = &g->values[i];
                snprintf(r->where, sizeof(r->where), "metadata entry %zu of %zu", i + 1, n);
                if ((k = take_name(r, "key", KEY_LEN_MAX, &v->key)) < 0 || (k = take_value(r, v)) < 0 ||
                    (k = index_name(r, &g->by_key, v->key, i)) < 0)
                        return k;
                g->n_values = i + 1;
        }
        return 0;
}

/* ---- tensors ---- */

static int read_alignment(Gguf *g, Error *e) {
        uint64_t a = ALIGNMENT_DEFAULT;
        int k = gguf_get_u64(g, "general.alignment", &a, e);
        if (k < 0 && k != -ENOENT)
                return k;
        if (a < ALIGNMENT_MIN || (a & (a - 1)) != 0)
                return REFUSE(g, e, -EINVAL,
                              "key 'general.alignment': is %" PRIu64 ", not a power of two of %d or more", a,
                              ALIGNMENT_MIN);
        g->alignment = a;
        return 0;
}

static int take_dims(Reader *r, Tensor *t) {
        int k = take_u32(r, &t->n_dims);
        if (k < 0)
                return k;
        if (t->n_dims == 0 || t->n_dims > DIMS_MAX)
                return REFUSE(r->g, r->e, -EINVAL, "%s: has %" PRIu32 " dimensions; 1 to %d are allowed", r->where,
                              t->n_dims, DIMS_MAX);
        for (uint32_t i = 0; i < DIMS_MAX; i++) {
                t->dims[i] = 1;
                if (i < t->n_dims && (k = take_u64(r, &t->dims[i])) < 0)
                        return k;
                if (t->dims[i] == 0)
                        return REFUSE(r->g, r->e, -EINVAL, "%s: dimension %" PRIu32 " is 0", r->where, i);
        }
        return 0;
}

static int refuse_type(const Reader *r, uint32_t type) {
        _cleanup_buf_ Buf known = BUF_NULL;
        for (uint32_t i = 0; i < TENSOR_DTYPE_MAX; i++)
                if (dtype_info(i))
                        buf_printf(&known, "%s%s", known.len ? ", " : "", dtype_name(i));
        return REFUSE(r->g, r->e, -EOPNOTSUPP,
                      "%s: is stored as %s (type %" PRIu32 "), which is not supported; supported are %s", r->where,
                      dtype_name(type), type, known.failed ? "others" : known.data);
}

/* The tensor's size in bytes, from its shape and type. */
static int measure(const Reader *r, Tensor *t, uint32_t type) {
        const DtypeInfo *info = type < TENSOR_DTYPE_MAX ? dtype_info(type) : NULL;
        if (!info)
                return refuse_type(r, type);
        t->type = (Dtype)type;
        if (t->dims[0] % info->block != 0)
                return REFUSE(r->g, r->e, -EINVAL,
                              "%s: has rows of %" PRIu64 " values; %s needs a multiple of %" PRIu32, r->where,
                              t->dims[0], info->name, info->block);
        t->size = dtype_row_size(t->type, t->dims[0]);
        for (uint32_t i = 1; i < DIMS_MAX && t->size > 0; i++)
                if (!checked_mul(t->size, t->dims[i], &t->size))
                        t->size = 0;
        if (t->size == 0 || t->size > r->g->file.size)
                return REFUSE(r->g, r->e, -EINVAL,
                              "%s: has the shape [%" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64
                              "], larger than the file; it is cut short or damaged",
                              r->where, t->dims[0], t->dims[1], t->dims[2], t->dims[3]);
        return 0;
}

static int take_tensor(Reader *r, Tensor *t, uint64_t *ret_offset) {
        uint32_t type;
        int k = take_name(r, "tensor", NAME_LEN_MAX, &t->name);
        if (k < 0 || (k = take_dims(r, t)) < 0 || (k = take_u32(r, &type)) < 0 || (k = take_u64(r, ret_offset)) < 0)
                return k;
        if (*ret_offset % r->g->alignment != 0)
                return REFUSE(r->g, r->e, -EINVAL,
                              "%s: begins at offset %" PRIu64 ", not a multiple of the alignment %zu", r->where,
                              *ret_offset, r->g->alignment);
        return measure(r, t, type);
}

/* Turns offsets into places in the map; `header` is the size of all that comes before the data. */
static int place_tensors(Gguf *g, size_t header, const uint64_t *offsets, Error *e) {
        char shown[SHOWN_MAX];
        size_t start;
        if (!checked_align(header, g->alignment, &start) || start > g->file.size)
                start = g->file.size;
        for (size_t i = 0; i < g->n_tensors; i++) {
                Tensor *t = &g->tensors[i];
                if (offsets[i] > g->file.size - start || t->size > g->file.size - start - offsets[i])
                        return REFUSE(g, e, -EINVAL,
                                      "tensor '%s': ends beyond the file; it is cut short or damaged: fetch it again",
                                      file_text(shown, sizeof(shown), t->name));
                t->data = g->file.data + start + offsets[i];
        }
        return 0;
}

static int by_place(const void *a, const void *b) {
        const Tensor *x = *(const Tensor *const *)a, *y = *(const Tensor *const *)b;
        return x->data < y->data ? -1 : x->data > y->data;
}

static int check_overlap(const Gguf *g, Error *e) {
        char one[SHOWN_MAX], two[SHOWN_MAX];
        _cleanup_free_ const Tensor **t = calloc(MAX(g->n_tensors, (size_t)1), sizeof(*t));
        if (!t)
                return REFUSE(g, e, -ENOMEM, "no memory for its index");
        for (size_t i = 0; i < g->n_tensors; i++)
                t[i] = &g->tensors[i];
        qsort(t, g->n_tensors, sizeof(*t), by_place);
        for (size_t i = 1; i < g->n_tensors; i++)
                if ((const uint8_t *)t[i - 1]->data + t[i - 1]->size > (const uint8_t *)t[i]->data)
                        return REFUSE(g, e, -EINVAL, "tensors '%s' and '%s' overlap; the file is damaged",
                                      file_text(one, sizeof(one), t[i - 1]->name),
                                      file_text(two, sizeof(two), t[i]->name));
        return 0;
}

static int take_tensors(Reader *r, Gguf *g, size_t n) {
        _cleanup_free_ uint64_t *offsets = calloc(MAX(n, (size_t)1), sizeof(*offsets));
        int k = map_init(&g->by_name, n);
        g->tensors = calloc(MAX(n, (size_t)1), sizeof(*g->tensors));
        if (k < 0 || !g->tensors || !offsets)
                return REFUSE(g, r->e, -ENOMEM, "no memory for its index");
        for (size_t i = 0; i < n; i++) {
                Tensor *t = &g->tensors[i];
                snprintf(r->where, sizeof(r->where), "tensor %zu of %zu", i + 1, n);
                if ((k = take_tensor(r, t, &offsets[i])) < 0 || (k = index_name(r, &g->by_name, t->name, i)) < 0)
                        return k;
        }
        g->n_tensors = n;
        if ((k = place_tensors(g, (size_t)(r->p - g->file.data), offsets, r->e)) < 0)
                return k;
        return check_overlap(g, r->e);
}

static int parse(Gguf *g, Error *e) {
        Reader r = {.g = g, .p = g->file.data, .end = g->file.data + g->file.size, .where = "header", .e = e};
        uint64_t n_tensors, n_values;
        int k = take_header(&r, &n_tensors, &n_values);
        if (k < 0 || (k = take_metadata(&r, g, n_values)) < 0 || (k = read_alignment(g, e)) < 0)
                return k;
        if ((k = check_count(&r, "tensors", n_tensors, TENSOR_MIN)) < 0) /* again: the metadata took its share */
                return k;
        return take_tensors(&r, g, n_tensors);
}

/* ---- opening ---- */

int gguf_open(const char *path, Gguf **ret, Error *e) {
        _cleanup_(gguf_freep) Gguf *g = calloc(1, sizeof(*g));
        if (!g)
                return error_set(e, -ENOMEM, "%s: no memory to open it", path);
        int k = model_file_open(path, &g->file, e);
        if (k < 0 || (k = parse(g, e)) < 0)
                return k;
        *ret = TAKE(g);
        return 0;
}

void gguf_free(Gguf *g) {
        if (!g)
                return;
        map_deinit(&g->by_key);
        map_deinit(&g->by_name);
        free(g->values);
        free(g->tensors);
        model_file_close(&g->file);
        free(g);
}

const ModelFile *gguf_file(const Gguf *g) {
        return &g->file;
}

/* ---- metadata ---- */

static const Value *find(const Gguf *g, const char *key, Error *e) {
        int32_t i;
        if (map_get(&g->by_key, key, strlen(key), &i))
                return &g->values[i];
        REFUSE(g, e, -ENOENT, "key '%s' is missing", key);
        return NULL;
}

static int wrong_type(const Gguf *g, const char *key, const Value *v, const char *wanted, Error *e) {
        bool array = v->type == GGUF_ARRAY;
        return REFUSE(g, e, -EINVAL, "key '%s': is %s%s, should be %s", key, array ? "an array of " : "",
                      types[array ? v->element : v->type].name, wanted);
}

static bool is_integer(GgufType t) {
        return t <= GGUF_I32 || t == GGUF_U64 || t == GGUF_I64;
}

/* The integer at `p`, sign-extended. */
static int64_t load_integer(GgufType t, const uint8_t *p) {
        int64_t v = 0;
        unsigned unused = 64 - 8 * types[t].size;
        memcpy(&v, p, types[t].size);
        bool is_signed = t == GGUF_I8 || t == GGUF_I16 || t == GGUF_I32 || t == GGUF_I64;
        return is_signed ? (int64_t)((uint64_t)v << unused) >> unused : v;
}

static double load_float(GgufType t, const uint8_t *p) {
        float f;
        double d;
        if (t == GGUF_F32) {
                memcpy(&f, p, sizeof(f));
                return (double)f;
        }
        memcpy(&d, p, sizeof(d));
        return d;
}

int gguf_get_u64(const Gguf *g, const char *key, uint64_t *ret, Error *e) {
        const Value *v = find(g, key, e);
        if (!v)
                return -ENOENT;
        if (!is_integer(v->type))
                return wrong_type(g, key, v, "a whole number", e);
        int64_t n = load_integer(v->type, v->data);
        if (n < 0 && v->type != GGUF_U64)
                return REFUSE(g, e, -EINVAL, "key '%s': is %" PRId64 ", should not be negative", key, n);
        *ret = (uint64_t)n;
        return 0;
}

int gguf_get_f64(const Gguf *g, const char *key, double *ret, Error *e) {
        const Value *v = find(g, key, e);
        if (!v)
                return -ENOENT;
        if (v->type == GGUF_F32 || v->type == GGUF_F64)
                *ret = load_float(v->type, v->data);
        else if (v->type == GGUF_U64)
                *ret = (double)(uint64_t)load_integer(v->type, v->data);
        else if (is_integer(v->type))
                *ret = (double)load_integer(v->type, v->data);
        else
                return wrong_type(g, key, v, "a number", e);
        return 0;
}

int gguf_get_bool(const Gguf *g, const char *key, bool *ret, Error *e) {
        const Value *v = find(g, key, e);
        if (!v)
                return -ENOENT;
        if (v->type != GGUF_BOOL)
                return wrong_type(g, key, v, "true or false", e);
        *ret = *v->data;
        return 0;
}

int gguf_get_string(const Gguf *g, const char *key, FileText *ret, Error *e) {
        const Value *v = find(g, key, e);
        if (!v)
                return -ENOENT;
        if (v->type != GGUF_STRING)
                return wrong_type(g, key, v, "a string", e);
        *ret = (FileText){.data = (const char *)v->data, .len = v->n};
        return 0;
}

int gguf_get_array(const Gguf *g, const char *key, GgufType *ret_type, size_t *ret_n, Error *e) {
        const Value *v = find(g, key, e);
        if (!v)
                return -ENOENT;
        if (v->type != GGUF_ARRAY)
                return wrong_type(g, key, v, "an array", e);
        *ret_type = v->element;
        *ret_n = v->n;
        return 0;
}

int gguf_get_array_data(const Gguf *g, const char *key, GgufType type, const void **ret, size_t *ret_n, Error *e) {
        const Value *v = find(g, key, e);
        if (!v)
                return -ENOENT;
        if (v->type != GGUF_ARRAY || v->element != type || type == GGUF_STRING) {
                char wanted[32];
                snprintf(wanted, sizeof(wanted), "an array of %s", type == GGUF_STRING ? "numbers" : types[type].name);
                return wrong_type(g, key, v, wanted, e);
        }
        *ret = v->data;
        *ret_n = v->n;
        return 0;
}

int gguf_get_strings(const Gguf *g, const char *key, FileText **ret, size_t *ret_n, Error *e) {
        const Value *v = find(g, key, e);
        if (!v)
                return -ENOENT;
        if (v->type != GGUF_ARRAY || v->element != GGUF_STRING)
                return wrong_type(g, key, v, "an array of string", e);
        FileText *s = calloc(MAX(v->n, (size_t)1), sizeof(*s));
        if (!s)
                return REFUSE(g, e, -ENOMEM, "key '%s': no memory for %zu strings", key, v->n);
        const uint8_t *p = v->data;
        for (size_t i = 0; i < v->n; i++) {
                uint64_t len;
                memcpy(&len, p, sizeof(len));
                s[i] = (FileText){.data = (const char *)p + sizeof(len), .len = len};
                p += sizeof(len) + len;
        }
        *ret = s;
        *ret_n = v->n;
        return 0;
}

static void print_value(Buf *b, const Value *v) {
        if (v->type == GGUF_STRING)
                buf_put(b, v->data, v->n);
        else if (v->type == GGUF_ARRAY)
                buf_printf(b, "%s[%zu]", types[v->element].name, v->n);
        else if (v->type == GGUF_BOOL)
                buf_puts(b, *v->data ? "true" : "false");
        else if (v->type == GGUF_F32 || v->type == GGUF_F64)
                buf_printf(b, "%.*g", v->type == GGUF_F32 ? 9 : 17, load_float(v->type, v->data));
        else if (v->type == GGUF_U64)
                buf_printf(b, "%" PRIu64, (uint64_t)load_integer(v->type, v->data));
        else
                buf_printf(b, "%" PRId64, load_integer(v->type, v->data));
}

void gguf_each(const Gguf *g, GgufEach fn, void *arg) {
        _cleanup_buf_ Buf b = BUF_NULL;
        for (size_t i = 0; i < g->n_values; i++) {
                buf_clear(&b);
                print_value(&b, &g->values[i]);
                fn(g->values[i].key, g->values[i].type, b.failed || !b.data ? "" : b.data, arg);
        }
}

/* ---- tensors, by name ---- */

size_t gguf_n_tensors(const Gguf *g) {
        return g->n_tensors;
}

const Tensor *gguf_tensor_at(const Gguf *g, size_t i) {
        return i < g->n_tensors ? &g->tensors[i] : NULL;
}

const Tensor *gguf_tensor(const Gguf *g, const char *name) {
        int32_t i;
        return map_get(&g->by_name, name, strlen(name), &i) ? &g->tensors[i] : NULL;
}
