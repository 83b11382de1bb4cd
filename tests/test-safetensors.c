/* safetensors files: what a sound one holds, and that every field of a header that does not fit the file is refused by
 * name. Damaged files of all kinds are tried: where one still opens, all its bytes can be read. */
#include <errno.h>
#include <inttypes.h>

#include "folder.h"
#include "model/safetensors.h"
#include "util/buf.h"

static char path[128];
static Folder folder;

static void write_parts(uint64_t header_len, const char *header, size_t header_size, size_t data) {
        _cleanup_buf_ Buf b = BUF_NULL;
        buf_put(&b, &header_len, sizeof(header_len));
        buf_put(&b, header, header_size);
        for (size_t i = 0; i < data; i++)
                buf_putc(&b, (char)i);
        folder_put(&folder, "a.safetensors", b.data, b.len);
}

static void write_file(const char *header, size_t data) {
        write_parts(strlen(header), header, strlen(header), data);
}

static void refused(int code, const char *message) {
        Safetensors *s = NULL;
        Error e = ERROR_NULL;
        int r = safetensors_open(path, &s, &e);
        if (r != code || !strstr(e.text, message))
                fail_msg("wanted %d '%s', got %d '%s'", code, message, r, e.text);
        assert_non_null(strstr(e.text, "a.safetensors"));
}

static uint32_t sum_of(const Safetensors *s) {
        uint32_t sum = 0;
        for (size_t i = 0; i < safetensors_n_tensors(s); i++) {
                const Tensor *t = safetensors_tensor_at(s, i);
                for (size_t k = 0; k < t->size; k++)
                        sum += ((const uint8_t *)t->data)[k];
        }
        return sum;
}

/* ---- sound files ---- */

static void test_sound(void **state) {
        (void)state;
        _cleanup_(safetensors_freep) Safetensors *s = NULL;
        Error e = ERROR_NULL;
        write_file("{\"__metadata__\":{\"format\":\"pt\"},\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":["
                   "4,16]},"
                   "\"one\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
                   "\"none\":{\"dtype\":\"F16\",\"shape\":[0,7],\"data_offsets\":[4,4]}}   ",
                   16);
        if (safetensors_open(path, &s, &e) < 0)
                fail_msg("%s", e.text);
        assert_int_equal(safetensors_n_tensors(s), 3);
        const Tensor *one = safetensors_tensor_at(s, 0), *none = safetensors_tensor_at(s, 1),
                     *b = safetensors_tensor_at(s, 2);
        assert_int_equal(one->n_dims, 0);
        assert_int_equal(one->size, 4);
        assert_int_equal(none->size, 0);
        assert_memory_equal(b->name.data, "b", 2);
        assert_int_equal(b->type, DTYPE_BF16);
        assert_int_equal(b->n_dims, 2);
        assert_int_equal(b->dims[0], 3); /* innermost first */
        assert_int_equal(b->dims[1], 2);
        assert_int_equal(b->dims[2], 1);
        assert_int_equal(b->size, 12);
        assert_int_equal(*(const uint8_t *)b->data, 4);
        assert_int_equal(sum_of(s), 15 * 16 / 2);
}

static void test_empty(void **state) {
        (void)state;
        _cleanup_(safetensors_freep) Safetensors *s = NULL;
        write_file("{}", 0);
        assert_int_equal(safetensors_open(path, &s, NULL), 0);
        assert_int_equal(safetensors_n_tensors(s), 0);
}

static void test_published(void **state) {
        (void)state;
        static const struct {
                const char *name, *foreign;
                uint32_t n_dims;
        } files[] = {
                {"tensor-3d-float32", NULL, 3},
                {"tensor-4d-float32", NULL, 4},
                {"tensor-1d-int32", "I32", 1},
                {"tensor-2d-float64", "F64", 2},
        };
        skip_without("safetensors/valid_small/tensor-3d-float32.safetensors");
        for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
                char name[128];
                _cleanup_(safetensors_freep) Safetensors *s = NULL;
                snprintf(name, sizeof(name), "safetensors/valid_small/%s.safetensors", files[i].name);
                assert_int_equal(safetensors_open(test_data(name), &s, NULL), 0);
                const Tensor *t = safetensors_tensor_at(s, 0);
                assert_int_equal(t->n_dims, files[i].n_dims);
                assert_true(!t->foreign == !files[i].foreign);
                if (t->foreign)
                        assert_string_equal(t->foreign, files[i].foreign);
        }
}

/* ---- refused files ---- */

#define F32(name, shape, from, to)                                                                                     \
        "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" #from "," #to "]}"

