"""GGUF files of encoders, as llama.cpp's converter makes them, with nothing but Python's standard library: a Hugging Face
directory of the BERT family with its weights in F32 becomes one file, tokenizer and all."""

import json
import os
import struct

U32, F32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9
TYPES = {"F32": 0, "F16": 1, "BF16": 30}
ALIGN = 32


def string(s):
    data = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind, v):
    if kind == STRING:
        return string(v)
    if kind == ARRAY:
        inner, items = v
        return struct.pack("<IQ", inner, len(items)) + b"".join(value(inner, x) for x in items)
    return struct.pack({0: "<B", 5: "<i", U32: "<I", F32: "<f", BOOL: "<?"}[kind], v)


def write(path, keys, tensors):
    """`keys`: (name, type, value); `tensors`: (name, dimensions with the innermost first, ggml's type, bytes)."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(keys))
    head += b"".join(string(k) + struct.pack("<I", t) + value(t, v) for k, t, v in keys)
    at = 0
    for name, dims, kind, data in tensors:
        head += string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, at)
        at += -(-len(data) // ALIGN) * ALIGN
    with open(path, "wb") as f:
        f.write(head + bytes(-len(head) % ALIGN))
        for *_, data in tensors:
            f.write(data + bytes(-len(data) % ALIGN))


# ---- BERT ----

GLOBALS = {"embeddings.word_embeddings": "token_embd", "embeddings.position_embeddings": "position_embd",
           "embeddings.token_type_embeddings": "token_types", "embeddings.LayerNorm": "token_embd_norm"}
PARTS = {"attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
         "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
         "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm"}


def tensor_name(name):
    """ggml's; None for what the converter leaves out."""
    part, kind = name.rsplit(".", 1)
    if part in GLOBALS:
        return f"{GLOBALS[part]}.{kind}"
    if not part.startswith("encoder.layer."):
        return None
    _, _, layer, part = part.split(".", 3)
    return f"blk.{layer}.{PARTS[part]}.{kind}"


def read_safetensors(path):
    with open(path, "rb") as f:
        data = f.read()
    n, = struct.unpack_from("<Q", data)
    for name, t in json.loads(data[8:8 + n]).items():
        if name != "__metadata__":
            begin, end = t["data_offsets"]
            yield name, t["shape"], t["dtype"], data[8 + n + begin:8 + n + end]


def phantom(token, special):
    if special:
        return token
    return token[2:] if token.startswith("##") else "\u2581" + token


def wordpiece_keys(tokenizer):
    vocab = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    special = {t["content"] for t in tokenizer["added_tokens"] if t["special"]}
    ids = {t: i for i, t in enumerate(vocab)}
    return [("tokenizer.ggml.model", STRING, "bert"),
            ("tokenizer.ggml.tokens", ARRAY, (STRING, [phantom(t, t in special) for t in vocab])),
            ("tokenizer.ggml.token_type", ARRAY, (5, [3 if t in special else 1 for t in vocab])),
            ("tokenizer.ggml.unknown_token_id", U32, ids["[UNK]"]), ("tokenizer.ggml.cls_token_id", U32, ids["[CLS]"]),
            ("tokenizer.ggml.seperator_token_id", U32, ids["[SEP]"])]


def of_bert(folder, path):
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as f:
        tokenizer = json.load(f)
    keys = [("general.architecture", STRING, "bert"), ("general.name", STRING, "an encoder"),
            ("bert.context_length", U32, config["max_position_embeddings"]),
            ("bert.embedding_length", U32, config["hidden_size"]), ("bert.block_count", U32, config["num_hidden_layers"]),
            ("bert.feed_forward_length", U32, config["intermediate_size"]),
            ("bert.attention.head_count", U32, config["num_attention_heads"]),
            ("bert.attention.layer_norm_epsilon", F32, config["layer_norm_eps"]),
            ("bert.attention.causal", BOOL, False), ("bert.pooling_type", U32, 1), *wordpiece_keys(tokenizer)]
    tensors = [(tensor_name(name), shape[::-1], TYPES[dtype], data)
               for name, shape, dtype, data in read_safetensors(os.path.join(folder, "model.safetensors"))
               if tensor_name(name)]
    write(path, keys, tensors)
