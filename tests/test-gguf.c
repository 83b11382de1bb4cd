/* GGUF files: sound ones read back what was written, broken ones are refused with a message that says what is wrong,
 * and no cut or flipped bit of a real file does worse than that. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "unit.h"
#include "model/gguf.h"
#include "util/buf.h"

/* ---- a writer ---- */

static void put_u32(Buf *b, uint32_t v) {
        buf_put(b, &v, sizeof(v));
}

static void put_u64(Buf *b, uint64_t v) {
        buf_put(b, &v, sizeof(v));
}

static void put_string(Buf *b, const char *s) {
        put_u64(b, strlen(s));
        buf_puts(b, s);
}

static void put_header(Buf *b, uint32_t version, uint64_t n_tensors, uint64_t n_values) {
        buf_puts(b, "GGUF");
        put_u32(b, version);
        put_u64(b, n_tensors);
        put_u64(b, n_values);
}

static void put_key(Buf *b, const char *key, uint32_t type) {
        put_string(b, key);
        put_u32(b, type);
}

static void put_tensor(Buf *b, const char *name, uint32_t n_dims, const uint64_t *dims, uint32_t type,
                       uint64_t offset) {
        put_string(b, name);
        put_u32(b, n_dims);
        for (uint32_t i = 0; i < n_dims; i++)
                put_u64(b, dims[i]);
        put_u32(b, type);
        put_u64(b, offset);
}

static void put_data(Buf *b, size_t n) {
        while (b->len % 32 != 0)
                buf_putc(b, 0);
        for (size_t i = 0; i < n; i++)
                buf_putc(b, (char)i);
}

#define DIMS(...) (sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t)), ((uint64_t[]){__VA_ARGS__})

/* A file in memory that has a path. */
static const char *file_path(int fd) {
        static char path[64];
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return path;
}

static int file_new(const void *data, size_t n) {
        int fd = memfd_create("test.gguf", MFD_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, data, n, 0), n);
        return fd;
}

static int open_bytes(const Buf *b, Gguf **ret, Error *e) {
        assert_false(b->failed);
        int fd = file_new(b->data, b->len);
        int k = gguf_open(file_path(fd), ret, e);
        close(fd);
        return k;
}

/* ---- sound files ---- */

static void put_numbers(Buf *b) {
        put_key(b, "u8", GGUF_U8), buf_put(b, "\xff", 1);
        put_key(b, "i8", GGUF_I8), buf_put(b, "\xff", 1);
        put_key(b, "u16", GGUF_U16), buf_put(b, "\xfe\xff", 2);
        put_key(b, "i16", GGUF_I16), buf_put(b, "\x02\x01", 2);
        put_key(b, "i32", GGUF_I32), put_u32(b, (uint32_t)-7);
        put_key(b, "f32", GGUF_F32), buf_put(b, &(float){1.5f}, 4);
        put_key(b, "f64", GGUF_F64), buf_put(b, &(double){-0.1}, 8);
        put_key(b, "u64", GGUF_U64), put_u64(b, UINT64_MAX);
        put_key(b, "i64", GGUF_I64), put_u64(b, (uint64_t)-9);
        put_key(b, "bool", GGUF_BOOL), buf_putc(b, 1);
}

