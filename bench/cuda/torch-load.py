#!/usr/bin/env python3
"""How fast safetensors' own loader brings a file into the GPU, for cuda-bench's figure to be held against.

    torch-load.py FILE.safetensors

Best of five, from the page cache. Needs torch with CUDA and safetensors; says so and ends with 77 where they are not."""
import os
import sys
import time

try:
    import torch
    from safetensors.torch import load_file
except ImportError as e:
    print(f"not measured: {e}")
    sys.exit(77)


def main():
    if not torch.cuda.is_available():
        print("not measured: torch sees no GPU")
        sys.exit(77)
    path, best = sys.argv[1], float("inf")
    torch.zeros(1, device="cuda")
    for _ in range(5):
        torch.cuda.synchronize()
        start = time.perf_counter()
        tensors = load_file(path, device="cuda")
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
        del tensors
    print(f"safetensors.torch.load_file: {best:.2f} s, {os.path.getsize(path) / best * 1e-9:.1f} GB/s")


main()