static void test_headers(void **state) {
        (void)state;
        static const struct {
                const char *header;
                int code;
                const char *message;
        } cases[] = {
                /* each before 16 bytes of data */
                {"{" F32("a", "[2]", 0, 8) "," F32("b", "[3]", 4, 16) "}", -EINVAL, "tensors 'a' and 'b' overlap"},
                {"{" F32("a", "[4]", 0, 16) "," F32("b", "[4]", 0, 16) "}", -EINVAL, "overlap"},
                {"{" F32("a", "[1]", 4, 8) "," F32("b", "[4]", 0, 16) "}", -EINVAL, "tensors 'b' and 'a' overlap"},
                {"{" F32("a", "[1]", 0, 4) "," F32("b", "[2]", 8, 16) "}", -EINVAL,
                 "the 4 bytes before tensor 'b' belong"},
                {"{" F32("a", "[3]", 4, 16) "}", -EINVAL, "the 4 bytes before tensor 'a' belong"},
                {"{" F32("a", "[3]", 0, 12) "}", -EINVAL, "its last 4 bytes belong to no tensor"},
                {"{}", -EINVAL, "its last 16 bytes belong to no tensor"},
                {"{" F32("a", "[5]", 0, 20) "}", -EINVAL, "tensor 'a': ends at 20, beyond the 16 bytes of data"},
                {"{" F32("a", "[4]", 0, 9223372036854775807) "}", -EINVAL, "beyond the 16 bytes"},
                {"{" F32("a", "[4]", 0, 18446744073709551615) "}", -EINVAL, "its header is not JSON"},
                {"{" F32("a", "[4]", 16, 0) "}", -EINVAL, "tensor 'a': its data_offsets are not two offsets"},
                {"{" F32("a", "[4]", -16, 0) "}", -EINVAL, "tensor 'a': its data_offsets are not two offsets"},
                {"{" F32("a", "[4]", 0.0, 16) "}", -EINVAL, "tensor 'a': its data_offsets are not two offsets"},
                {"{" F32("a", "[3]", 0, 16) "}", -EINVAL, "tensor 'a': has 16 bytes of data, its shape needs 12"},
                {"{" F32("a", "[-4]", 0, 16) "}", -EINVAL, "tensor 'a': dimension 0 of its shape is no size"},
                {"{" F32("a", "[2, null]", 0, 16) "}", -EINVAL, "tensor 'a': dimension 1 of its shape is no size"},
                {"{" F32("a", "4", 0, 16) "}", -EINVAL, "tensor 'a': its shape is not an array"},
                {"{" F32("a", "[4611686018427387904, 4]", 0, 16) "}", -EINVAL, "its shape is larger than any file"},
                {"{" F32("a", "[4294967296, 4294967296]", 0, 0) "}", -EINVAL, "its shape is larger than any file"},
                {"{" F32("a", "[1,1,1,1,3]", 0, 16) "}", -EINVAL, "tensor 'a': has 16 bytes of data, its shape needs 12"},
                {"{" F32("a", "[4294967296,4294967296,1,1,1,0]", 0, 0) "}", -EINVAL, "its shape is larger than any file"},
                {"{" F32("a", "[2]", 0, 8) "," F32("a", "[2]", 8, 16) "}", -EINVAL, "duplicate object key"},
                {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", -EINVAL,
                 "duplicate"},
                {"{\"a\":{\"dtype\":\"F33\",\"shape\":[4],\"data_offsets\":[0,16]}}", -EINVAL,
                 "'a': is of unknown dtype 'F33'"},
                {"{\"a\":{\"dtype\":7,\"shape\":[4],\"data_offsets\":[0,16]}}", -EINVAL, "its dtype is not a string"},
                {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,16]}}", -EINVAL,
                 "should have a dtype, a shape and data_offsets"},
                {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16],\"x\":1}}", -EINVAL, "and no more"},
                {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,8,16]}}", -EINVAL, "are not two offsets"},
                {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":{}}}", -EINVAL, "are not two offsets"},
                {"{\"a\":7}", -EINVAL, "tensor 'a': should have"},
                {"{\"a\\n\\u001b[31m\":7}", -EINVAL, "tensor 'a??[31m'"},
                {"{\"__metadata__\":{\"a\":1}," F32("a", "[4]", 0, 16) "}", -EINVAL,
                 "__metadata__ has a 'a' that is not"},
                {"{\"__metadata__\":7," F32("a", "[4]", 0, 16) "}", -EINVAL, "__metadata__ is not an object"},
                {"[]", -EINVAL, "does not begin with '{'"},
                {" {}", -EINVAL, "does not begin with '{'"},
                {"{} x", -EINVAL, "its header is not JSON"},
                {"{\"a\":", -EINVAL, "its header is not JSON"},
                {"{\"\\u0000\":7}", -EINVAL, "its header is not JSON"},
                {"{\"\xff\":7}", -EINVAL, "its header is not JSON"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                write_file(cases[i].header, 16);
                refused(cases[i].code, cases[i].message);
        }
}