static void test_numbers(void **state) {
        (void)state;
        _cleanup_buf_ Buf b = BUF_NULL;
        _cleanup_(gguf_freep) Gguf *g = NULL;
        Error e = ERROR_NULL;
        uint64_t u = 0;
        double d = 0;
        bool yes = false;
        FileText s;
        put_header(&b, 3, 0, 10);
        put_numbers(&b);
        assert_int_equal(open_bytes(&b, &g, &e), 0);
        assert_int_equal(gguf_get_u64(g, "u8", &u, &e), 0);
        assert_int_equal(u, 255);
        assert_int_equal(gguf_get_u64(g, "u16", &u, &e), 0);
        assert_int_equal(u, 65534);
        assert_int_equal(gguf_get_u64(g, "i16", &u, &e), 0);
        assert_int_equal(u, 258);
        assert_int_equal(gguf_get_u64(g, "u64", &u, &e), 0);
        assert_true(u == UINT64_MAX);
        assert_int_equal(gguf_get_f64(g, "f32", &d, &e), 0);
        assert_true(d == 1.5);
        assert_int_equal(gguf_get_f64(g, "f64", &d, &e), 0);
        assert_true(d == -0.1);
        assert_int_equal(gguf_get_f64(g, "i8", &d, &e), 0);
        assert_true(d == -1);
        assert_int_equal(gguf_get_f64(g, "i64", &d, &e), 0);
        assert_true(d == -9);
        assert_int_equal(gguf_get_bool(g, "bool", &yes, &e), 0);
        assert_true(yes);
        assert_int_equal(gguf_get_u64(g, "i32", &u, &e), -EINVAL);
        assert_non_null(strstr(e.text, "key 'i32': is -7, should not be negative"));
        assert_int_equal(gguf_get_u64(g, "f32", &u, &e), -EINVAL);
        assert_non_null(strstr(e.text, "key 'f32': is f32, should be a whole number"));
        assert_int_equal(gguf_get_bool(g, "u8", &yes, &e), -EINVAL);
        assert_int_equal(gguf_get_string(g, "u8", &s, &e), -EINVAL);
        assert_int_equal(gguf_get_f64(g, "bool", &d, &e), -EINVAL);
        assert_int_equal(gguf_get_u64(g, "nowhere", &u, &e), -ENOENT);
        assert_non_null(strstr(e.text, "key 'nowhere' is missing"));
}

static void collect(FileText key, GgufType type, const char *value, void *arg) {
        buf_printf(arg, "%.*s(%d)=%s;", (int)key.len, key.data, type, value);
}

static void test_arrays(void **state) {
        (void)state;
        _cleanup_buf_ Buf b = BUF_NULL, shown = BUF_NULL;
        _cleanup_(gguf_freep) Gguf *g = NULL;
        _cleanup_free_ FileText *s = NULL;
        Error e = ERROR_NULL;
        GgufType type;
        FileText text;
        const void *data;
        size_t n;
        put_header(&b, 2, 0, 4);
        put_key(&b, "odd", GGUF_STRING), put_string(&b, "x");
        put_key(&b, "words", GGUF_ARRAY), put_u32(&b, GGUF_STRING), put_u64(&b, 2), put_string(&b, "one"),
                put_string(&b, "");
        put_key(&b, "ids", GGUF_ARRAY), put_u32(&b, GGUF_I32), put_u64(&b, 2), put_u32(&b, 5), put_u32(&b, 6);
        put_key(&b, "none", GGUF_ARRAY), put_u32(&b, GGUF_F32), put_u64(&b, 0);
        assert_int_equal(open_bytes(&b, &g, &e), 0);
        assert_int_equal(gguf_get_string(g, "odd", &text, &e), 0);
        assert_int_equal(text.len, 1);
        assert_int_equal(gguf_get_array(g, "words", &type, &n, &e), 0);
        assert_int_equal(type, GGUF_STRING);
        assert_int_equal(gguf_get_strings(g, "words", &s, &n, &e), 0);
        assert_int_equal(n, 2);
        assert_int_equal(s[0].len, 3);
        assert_memory_equal(s[0].data, "one", 3);
        assert_int_equal(s[1].len, 0);
        assert_int_equal(gguf_get_array_data(g, "ids", GGUF_I32, &data, &n, &e), 0);
        assert_int_equal(n, 2);
        assert_memory_equal(data, ((int32_t[]){5, 6}), 8);
        assert_int_equal(gguf_get_array_data(g, "none", GGUF_F32, &data, &n, &e), 0);
        assert_int_equal(n, 0);
        assert_int_equal(gguf_get_array_data(g, "ids", GGUF_F32, &data, &n, &e), -EINVAL);
        assert_non_null(strstr(e.text, "key 'ids': is an array of i32, should be an array of f32"));
        assert_int_equal(gguf_get_array_data(g, "words", GGUF_STRING, &data, &n, &e), -EINVAL);
        assert_int_equal(gguf_get_strings(g, "ids", &s, &n, &e), -EINVAL);
        assert_int_equal(gguf_get_array(g, "odd", &type, &n, &e), -EINVAL);
        gguf_each(g, collect, &shown);
        assert_string_equal(shown.data, "odd(8)=x;words(9)=string[2];ids(9)=i32[2];none(9)=f32[0];");
}

