#!/usr/bin/env python3
"""Makes bert-cases.json and enc-*/: what transformers makes of encoders in Hugging Face directories.

usage: make-bert-cases.py DIRECTORY

enc-*/ are tiny models with random weights as transformers saves them, with sentence-transformers' files where a model
has such. bert-cases.json has the vectors or scores of some texts (lists of ids) by each, and by the random models in
DIRECTORY/models/tiny_bert_random. JinaBERT, which transformers does not have, and tiny_nomic, whose biases and names it does
not know, are computed here, in float64.
Every text is run alone, in float32. Needs numpy, torch, transformers and safetensors;
nothing is fetched.
"""
import json
import pathlib
import shutil
import sys

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).parent
VOCAB, POSITIONS = 40, 44
BASE = dict(vocab_size=VOCAB, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=POSITIONS, attn_implementation="eager")
MODULES = "sentence_transformers.models."

# name: class, type, config, pooling (older or newer spelling), normalised, more
MODELS = {
    "bert": ("BertModel", torch.float32, dict(), {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True},
             True),
    "xlm-roberta": ("XLMRobertaModel", torch.bfloat16, dict(type_vocab_size=1), {"pooling_mode": "cls"}, True),
    "roberta": ("RobertaForMaskedLM", torch.float16, dict(type_vocab_size=1, layer_norm_eps=1e-5),
                {"pooling_mode": ["mean"]}, False),
    "bert-rerank": ("BertForSequenceClassification", torch.float32, dict(num_labels=1, hidden_act="relu"), None, False),
    "roberta-rerank": ("RobertaForSequenceClassification", torch.float32,
                       dict(num_labels=3, hidden_act="gelu_new", type_vocab_size=1), None, False),
    "xlm-roberta-rerank": ("XLMRobertaForSequenceClassification", torch.bfloat16, dict(num_labels=1, type_vocab_size=1),
                           None, False),
    "nomic": ("NomicBertModel", torch.float32, dict(layer_norm_eps=1e-12), {"pooling_mode": "mean"}, True),
    "qwen3": ("Qwen3Model", torch.bfloat16, dict(num_key_value_heads=1, head_dim=20), {"pooling_mode_lasttoken": True},
              True),
}
LENGTHS = [1, 7, 40, 2, 23]


def randomise(model):
    """Weights large enough that every part changes the result."""
    rng = np.random.default_rng(20)
    for name, p in model.named_parameters():
        x = rng.standard_normal(tuple(p.shape))
        x = 1 + 0.3 * x if "norm.weight" in name.lower() else x * (0.7 if "embed" in name else 0.35)
        p.data = torch.tensor(x, dtype=torch.float32)


def texts(bert, vocab=VOCAB):
    rng = np.random.default_rng(7)
    out = []
    for n in LENGTHS:
        out.append({"ids": rng.integers(0, vocab, n).tolist(),
                    "types": [int(2 * i >= n) if bert else 0 for i in range(n)]})
    out[2]["ids"][5] = out[2]["ids"][11] = 1  # RoBERTa's padding token, within a text
    return out


def sentence_files(path, width, pooling, normalised):
    kinds = ["Transformer", "Pooling"] + (["Normalize"] if normalised else [])
    modules = [{"idx": i, "name": str(i), "path": f"{i}_{k}" if i else "", "type": MODULES + k}
               for i, k in enumerate(kinds)]
    (path / "modules.json").write_text(json.dumps(modules))
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": width, **pooling}))
    (path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 32, "do_lower_case": False}))


def mode_of(pooling):
    mode = pooling.get("pooling_mode")
    mode = mode[0] if isinstance(mode, list) else mode
    return mode or next(k.split("_")[2] for k, v in pooling.items() if v)


def pool(rows, mode, normalised):
    x = {"cls": rows[0], "mean": rows.mean(0), "lasttoken": rows[-1]}[mode]
    return x / np.linalg.norm(x) if normalised else x


def run(model, case, mode, normalised):
    ids = torch.tensor([case["ids"]])
    types = {} if mode == "lasttoken" else {"token_type_ids": torch.tensor([case["types"]])}
    with torch.no_grad():
        out = model(ids, attention_mask=torch.ones_like(ids), **types)
    return out.logits[0].numpy() if mode is None else pool(out.last_hidden_state[0].numpy(), mode, normalised)


def config_of(cls, options):
    options = {k: v for k, v in options.items()}
    if cls.startswith("NomicBert"):
        options.update(rope_parameters={"rope_type": "default", "rope_theta": 1000.0})
    if cls.startswith("Qwen3"):
        options.update(rope_parameters={"rope_type": "default", "rope_theta": 1000.0}, rms_norm_eps=1e-5)
    return getattr(transformers, cls).config_class(**{**BASE, **options})


