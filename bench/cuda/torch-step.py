#!/usr/bin/env python3
"""The decoding step of the same shapes in Hugging Face transformers, for cuda-bench's figures to be held against.

    torch-step.py [--compile] SHAPE BATCH CONTEXT
    torch-step.py --ceiling

Random weights, bfloat16, a static cache that holds CONTEXT - 1 positions. Prints milliseconds per step. --ceiling prints what
cuBLAS multiplies in bfloat16. Needs torch with CUDA and transformers; says so and ends with 77 where they are not."""
import sys
import time

try:
    import torch
    import transformers
except ImportError as e:
    print(f"not measured: {e}")
    sys.exit(77)

SHAPES = {  # layers, embd, ff, heads, kv heads, head dim, vocabulary, tied
    "llama-3.2-1b": ("llama", 16, 2048, 8192, 32, 8, 64, 128256, True),
    "qwen2.5-0.5b": ("qwen2", 24, 896, 4864, 14, 2, 64, 151936, True),
    "llama-3.1-8b": ("llama", 32, 4096, 14336, 32, 8, 128, 128256, False),
}
KEYS = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads",
        "head_dim", "vocab_size", "tie_word_embeddings")
STEPS = 50


def ceiling(size=8192, times=20):
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(times):
            torch.matmul(a, b)
        torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - start) / times)
    print(f"torch.matmul in bfloat16, {size} cubed: {2 * size ** 3 / best * 1e-12:.0f} TFLOP/s")


def main():
    if "--ceiling" in sys.argv and torch.cuda.is_available():
        ceiling()
        return
    arguments = [a for a in sys.argv[1:] if a != "--compile"]
    if not torch.cuda.is_available():
        print("not measured: torch sees no GPU")
        sys.exit(77)
    kind, *values = SHAPES[arguments[0]]
    options = dict(zip(KEYS, values))
    batch, context = int(arguments[1]), int(arguments[2])
    config = transformers.AutoConfig.for_model(kind, max_position_embeddings=131072, **options)
    with torch.device("cuda"):
        torch.set_default_dtype(torch.bfloat16)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
    cache = transformers.StaticCache(config=config, max_batch_size=batch, max_cache_len=context, device="cuda",
                                     dtype=torch.bfloat16)
    forward = torch.compile(model.forward, mode="reduce-overhead") if "--compile" in sys.argv else model.forward
    ids = torch.ones((batch, 1), dtype=torch.long, device="cuda")
    position = torch.tensor([context - 1], device="cuda")
    times = []
    with torch.inference_mode():
        for _ in range(STEPS + 5):
            torch.cuda.synchronize()
            start = time.perf_counter()
            ids = forward(ids, past_key_values=cache, cache_position=position, use_cache=True).logits[:, -1:].argmax(-1)
            torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
    print(f"{sorted(times[5:])[STEPS // 2] * 1e3:.3f} ms")


main()
