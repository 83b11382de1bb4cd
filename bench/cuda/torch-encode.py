#!/usr/bin/env python3
"""The batches of cuda-bench encode in Hugging Face transformers, for its figures to be held against.

    torch-encode.py [--compile] [--float16] DIRECTORY LENGTH

About 8192 tokens in texts of one length, so that nothing is padded; the model alone, no tokenizer. Prints texts per second.
Needs torch with CUDA and transformers; says so and ends with 77 where they are not."""
import sys
import time

try:
    import torch
    import transformers
except ImportError as e:
    print(f"not measured: {e}")
    sys.exit(77)

TOKENS, BATCHES = 8192, 20


def main():
    directory, length = [a for a in sys.argv[1:] if not a.startswith("--")]
    if not torch.cuda.is_available():
        print("not measured: torch sees no GPU")
        sys.exit(77)
    kind = torch.float16 if "--float16" in sys.argv else torch.float32
    model = transformers.AutoModel.from_pretrained(directory, torch_dtype=kind).cuda().eval()
    forward = torch.compile(model.forward) if "--compile" in sys.argv else model.forward
    texts = max(TOKENS // int(length), 1)
    ids = torch.randint(0, model.config.vocab_size, (texts, int(length)), device="cuda")
    best = float("inf")
    with torch.inference_mode():
        for _ in range(6):
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(BATCHES):
                vectors = torch.nn.functional.normalize(forward(input_ids=ids).last_hidden_state.mean(1)).cpu()
            best = min(best, (time.perf_counter() - start) / BATCHES)
    print(f"transformers, {kind}: {best * 1e3:.3f} ms for {len(vectors)}, {texts / best:.0f} texts/s")


main()