static void test_tensors(void **state) {
        (void)state;
        _cleanup_buf_ Buf b = BUF_NULL;
        _cleanup_(gguf_freep) Gguf *g = NULL;
        Error e = ERROR_NULL;
        put_header(&b, 3, 2, 1);
        put_key(&b, "general.alignment", GGUF_U32), put_u32(&b, 64);
        put_tensor(&b, "late", DIMS(64, 2), DTYPE_Q8_0, 64);
        put_tensor(&b, "early", DIMS(3), DTYPE_F32, 0);
        put_data(&b, 0);
        while (b.len % 64 != 0)
                buf_putc(&b, 0);
        put_data(&b, 64 + 2 * 2 * 34);
        assert_int_equal(open_bytes(&b, &g, &e), 0);
        assert_int_equal(gguf_n_tensors(g), 2);
        const Tensor *t = gguf_tensor(g, "late");
        assert_ptr_equal(t, gguf_tensor_at(g, 0));
        assert_int_equal(t->size, 2 * 2 * 34);
        assert_int_equal(t->dims[1], 2);
        assert_int_equal(t->dims[2], 1);
        assert_int_equal(*(const uint8_t *)t->data, 64);
        assert_int_equal(gguf_tensor(g, "early")->size, 12);
        assert_int_equal(*(const uint8_t *)gguf_tensor(g, "early")->data, 0);
        assert_null(gguf_tensor(g, "never"));
        assert_null(gguf_tensor_at(g, 2));
}

static void test_real(void **state) {
        (void)state;
        skip_without("models/stories260K-f32.gguf");
        _cleanup_(gguf_freep) Gguf *g = NULL;
        _cleanup_free_ FileText *tokens = NULL;
        Error e = ERROR_NULL;
        uint64_t u;
        size_t n;
        assert_int_equal(gguf_open(test_data("models/stories260K-f32.gguf"), &g, &e), 0);
        assert_int_equal(gguf_get_u64(g, "llama.block_count", &u, &e), 0);
        assert_int_equal(u, 5);
        assert_int_equal(gguf_get_strings(g, "tokenizer.ggml.tokens", &tokens, &n, &e), 0);
        assert_int_equal(n, 512);
        assert_memory_equal(tokens[3].data, "<0x00>", 6);
        const Tensor *t = gguf_tensor(g, "blk.4.attn_k.weight");
        assert_int_equal(t->dims[0], 64);
        assert_int_equal(t->dims[1], 32);
        assert_int_equal(t->type, DTYPE_F32);
}

/* ---- broken files ---- */

static void no_magic(Buf *b) {
        buf_puts(b, "PK\3\4 and so on, and on, and on");
}

