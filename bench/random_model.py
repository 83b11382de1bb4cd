#!/usr/bin/env python3
"""Writes a Llama of any shape as a Hugging Face directory: random BF16 weights, and the demo model's tokenizer and chat
template. It says nothing sensible, but takes the time that a model of its shape takes.

    bench/random_model.py DIRECTORY [--context 4096] [--layers 8] [--width 512] [--hidden 1408] [--heads 8] [--kv-heads 4]

Python's standard library is enough."""

import argparse
import itertools
import json
import os
import random
import struct

DEMO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "demo", "demo.gguf")
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY, CONTROL = 8, 9, 3


def read_metadata(path):
    """The keys of a GGUF file (ggml's docs/gguf.md)."""
    with open(path, "rb") as f:

        def take(code):
            return struct.unpack("<" + code, f.read(struct.calcsize("<" + code)))[0]

        def value(kind):
            if kind == STRING:
                return f.read(take("Q")).decode()
            if kind == ARRAY:
                item, n = take("I"), take("Q")
                return [value(item) for _ in range(n)]
            return take(SCALARS[kind])

        _, _, _, n_keys = struct.unpack("<4sIQQ", f.read(24))
        return {value(STRING): value(take("I")) for _ in range(n_keys)}


def tokenizer(meta):
    """Byte-level BPE, as tokenizer.json says it."""
    tokens, types = meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]
    added = [{"id": i, "content": t, "special": True, "normalized": False, "single_word": False, "lstrip": False, "rstrip": False}
             for i, (t, kind) in enumerate(zip(tokens, types)) if kind == CONTROL]
    bytelevel = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True, "trim_offsets": True}
    return {
        "version": "1.0", "added_tokens": added, "normalizer": None, "pre_tokenizer": bytelevel, "post_processor": None,
        "decoder": bytelevel,
        "model": {"type": "BPE", "vocab": {t: i for i, t in enumerate(tokens)}, "merges": meta["tokenizer.ggml.merges"]},
    }


def random_bf16(rng, n):
    """Of either sign, from 2^-7 to 2^-5: the exponent's last bit and the mantissa are random."""
    out = bytearray(2 * n)
    out[0::2] = rng.randbytes(n)
    out[1::2] = rng.randbytes(n).translate(bytes(0x3C if b < 128 else 0xBC for b in range(256)))
    return out


def shapes(a, vocab):
    """Names and shapes of all tensors; those with one dimension are norms."""
    kv = a.width // a.heads * a.kv_heads
    yield "model.embed_tokens.weight", (vocab, a.width)
    yield "model.norm.weight", (a.width,)
    for i in range(a.layers):
        for name, shape in (
            ("input_layernorm", (a.width,)), ("post_attention_layernorm", (a.width,)),
            ("self_attn.q_proj", (a.width, a.width)), ("self_attn.k_proj", (kv, a.width)), ("self_attn.v_proj", (kv, a.width)),
            ("self_attn.o_proj", (a.width, a.width)), ("mlp.gate_proj", (a.hidden, a.width)), ("mlp.up_proj", (a.hidden, a.width)),
            ("mlp.down_proj", (a.width, a.hidden)),
        ):
            yield f"model.layers.{i}.{name}.weight", shape


def size(shape):
    n = 1
    for s in shape:
        n *= s
    return n


def write_weights(path, tensors, rng):
    ends = list(itertools.accumulate(2 * size(shape) for _, shape in tensors))
    header = json.dumps({name: {"dtype": "BF16", "shape": shape, "data_offsets": [end - 2 * size(shape), end]}
                         for (name, shape), end in zip(tensors, ends)}).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(header)) + header)
        for _, shape in tensors:
            f.write(random_bf16(rng, size(shape)) if len(shape) > 1 else b"\x80\x3f" * size(shape))


def add_options(p):
    for name, default in (("context", 4096), ("layers", 8), ("width", 512), ("hidden", 1408), ("heads", 8), ("kv-heads", 4)):
        p.add_argument("--" + name, type=int, default=default)


def write(directory, a):
    meta = read_metadata(DEMO)
    vocab = len(meta["tokenizer.ggml.tokens"])
    eos = meta["tokenizer.ggml.eos_token_id"]
    files = {
        "config.json": {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "hidden_act": "silu",
            "hidden_size": a.width, "intermediate_size": a.hidden, "num_hidden_layers": a.layers, "num_attention_heads": a.heads,
            "num_key_value_heads": a.kv_heads, "max_position_embeddings": a.context, "vocab_size": vocab, "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0, "tie_word_embeddings": True, "eos_token_id": eos, "bos_token_id": None,
        },
        "tokenizer.json": tokenizer(meta),
        "tokenizer_config.json": {"eos_token": meta["tokenizer.ggml.tokens"][eos], "chat_template": meta["tokenizer.chat_template"]},
    }
    os.makedirs(directory, exist_ok=True)
    write_weights(os.path.join(directory, "model.safetensors"), list(shapes(a, vocab)), random.Random(1))
    for name, value in reversed(files.items()):  # config.json, which makes it a model, is the last
        with open(os.path.join(directory, name), "w", encoding="utf-8") as f:
            json.dump(value, f)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("directory")
    add_options(p)
    args = p.parse_args()
    write(args.directory, args)


if __name__ == "__main__":
    main()
