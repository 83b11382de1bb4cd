/* All kernels and their operations, as C on the host; see emulate.h. */
#include "cuda/attention.cu"
#include "cuda/elementwise.cu"
#include "cuda/matmul.cu"
#include "cuda/norm.cu"
#include "cuda/rope.cu"
#include "cuda/sample.cu"