def publish_nomic(path):
    """As the models were published before transformers knew them: a configuration like GPT-2's, and fused weights."""
    config = {
        "activation_function": "swiglu", "architectures": ["NomicBertModel"], "causal": False, "layer_norm_epsilon": 1e-12,
        "auto_map": {"AutoModel": "nomic-ai/nomic-bert-2048--modeling_hf_nomic_bert.NomicBertModel"},
        "max_trained_positions": POSITIONS, "mlp_fc1_bias": False, "mlp_fc2_bias": False, "model_type": "nomic_bert",
        "n_embd": BASE["hidden_size"], "n_head": BASE["num_attention_heads"], "n_inner": BASE["intermediate_size"],
        "n_layer": BASE["num_hidden_layers"], "n_positions": 8192, "parallel_block": False, "prenorm": False,
        "qkv_proj_bias": False, "rotary_emb_base": 1000, "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False,
        "rotary_emb_scale_base": None, "rotary_scaling_factor": None, "type_vocab_size": 2, "use_rms_norm": False,
        "vocab_size": VOCAB}
    (path / "config.json").write_text(json.dumps(config, indent=1))
    weights = load_file(path / "model.safetensors")
    assert "encoder.layers.1.attn.Wqkv.weight" in weights, list(weights)
    save_file(weights, path / "model.safetensors")


def make(name, cls, dtype, options, pooling, normalised):
    path = HERE / f"enc-{name}"
    shutil.rmtree(path, ignore_errors=True)
    model = getattr(transformers, cls)(config_of(cls, options))
    randomise(model)
    model.to(dtype).save_pretrained(path)
    if pooling:
        sentence_files(path, BASE["hidden_size"], pooling, normalised)
    if name == "bert":  # as old versions saved it
        weights = load_file(path / "model.safetensors")
        weights["embeddings.position_ids"] = torch.arange(POSITIONS)[None]
        save_file(weights, path / "model.safetensors")
    for file in path.rglob("*"):
        if file.is_file():
            file.chmod(0o644)
    auto = transformers.AutoModel if pooling else transformers.AutoModelForSequenceClassification
    model = auto.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
    if name == "nomic":
        publish_nomic(path)
    return cases(model, name.startswith(("bert", "nomic")), mode_of(pooling) if pooling else None, normalised)


def cases(model, bert, mode, normalised, vocab=VOCAB):
    out = texts(bert, vocab)
    for case in out:
        case["out"] = [round(float(v), 7) for v in run(model, case, mode, normalised)]
    return out


def tiny_nomic(path, case):
    """A vector by float64, with names, biases and rotations as they are there."""
    w = {k: v.double() for k, v in load_file(path / "model.safetensors").items()}
    config = json.loads((path / "config.json").read_text())
    heads, n = config["num_attention_heads"], len(case["ids"])

    def linear(name, x):
        return x @ w[name + ".weight"].T + w.get(name + ".bias", 0)

    def norm(name, x):
        return torch.nn.functional.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], 1e-12)

    def rotate(x):
        half = x.shape[-1] // 2
        angle = torch.arange(n)[:, None, None] * config["rope_theta"] ** (-torch.arange(half, dtype=torch.double) / half)
        a, b = x[..., :half], x[..., half:]
        return torch.cat((a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()), -1)
    x = norm("embeddings.LayerNorm", w["embeddings.word_embeddings.weight"][case["ids"]])
    for i in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{i}."
        q, k, v = (linear(at + f"attention.self.{p}", x).view(n, heads, -1) for p in ("query", "key", "value"))
        scores = torch.einsum("ihd,jhd->hij", rotate(q), rotate(k)) / q.shape[-1] ** 0.5
        mixed = torch.einsum("hij,jhd->ihd", scores.softmax(-1), v).reshape(n, -1)
        x = norm(at + "attention.output.LayerNorm", x + linear(at + "attention.output.dense", mixed))
        wide = torch.nn.functional.silu(linear(at + "mlp.gate", x)) * linear(at + "mlp.up", x)
        x = norm(at + "mlp.LayerNorm", x + linear(at + "mlp.down", wide))
    x = x.mean(0)
    return (x / x.norm()).tolist()


JINA_WAYS = {  # names of what differs from BERT's, and whether the gate comes first
    False: ("attention.output.LayerNorm", "mlp.gated_layers", "mlp.wo", "mlp.layernorm", True),
    True: ("layer_norm_1", "mlp.up_gated_layer", "mlp.down_layer", "layer_norm_2", False),
}
JINA_HEADS = 6  # of 4 values


def jina_weights(later, scores):
    rng = np.random.default_rng(21)
    width, ff = BASE["hidden_size"], BASE["intermediate_size"]
    norm1, wide, down, norm2, _ = JINA_WAYS[later]
    shapes = {"embeddings.word_embeddings": (VOCAB, width), "embeddings.token_type_embeddings": (2, width),
              "embeddings.LayerNorm": "norm", "pooler.dense": (width, width, "bias")}
    for i in range(BASE["num_hidden_layers"]):
        at = f"encoder.layer.{i}."
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes[at + name] = (width, width, "bias")
        shapes.update({at + norm1: "norm", at + norm2: "norm", at + wide: (2 * ff, width), at + down: (width, ff, "bias")})
        if later:
            shapes.update({at + f"attention.self.layer_norm_{p}": "norm" for p in "qk"})
    if scores:
        shapes = {"bert." + name: shape for name, shape in shapes.items()}
        shapes["classifier"] = (1, width, "bias")
    out = {}
    for name, shape in shapes.items():
        rows = (width,) if shape == "norm" else shape[:2]
        scale = 0.7 if "embeddings" in name else 0.2 if name == "classifier" else 0.35
        out[name + ".weight"] = 1 + 0.3 * rng.standard_normal(rows) if shape == "norm" else scale * rng.standard_normal(rows)
        if shape[-1] in ("bias", "m"):
            out[name + ".bias"] = scale * rng.standard_normal(rows[:1])
    return {k: torch.tensor(v, dtype=torch.float32) for k, v in out.items()}


