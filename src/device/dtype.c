/* The table of number formats; see dtype.h. It knows the name of every type number ggml has given out, so that a
 * file in a format we cannot compute with is refused by name, and the block layout of those we can. The numbers and
 * names are those of enum ggml_type in ggml.h; gaps are types ggml has withdrawn. */
#include "device/dtype.h"
#include "util/checked.h"
#include "util/macro.h"

#define DTYPE_ROW(name, number, values, bytes) [DTYPE_##name] = {#name, values, bytes},

/* block 0: known by name only. */
static const DtypeInfo dtypes[] = {
        DTYPES(DTYPE_ROW)
        [9] = {"Q8_1"},
        [15] = {"Q8_K"},
        [16] = {"IQ2_XXS"},
        [17] = {"IQ2_XS"},
        [18] = {"IQ3_XXS"},
        [19] = {"IQ1_S"},
        [21] = {"IQ3_S"},
        [22] = {"IQ2_S"},
        [24] = {"I8"},
        [25] = {"I16"},
        [26] = {"I32"},
        [27] = {"I64"},
        [28] = {"F64"},
        [29] = {"IQ1_M"},
        [34] = {"TQ1_0"},
        [35] = {"TQ2_0"},
};

const DtypeInfo *dtype_info(uint32_t type) {
        return type < ARRAY_SIZE(dtypes) && dtypes[type].block > 0 ? &dtypes[type] : NULL;
}

const char *dtype_name(uint32_t type) {
        return type < ARRAY_SIZE(dtypes) && dtypes[type].name ? dtypes[type].name : "unknown";
}

size_t dtype_row_size(Dtype type, uint64_t cols) {
        const DtypeInfo *info = dtype_info(type);
        size_t size;
        if (!info || cols % info->block != 0 || !checked_mul(cols / info->block, info->block_size, &size))
                return 0;
        return size;
}
