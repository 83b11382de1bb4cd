/* A safetensors file, mapped and checked: tensors by place in the file.
 *
 * Layout, from the format's README: u64 length of the header; the header, a JSON object, perhaps padded with spaces:
 * {"NAME": {"dtype": "BF16", "shape": [outermost … innermost], "data_offsets": [begin, end]}, …}, and under
 * "__metadata__" an object of strings; then the data, in which each tensor lies from begin to end. Numbers are
 * little-endian.
 *
 * The file is hostile: safetensors_open() checks every field against the file before anything is believed: keys are
 * unique, types known, shapes as large as the bytes given to them, and the tensors fill the data without overlap or
 * gap. Tensors may begin at any byte. Their names live as long as the Safetensors. */
#pragma once

#include "model/file.h"

typedef struct Safetensors Safetensors;

/* 0 or negative errno: -EINVAL the file is no valid safetensors file, else as model_file_open(). Errors name file, tensor and
 * reason. */
int safetensors_open(const char *path, Safetensors **ret, Error *e);
void safetensors_free(Safetensors *s);
DEFINE_CLEANUP(Safetensors, safetensors_free)

const ModelFile *safetensors_file(const Safetensors *s);
size_t safetensors_n_tensors(const Safetensors *s);
/* In the order of their data. */
const Tensor *safetensors_tensor_at(const Safetensors *s, size_t i);