def alibi_slopes(n):
    """Press et al.'s, as JinaBERT has them."""
    below = 2 ** int(np.log2(n))
    slopes = [2 ** (-8 / below * (i + 1)) for i in range(below)]
    return (slopes + [2 ** (-4 / below * (i + 1)) for i in range(0, 2 * below, 2)])[:n]


def run_jina(weights, later, scores, case):
    """In float64, from the paper and the model's published description."""
    w = {k: v.double() for k, v in weights.items()}
    n, prefix = len(case["ids"]), "bert." if scores else ""
    norm1, wide, down, norm2, gate_first = JINA_WAYS[later]

    def linear(name, x):
        return x @ w[name + ".weight"].T + w.get(name + ".bias", 0)

    def norm(name, x):
        return torch.nn.functional.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], 1e-12)
    at = prefix + "embeddings."
    x = norm(at + "LayerNorm", w[at + "word_embeddings.weight"][case["ids"]] + w[at + "token_type_embeddings.weight"][case["types"]])
    place = torch.arange(n, dtype=torch.double)
    bias = torch.tensor(alibi_slopes(JINA_HEADS), dtype=torch.double)[:, None, None] * (place[:, None] - place).abs()
    for i in range(BASE["num_hidden_layers"]):
        at = f"{prefix}encoder.layer.{i}."
        q, k, v = (linear(at + f"attention.self.{p}", x) for p in ("query", "key", "value"))
        if later:
            q, k = norm(at + "attention.self.layer_norm_q", q), norm(at + "attention.self.layer_norm_k", k)
        q, k, v = (p.view(n, JINA_HEADS, -1) for p in (q, k, v))
        scored = torch.einsum("ihd,jhd->hij", q, k) / q.shape[-1] ** 0.5 - bias
        mixed = torch.einsum("hij,jhd->ihd", scored.softmax(-1), v).reshape(n, -1)
        x = norm(at + norm1, x + linear(at + "attention.output.dense", mixed))
        a, b = linear(at + wide, x).chunk(2, -1)
        gate, up = (a, b) if gate_first else (b, a)
        x = norm(at + norm2, x + linear(at + down, torch.nn.functional.gelu(gate) * up))
    if scores:
        return linear("classifier", linear("bert.pooler.dense", x[0]).tanh()).tolist()
    x = x.mean(0)
    return (x / x.norm()).tolist()


def make_jina(name, later, scores):
    path = HERE / f"enc-{name}"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    weights = jina_weights(later, scores)
    save_file(weights, path / "model.safetensors")
    config = {
        "architectures": ["JinaBertModel"], "model_type": "bert", "position_embedding_type": "alibi", "emb_pooler": "mean",
        "auto_map": {"AutoModel": "jinaai/jina-bert-implementation--modeling_bert.JinaBertModel"},
        "feed_forward_type": "geglu", "hidden_act": "gelu", "hidden_size": BASE["hidden_size"], "layer_norm_eps": 1e-12,
        "intermediate_size": BASE["intermediate_size"], "max_position_embeddings": 8192, "pad_token_id": 0,
        "num_attention_heads": JINA_HEADS, "num_hidden_layers": BASE["num_hidden_layers"], "type_vocab_size": 2,
        "vocab_size": VOCAB}
    (path / "config.json").write_text(json.dumps(config, indent=1))
    out = texts(True)
    for case in out:
        case["out"] = [round(v, 7) for v in run_jina(weights, later, scores, case)]
    return out


def main():
    root = pathlib.Path(sys.argv[1])
    out = {name: make(name, *m) for name, m in MODELS.items()}
    out["jina"] = make_jina("jina", False, False)
    out["jina-rerank"] = make_jina("jina-rerank", True, True)
    model = transformers.AutoModel.from_pretrained(root / "models/tiny_bert_random/tiny_bert", dtype=torch.float32,
                                                   attn_implementation="eager").eval()
    out["tiny_bert"] = cases(model, True, "mean", True, 256)
    out["tiny_nomic"] = texts(True, 256)
    for case in out["tiny_nomic"]:
        case["out"] = [round(v, 7) for v in tiny_nomic(root / "models/tiny_bert_random/tiny_nomic", case)]
    text = ",\n".join(f"{json.dumps(k)}: [\n" + ",\n".join(json.dumps(c) for c in v) + "]" for k, v in out.items())
    (HERE / "bert-cases.json").write_text("{" + text + "}\n")


if __name__ == "__main__":
    main()
