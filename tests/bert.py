"""Encoders with random weights, as sentence-transformers publishes them: an embedder, or a reranker. Of any size, in no
time, and the same for the same arguments, with nothing but Python's standard library."""

import json
import os
import random
import struct
import sys

sys.dont_write_bytecode = True

WORDS = [a + b + c for a in "bdfgklmnprstvz" for b in "aeiou" for c in ("", "n", "r", "s")]
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = SPECIALS + list("abcdefghijklmnopqrstuvwxyz0123456789.,!?'") + WORDS + ["##" + w for w in WORDS]

# The high byte of a bfloat16 is its sign and most of its exponent: these are from 2^-7 to 2^-4, of either sign.
SMALL = bytes((0x3C, 0xBC, 0x3D, 0xBD)[i % 4] for i in range(256))


def weights(rng, n):
    """`n` bfloat16s around 0."""
    data = bytearray(2 * n)
    data[0::2] = rng.randbytes(n)
    data[1::2] = rng.randbytes(n).translate(SMALL)
    return bytes(data)


def tensors(hidden, layers, ff, positions, reranker):
    """Names and shapes; norms' weights are ones and biases zeros where no name says otherwise."""
    prefix = "bert." if reranker else ""
    yield f"{prefix}embeddings.word_embeddings.weight", (len(VOCABULARY), hidden)
    yield f"{prefix}embeddings.position_embeddings.weight", (positions, hidden)
    yield f"{prefix}embeddings.token_type_embeddings.weight", (2, hidden)
    linear = [("attention.self.query", hidden, hidden), ("attention.self.key", hidden, hidden),
              ("attention.self.value", hidden, hidden), ("attention.output.dense", hidden, hidden),
              ("intermediate.dense", ff, hidden), ("output.dense", hidden, ff)]
    norms = [f"{prefix}embeddings.LayerNorm"]
    for i in range(layers):
        at = f"{prefix}encoder.layer.{i}."
        norms += [at + "attention.output.LayerNorm", at + "output.LayerNorm"]
        for name, rows, columns in linear:
            yield at + name + ".weight", (rows, columns)
            yield at + name + ".bias", (rows,)
    for name in norms:
        yield name + ".weight", (hidden,)
        yield name + ".bias", (hidden,)
    yield f"{prefix}pooler.dense.weight", (hidden, hidden)
    yield f"{prefix}pooler.dense.bias", (hidden,)
    if reranker:
        yield "classifier.weight", (1, hidden)
        yield "classifier.bias", (1,)


def write_safetensors(path, rng, shapes):
    header, parts, at = {}, [], 0
    for name, shape in shapes:
        n = shape[0] * (shape[1] if len(shape) > 1 else 1)
        parts.append(struct.pack("<H", 0x3F80) * n if name.endswith("LayerNorm.weight") else weights(rng, n))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + 2 * n]}
        at += 2 * n
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(parts))


def tokenizer():
    ids = {t: i for i, t in enumerate(VOCABULARY)}

    def special(name, kind):
        return {"SpecialToken": {"id": name, "type_id": kind}}

    def text(name, kind):
        return {"Sequence": {"id": name, "type_id": kind}}

    single = [special("[CLS]", 0), text("A", 0), special("[SEP]", 0)]
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": ids[t], "content": t, "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True} for t in SPECIALS],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
                       "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing", "single": single, "pair": [*single, text("B", 1), special("[SEP]", 1)],
            "special_tokens": {t: {"id": t, "ids": [ids[t]], "tokens": [t]} for t in ("[CLS]", "[SEP]")}},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": ids},
    }


def write(path, hidden=32, layers=2, heads=4, ff=64, positions=512, usual=None, reranker=False, seed=1, **config):
    """Makes the directory. `usual`: where sentence-transformers would cut texts; more of config.json as it is there."""
    os.mkdir(path)
    write_safetensors(os.path.join(path, "model.safetensors"), random.Random(seed),
                      tensors(hidden, layers, ff, positions, reranker))
    files = {
        "config.json": {
            "architectures": ["BertForSequenceClassification" if reranker else "BertModel"], "model_type": "bert",
            "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": ff,
            "vocab_size": len(VOCABULARY), "max_position_embeddings": positions, "type_vocab_size": 2,
            "hidden_act": "gelu", "position_embedding_type": "absolute", "layer_norm_eps": 1e-12,
            **({"id2label": {"0": "LABEL_0"}} if reranker else {}), **config},
        "tokenizer.json": tokenizer(),
        "tokenizer_config.json": {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": positions},
    }
    if not reranker:
        os.mkdir(os.path.join(path, "1_Pooling"))
        files["1_Pooling/config.json"] = {"word_embedding_dimension": hidden, "pooling_mode_cls_token": False,
                                          "pooling_mode_mean_tokens": True}
        files["modules.json"] = [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]
        files["sentence_bert_config.json"] = {"max_seq_length": usual or positions, "do_lower_case": False}
    for name, value in files.items():
        with open(os.path.join(path, name), "w", encoding="utf-8") as f:
            json.dump(value, f)


def text(n, seed):
    """A text of `n` tokens and two special ones."""
    rng = random.Random(seed)
    return " ".join(rng.choice(WORDS) for _ in range(n))