/* Of more dimensions the outermost are one. */
static void test_many_dimensions(void **state) {
        (void)state;
        _cleanup_(safetensors_freep) Safetensors *s = NULL;
        Error e = ERROR_NULL;
        write_file("{" F32("a", "[2,1,3,1,2,5]", 0, 240) "}", 240);
        if (safetensors_open(path, &s, &e) < 0)
                fail_msg("%s", e.text);
        const Tensor *t = safetensors_tensor_at(s, 0);
        assert_int_equal(t->n_dims, 4);
        const uint64_t want[] = {5, 2, 1, 6};
        for (size_t i = 0; i < ARRAY_SIZE(want); i++)
                assert_int_equal(t->dims[i], want[i]);
}

static void test_lengths(void **state) {
        (void)state;
        static const uint64_t lengths[] = {3, 100, 100000001, INT64_MAX, UINT64_MAX, UINT64_MAX - 7, 0x7b00000000};
        for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
                write_parts(lengths[i], "{}", 2, 0);
                refused(-EINVAL, "says that its header has");
        }
        write_parts(0, "{}", 2, 0);
        refused(-EINVAL, "does not begin with '{'");
        folder_put(&folder, "a.safetensors", "\2\0\0\0", 4);
        refused(-EINVAL, "it has only 4 bytes");
        folder_put(&folder, "a.safetensors", "", 0);
        refused(-EINVAL, "is empty");
        folder_put(&folder, "a.safetensors", "version https://git-lfs.github.com/spec/v1\n", 43);
        refused(-EINVAL, "is a Git LFS pointer");
        folder_put(&folder, "a.safetensors", NULL, 0);
        refused(-ENOENT, "cannot open it");
}

/* Nested deeper than any stack. */
static void test_deep(void **state) {
        (void)state;
        enum { DEPTH = 1 << 20 };
        _cleanup_buf_ Buf b = BUF_NULL;
        buf_puts(&b, "{\"a\":");
        for (int i = 0; i < DEPTH; i++)
                buf_putc(&b, '[');
        write_file(b.data, 0);
        refused(-EINVAL, "its header is not JSON");
}

/* ---- damaged files ---- */

static uint32_t next_random(uint32_t *x) {
        *x = *x * 1664525 + 1013904223;
        return *x >> 8;
}

/* Any byte of a sound file changed, or the file cut short. */
static void test_flipped(void **state) {
        (void)state;
        static const char header[] = "{\"__metadata__\":{\"format\":\"pt\"}," F32("a", "[2,2]", 0, 16) "," F32(
                "bb", "[1]", 16, 20) "," F32("c", "[3]", 20, 32) "}";
        enum { N = 8 + sizeof(header) - 1 + 32, TRIES = 20000 };
        uint32_t x = 7, opened = 0, sum = 0;
        write_file(header, 32);
        _cleanup_free_ char *sound = read_file(path, NULL);
        for (int i = 0; i < TRIES; i++) {
                char bytes[N];
                _cleanup_(safetensors_freep) Safetensors *s = NULL;
                Error e = ERROR_NULL;
                memcpy(bytes, sound, N);
                for (uint32_t k = next_random(&x) % 3 + 1; k > 0; k--) {
                        char json = "0123456789{}[],:\" "[next_random(&x) % 18], any = (char)next_random(&x);
                        bytes[next_random(&x) % N] = next_random(&x) % 2 ? json : any;
                }
                folder_put(&folder, "a.safetensors", bytes, next_random(&x) % 8 ? N : next_random(&x) % N);
                int r = safetensors_open(path, &s, &e);
                assert_true(r == 0 || (r < 0 && e.text[0]));
                opened += r == 0;
                sum += r == 0 ? sum_of(s) : 0;
        }
        print_message("%" PRIu32 " of %d damaged files opened (sum %" PRIu32 ")\n", opened, TRIES, sum);
        assert_in_range(opened, 1, TRIES / 2);
}

static int group_setup(void **state) {
        (void)state;
        folder_init(&folder);
        snprintf(path, sizeof(path), "%s/a.safetensors", folder.path);
        return 0;
}

static int group_teardown(void **state) {
        (void)state;
        folder_deinit(&folder);
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_sound),   cmocka_unit_test(test_empty),   cmocka_unit_test(test_published),
                cmocka_unit_test(test_headers), cmocka_unit_test(test_lengths), cmocka_unit_test(test_deep),
                cmocka_unit_test(test_flipped), cmocka_unit_test(test_many_dimensions),
        };
        return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