static void lfs_pointer(Buf *b) {
        buf_puts(b, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n");
}

static void version_1(Buf *b) {
        put_header(b, 1, 0, 0);
}

static void version_4(Buf *b) {
        put_header(b, 4, 0, 0);
}

static void big_endian(Buf *b) {
        put_header(b, __builtin_bswap32(3), 0, 0);
}

static void cut_header(Buf *b) {
        buf_puts(b, "GGUF");
        put_u32(b, 3);
        put_u32(b, 0);
}

static void absurd_tensors(Buf *b) {
        put_header(b, 3, 1ull << 60, 0);
}

static void absurd_values(Buf *b) {
        put_header(b, 3, 0, 1ull << 60);
}

static void many_values(Buf *b) {
        put_header(b, 3, 0, 65537);
        put_data(b, 65537 * 13);
}

static void more_values(Buf *b) {
        put_header(b, 3, 0, 2);
        put_key(b, "k", GGUF_U64), put_u64(b, 1);
        put_u32(b, 0);
        put_u32(b, 0);
}

static void long_key(Buf *b) {
        put_header(b, 3, 0, 1);
        put_u64(b, UINT64_MAX - 3);
        put_u64(b, 0);
}

static void empty_key(Buf *b) {
        put_header(b, 3, 0, 1);
        put_key(b, "", GGUF_U64), put_u64(b, 1);
}

static void ugly_key(Buf *b) {
        put_header(b, 3, 0, 1);
        put_key(b, "a\033[2Jb", 99), put_u64(b, 1);
}

static void twice(Buf *b) {
        put_header(b, 3, 0, 2);
        put_key(b, "general.name", GGUF_U32), put_u32(b, 1);
        put_key(b, "general.name", GGUF_U32), put_u32(b, 1);
}

static void bad_bool(Buf *b) {
        put_header(b, 3, 0, 1);
        put_key(b, "flag", GGUF_BOOL), buf_putc(b, 2);
}

static void nested(Buf *b) {
        put_header(b, 3, 0, 1);
        put_key(b, "deep", GGUF_ARRAY), put_u32(b, GGUF_ARRAY), put_u64(b, 1);
        put_u32(b, GGUF_ARRAY), put_u64(b, 1);
}

static void long_array(Buf *b) {
        put_header(b, 3, 0, 1);
        put_key(b, "ids", GGUF_ARRAY), put_u32(b, GGUF_U32), put_u64(b, (1ull << 62) + 1), put_u32(b, 0);
}

static void long_strings(Buf *b) {
        put_header(b, 3, 0, 1);
        put_key(b, "words", GGUF_ARRAY), put_u32(b, GGUF_STRING), put_u64(b, 2), put_string(b, "one"), put_u64(b, 1000);
}

static void odd_element(Buf *b) {
        put_header(b, 3, 0, 1);
        put_key(b, "ids", GGUF_ARRAY), put_u32(b, 13), put_u64(b, 1), put_u32(b, 0);
}

static void alignment_24(Buf *b) {
        put_header(b, 3, 0, 1);
        put_key(b, "general.alignment", GGUF_U32), put_u32(b, 24);
}

static void alignment_0(Buf *b) {
        put_header(b, 3, 0, 1);
        put_key(b, "general.alignment", GGUF_U32), put_u32(b, 0);
}

static void alignment_huge(Buf *b) {
        put_header(b, 3, 1, 1);
        put_key(b, "general.alignment", GGUF_U64), put_u64(b, 1ull << 63);
        put_tensor(b, "t", DIMS(8), DTYPE_F32, 0);
        put_data(b, 32);
}

static void alignment_text(Buf *b) {
        put_header(b, 3, 0, 1);
        put_key(b, "general.alignment", GGUF_STRING), put_string(b, "32");
}

static void one_tensor(Buf *b, uint32_t n_dims, const uint64_t *dims, uint32_t type, uint64_t offset) {
        put_header(b, 3, 1, 0);
        put_tensor(b, "blk.0.w", n_dims, dims, type, offset);
        put_data(b, 128);
}

static void no_dims(Buf *b) {
        one_tensor(b, 0, NULL, DTYPE_F32, 0);
}

static void five_dims(Buf *b) {
        one_tensor(b, DIMS(1, 1, 1, 1, 1), DTYPE_F32, 0);
}

static void zero_dim(Buf *b) {
        one_tensor(b, DIMS(4, 0), DTYPE_F32, 0);
}

static void huge_row(Buf *b) {
        one_tensor(b, DIMS(1ull << 63), DTYPE_F32, 0);
}

static void huge_dims(Buf *b) {
        one_tensor(b, DIMS(1ull << 20, 1ull << 20, 1ull << 20, 1ull << 20), DTYPE_F32, 0);
}

static void odd_row(Buf *b) {
        one_tensor(b, DIMS(48, 2), DTYPE_Q8_0, 0);
}

static void half_block(Buf *b) {
        one_tensor(b, DIMS(128, 2), DTYPE_Q4_K, 0);
}

static void cut_block(Buf *b) {
        one_tensor(b, DIMS(256, 4096), DTYPE_Q6_K, 0);
}

static void unsupported(Buf *b) {
        one_tensor(b, DIMS(256), 16, 0);
}

static void unknown(Buf *b) {
        one_tensor(b, DIMS(256), 4711, 0);
}

static void odd_offset(Buf *b) {
        one_tensor(b, DIMS(4), DTYPE_F32, 4);
}

static void beyond(Buf *b) {
        one_tensor(b, DIMS(4), DTYPE_F32, 128);
}

static void beyond_wrapping(Buf *b) {
        one_tensor(b, DIMS(8), DTYPE_F32, UINT64_MAX - 31);
}

static void overlapping(Buf *b) {
        put_header(b, 3, 3, 0);
        put_tensor(b, "one", DIMS(8), DTYPE_F32, 64);
        put_tensor(b, "two", DIMS(9), DTYPE_F32, 0);
        put_tensor(b, "three", DIMS(8), DTYPE_F32, 32);
        put_data(b, 128);
}

static void same_name(Buf *b) {
        put_header(b, 3, 2, 0);
        put_tensor(b, "one", DIMS(8), DTYPE_F32, 0);
        put_tensor(b, "one", DIMS(8), DTYPE_F32, 32);
        put_data(b, 128);
}

static void long_name(Buf *b) {
        put_header(b, 3, 1, 0);
        put_tensor(b, "a_name_that_is_sixty_five_bytes_long_which_is_one_more_than_there_", DIMS(8), DTYPE_F32, 0);
        put_data(b, 128);
}

static void test_broken(void **state) {
        (void)state;
        static const struct {
                void (*build)(Buf *b);
                int code;
                const char *message;
        } cases[] = {
                {no_magic, -EINVAL, "is no GGUF file"},
                {lfs_pointer, -EINVAL, "is a Git LFS pointer, not the file"},
                {version_1, -EOPNOTSUPP, "is GGUF version 1; versions 2 and 3 are supported"},
                {version_4, -EOPNOTSUPP, "is GGUF version 4; versions 2 and 3 are supported"},
                {big_endian, -EOPNOTSUPP, "is a big-endian GGUF file"},
                {cut_header, -EINVAL, "header: needs 8 bytes where the file has 4 left; it is cut short or damaged"},
                {absurd_tensors, -EINVAL, "says that it holds 1152921504606846976 tensors, more than its 24 bytes can"},
                {absurd_values, -EINVAL, "says that it holds 1152921504606846976 metadata entries, more than its"},
                {many_values, -EOPNOTSUPP, "holds 65537 metadata entries; at most 65536 are supported"},
                {more_values, -EINVAL, "metadata entry 2 of 2: its name is 0 bytes long"},
                {long_key, -EINVAL,
                 "metadata entry 1 of 1: needs 18446744073709551612 bytes where the file has 8 left"},
                {empty_key, -EINVAL, "metadata entry 1 of 1: its name is 0 bytes long; 1 to 65535 are allowed"},
                {ugly_key, -EINVAL, "key 'a?[2Jb': is of unknown type 99"},
                {twice, -EINVAL, "key 'general.name': is there twice"},
                {bad_bool, -EINVAL, "key 'flag': is neither true nor false but 2"},
                {nested, -EOPNOTSUPP, "key 'deep': is an array of arrays"},
                {long_array, -EINVAL,
                 "key 'ids': says that it holds 4611686018427387905 elements, more than the 4 bytes"},
                {long_strings, -EINVAL, "key 'words': needs 1000 bytes where the file has 0 left"},
                {odd_element, -EINVAL, "key 'ids': is of unknown type 13"},
                {alignment_24, -EINVAL, "key 'general.alignment': is 24, not a power of two of 8 or more"},
                {alignment_0, -EINVAL, "key 'general.alignment': is 0, not a power of two of 8 or more"},
                {alignment_huge, -EINVAL, "tensor 't': ends beyond the file"},
                {alignment_text, -EINVAL, "key 'general.alignment': is string, should be a whole number"},
                {no_dims, -EINVAL, "tensor 'blk.0.w': has 0 dimensions; 1 to 4 are allowed"},
                {five_dims, -EINVAL, "tensor 'blk.0.w': has 5 dimensions; 1 to 4 are allowed"},
                {zero_dim, -EINVAL, "tensor 'blk.0.w': dimension 1 is 0"},
                {huge_row, -EINVAL,
                 "tensor 'blk.0.w': has the shape [9223372036854775808, 1, 1, 1], larger than the file"},
                {huge_dims, -EINVAL,
                 "tensor 'blk.0.w': has the shape [1048576, 1048576, 1048576, 1048576], larger than"},
                {odd_row, -EINVAL, "tensor 'blk.0.w': has rows of 48 values; Q8_0 needs a multiple of 32"},
                {half_block, -EINVAL, "tensor 'blk.0.w': has rows of 128 values; Q4_K needs a multiple of 256"},
                {cut_block, -EINVAL, "tensor 'blk.0.w': has the shape [256, 4096, 1, 1], larger than the file; it is cut short"},
                {unsupported, -EOPNOTSUPP,
                 "tensor 'blk.0.w': is stored as IQ2_XXS (type 16), which is not supported; supported are F32, F16,"},
                {unknown, -EOPNOTSUPP, "tensor 'blk.0.w': is stored as unknown (type 4711), which is not supported"},
                {odd_offset, -EINVAL, "tensor 'blk.0.w': begins at offset 4, not a multiple of the alignment 32"},
                {beyond, -EINVAL, "tensor 'blk.0.w': ends beyond the file; it is cut short or damaged"},
                {beyond_wrapping, -EINVAL, "tensor 'blk.0.w': ends beyond the file; it is cut short or damaged"},
                {overlapping, -EINVAL, "tensors 'two' and 'three' overlap"},
                {same_name, -EINVAL, "tensor 'one': is there twice"},
                {long_name, -EINVAL, "tensor 1 of 1: its name is 66 bytes long; 1 to 64 are allowed"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_buf_ Buf b = BUF_NULL;
                Gguf *g = NULL;
                Error e = ERROR_NULL;
                cases[i].build(&b);
                int k = open_bytes(&b, &g, &e);
                if (k != cases[i].code || !strstr(e.text, cases[i].message) ||
                    strncmp(e.text, "/proc/self/fd/", 14) != 0)
                        fail_msg("case %zu: wanted %d, '%s', got %d, '%s'", i, cases[i].code, cases[i].message, k,
                                 e.text);
                assert_null(g);
        }
}

/* ---- paths ---- */

static int refused(const char *path, const char *message) {
        Gguf *g = NULL;
        Error e = ERROR_NULL;
        int k = gguf_open(path, &g, &e);
        assert_null(g);
        if (!strstr(e.text, message))
                fail_msg("%s: wanted '%s', got '%s'", path, message, e.text);
        return k;
}

static void test_paths(void **state) {
        (void)state;
        char dir[] = "/tmp/test-gguf-XXXXXX", path[128], message[256];
        assert_non_null(mkdtemp(dir));
        assert_int_equal(refused(dir, "is a directory, should be a file"), -EISDIR);
        snprintf(path, sizeof(path), "%s/absent/b/model.gguf", dir);
        snprintf(message, sizeof(message), "%s: cannot enter '%s/absent': No such file or directory", path, dir);
        assert_int_equal(refused(path, message), -ENOENT);
        assert_int_equal(refused("", "cannot open it: No such file or directory"), -ENOENT);
        snprintf(path, sizeof(path), "%s/model.gguf", dir);
        assert_int_equal(refused(path, "model.gguf: cannot open it: No such file or directory"), -ENOENT);

        assert_int_equal(mkfifo(path, 0600), 0);
        assert_int_equal(refused(path, "is not a regular file"), -EINVAL);
        assert_int_equal(unlink(path), 0);

        int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        close(fd);
        assert_int_equal(refused(path, "is empty"), -EINVAL);
        char below[160];
        snprintf(below, sizeof(below), "%s/model.gguf", path);
        snprintf(message, sizeof(message), "cannot enter '%s': Not a directory", path);
        assert_int_equal(refused(below, message), -ENOTDIR);

        /* Permissions do not hold for root, so look as somebody else. */
        bool root = geteuid() == 0;
        assert_int_equal(chmod(dir, 0), 0);
        if (root)
                assert_int_equal(seteuid(65534), 0);
        snprintf(message, sizeof(message), "%s: cannot enter '%s': Permission denied", path, dir);
        int k = refused(path, message);
        if (root)
                assert_int_equal(seteuid(0), 0);
        assert_int_equal(k, -EACCES);
        assert_int_equal(chmod(dir, 0700), 0);
        unlink(path);
        rmdir(dir);
}

/* ---- real files, damaged ---- */

static Buf slurp(const char *name) {
        Buf b = BUF_NULL;
        FILE *f = fopen(test_data(name), "re");
        assert_non_null(f);
        for (int c; (c = getc(f)) != EOF;)
                buf_putc(&b, (char)c);
        fclose(f);
        assert_false(b.failed);
        return b;
}

/* Touches everything an opened file offers, so that the sanitizer sees what is out of bounds. */
static unsigned use(const Gguf *g) {
        _cleanup_buf_ Buf shown = BUF_NULL;
        unsigned sum = 0;
        gguf_each(g, collect, &shown);
        for (size_t i = 0; i < gguf_n_tensors(g); i++) {
                const Tensor *t = gguf_tensor_at(g, i);
                const uint8_t *p = t->data;
                sum += p[0] + p[t->size - 1];
        }
        FileText *tokens = NULL;
        size_t n = 0;
        if (gguf_get_strings(g, "tokenizer.ggml.tokens", &tokens, &n, NULL) == 0)
                for (size_t i = 0; i < n; i++)
                        sum += tokens[i].len ? (unsigned char)tokens[i].data[tokens[i].len - 1] : 0;
        free(tokens);
        return sum;
}

/* Bytes before the tensor data. */
static size_t header_size(const char *path) {
        _cleanup_(gguf_freep) Gguf *g = NULL;
        assert_int_equal(gguf_open(path, &g, NULL), 0);
        size_t size = gguf_file(g)->size;
        for (size_t i = 0; i < gguf_n_tensors(g); i++)
                size = MIN(size, (size_t)((const char *)gguf_tensor_at(g, i)->data - (const char *)gguf_file(g)->data));
        return size;
}

static void test_cut(void **state) {
        (void)state;
        skip_without("models/stories260K-f16.gguf");
        _cleanup_buf_ Buf b = slurp("models/stories260K-f16.gguf");
        int fd = file_new(b.data, b.len);
        size_t header = header_size(file_path(fd));
        assert_in_range(header, 1000, 100000);
        for (size_t n = b.len; n-- > 0; n = n > header + 5000 ? n - 5000 : n) {
                Gguf *g = NULL;
                Error e = ERROR_NULL;
                assert_int_equal(ftruncate(fd, (off_t)n), 0);
                assert_int_equal(gguf_open(file_path(fd), &g, &e), -EINVAL);
                assert_true(strlen(e.text) > 20);
        }
        close(fd);
}

static void flip_bits(const char *name, unsigned n) {
        _cleanup_buf_ Buf b = slurp(name);
        int fd = file_new(b.data, b.len);
        size_t header = header_size(file_path(fd));
        uint64_t rng = 88172645463325252u;
        unsigned sound = 0, sum = 0;
        for (unsigned i = 0; i < n; i++) {
                rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17; /* xorshift64 */
                size_t at = (rng >> 3) % header;
                uint8_t byte = (uint8_t)((uint8_t)b.data[at] ^ (1u << (rng & 7)));
                assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
                Gguf *g = NULL;
                Error e = ERROR_NULL;
                int k = gguf_open(file_path(fd), &g, &e);
                if (k == 0) {
                        sum += use(g);
                        sound++;
                } else {
                        assert_true(k == -EINVAL || k == -EOPNOTSUPP);
                        assert_true(strlen(e.text) > 20);
                }
                gguf_free(g);
                assert_int_equal(pwrite(fd, &b.data[at], 1, (off_t)at), 1);
        }
        print_message("%s: %u of %u flips were refused (sum %u)\n", name, n - sound, n, sum);
        assert_in_range(sound, 1, n - 1);
        close(fd);
}

static void test_flipped(void **state) {
        (void)state;
        static const char *const names[] = {
                "models/stories260K-f16.gguf",
                "models/babyllama105-q8_0.gguf",
                "models/babyllama105-q4_0.gguf",
        };
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                skip_without(names[i]);
                flip_bits(names[i], 4000);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_numbers), cmocka_unit_test(test_arrays),  cmocka_unit_test(test_tensors),
                cmocka_unit_test(test_real),    cmocka_unit_test(test_broken),  cmocka_unit_test(test_paths),
                cmocka_unit_test(test_cut),     cmocka_unit_test(test_flipped),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
