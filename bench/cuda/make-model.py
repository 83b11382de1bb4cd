#!/usr/bin/env python3
"""Makes a GGUF file with random BF16 weights in the shape of a real model, for cuda-bench.

    make-model.py llama-3.2-1b FILE      also: qwen2.5-0.5b, llama-3.1-8b, and tiny, to try the script

The weights are one random megabyte again and again: as good as any where only the time counts. Shapes are those of the
models' published config.json. Needs nothing beyond the standard library."""
import random
import struct
import sys

#            arch, layers, embd, ff, heads, kv heads, head dim, vocabulary, tied, theta
SHAPES = {
    "llama-3.2-1b": ("llama", 16, 2048, 8192, 32, 8, 64, 128256, True, 500000.0),
    "qwen2.5-0.5b": ("qwen2", 24, 896, 4864, 14, 2, 64, 151936, True, 1000000.0),
    "llama-3.1-8b": ("llama", 32, 4096, 14336, 32, 8, 128, 128256, False, 500000.0),
    "tiny": ("llama", 2, 64, 128, 4, 2, 16, 300, True, 10000.0),
}
U32, F32, STRING = 4, 6, 8  # of metadata
TENSOR_F32, TENSOR_BF16 = 0, 30
ALIGN = 32


def text(s):
    return struct.pack("<Q", len(s)) + s.encode()


def tensors(shape):
    arch, layers, embd, ff, heads, kv_heads, head_dim, vocab, tied, _ = shape
    yield "token_embd.weight", (embd, vocab), TENSOR_BF16
    yield "output_norm.weight", (embd,), TENSOR_F32
    if not tied:
        yield "output.weight", (embd, vocab), TENSOR_BF16
    for i in range(layers):
        q, kv = heads * head_dim, kv_heads * head_dim
        for name, rows, cols in (("attn_q", q, embd), ("attn_k", kv, embd), ("attn_v", kv, embd),
                                 ("attn_output", embd, q), ("ffn_gate", ff, embd), ("ffn_up", ff, embd),
                                 ("ffn_down", embd, ff)):
            yield f"blk.{i}.{name}.weight", (cols, rows), TENSOR_BF16
        for name in ("attn_norm", "ffn_norm"):
            yield f"blk.{i}.{name}.weight", (embd,), TENSOR_F32
        if arch == "qwen2":
            for name, n in (("attn_q", q), ("attn_k", kv), ("attn_v", kv)):
                yield f"blk.{i}.{name}.bias", (n,), TENSOR_F32


def metadata(name, shape):
    arch, layers, embd, ff, heads, kv_heads, head_dim, vocab, _, theta = shape
    values = [("general.architecture", STRING, arch), ("general.name", STRING, name + " (random)")]
    for key, kind, value in (("block_count", U32, layers), ("context_length", U32, 131072),
                             ("embedding_length", U32, embd), ("feed_forward_length", U32, ff),
                             ("attention.head_count", U32, heads),
                             ("attention.head_count_kv", U32, kv_heads), ("attention.key_length", U32, head_dim),
                             ("attention.value_length", U32, head_dim), ("rope.dimension_count", U32, head_dim),
                             ("vocab_size", U32, vocab), ("rope.freq_base", F32, theta),
                             ("attention.layer_norm_rms_epsilon", F32, 1e-5)):
        values.append((f"{arch}.{key}", kind, value))
    return values


def numbers(kind):
    """A megabyte of small values."""
    rng = random.Random(1)
    if kind == TENSOR_F32:
        return struct.pack("<262144f", *(1 + rng.uniform(-0.1, 0.1) for _ in range(262144)))
    return b"".join(struct.pack("<f", rng.uniform(-0.04, 0.04))[2:] for _ in range(524288))


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in SHAPES:
        sys.exit(__doc__)
    shape = SHAPES[sys.argv[1]]
    listed, values, at = list(tensors(shape)), metadata(sys.argv[1], shape), 0
    head = b"GGUF" + struct.pack("<IQQ", 3, len(listed), len(values))
    for key, kind, value in values:
        head += text(key) + struct.pack("<I", kind)
        head += text(value) if kind == STRING else struct.pack("<I" if kind == U32 else "<f", value)
    sizes = []
    for name, dims, kind in listed:
        head += text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, at)
        size = (4 if kind == TENSOR_F32 else 2) * (dims[0] * (dims[1] if len(dims) > 1 else 1))
        sizes.append((size, kind))
        at += (size + ALIGN - 1) // ALIGN * ALIGN
    block = {kind: numbers(kind) for kind in (TENSOR_F32, TENSOR_BF16)}
    with open(sys.argv[2], "wb") as f:
        f.write(head + bytes(-len(head) % ALIGN))
        for size, kind in sizes:
            for _ in range(size // len(block[kind])):
                f.write(block[kind])
            f.write(block[kind][:size % len(block[kind])] + bytes(-size % ALIGN))


main()
