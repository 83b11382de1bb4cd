#!/usr/bin/env python3
"""Makes enc-*.gguf and gguf-encoder-cases.json: encoders in GGUF as llama.cpp's converter writes them, and what transformers
makes of some texts (lists of ids) by the same weights.

Most are the models of enc-*/ (see make-bert-cases.py) under ggml's names; bert-q8_0, bert-q4_0 and bert-f16 have random
weights of their own, which the gguf package quantises, and transformers computes with what it reads back. Positions of
RoBERTa's kind are cut off in front, as the converter does, so that a text's begin at 0 whatever its tokens are. Needs
numpy, torch, transformers, safetensors and gguf; nothing is fetched.
"""
import importlib.util
import json
import pathlib
import sys

import numpy as np
import torch
import transformers
from gguf import quants
from gguf.constants import GGMLQuantizationType

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
sys.dont_write_bytecode = True
import gguf_file  # noqa: E402
from gguf_file import BOOL, F32, STRING, U32  # noqa: E402

spec = importlib.util.spec_from_file_location("bert_cases", HERE / "make-bert-cases.py")
bert_cases = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bert_cases)

MEAN, CLS, LAST, RANK = 1, 2, 3, 4
# name: the model of enc-NAME/ or None, ggml's architecture, pooling, type of matrices
FILES = {
    "bert": ("bert", "bert", MEAN, "F32"),
    "xlm-roberta": ("xlm-roberta", "bert", CLS, "F32"),
    "xlm-roberta-rerank": ("xlm-roberta-rerank", "bert", RANK, "F32"),
    "nomic": ("nomic", "nomic-bert", MEAN, "F32"),
    "qwen3": ("qwen3", "qwen3", LAST, "F32"),
    "bert-f16": (None, "bert", MEAN, "F16"),
    "bert-q8_0": (None, "bert", MEAN, "Q8_0"),
    "bert-q4_0": (None, "bert", CLS, "Q4_0"),
}
NOMIC = {"embeddings.LayerNorm": "token_embd_norm", "attn.Wqkv": "attn_qkv", "attn.out_proj": "attn_output",
         "mlp.fc11": "ffn_up", "mlp.fc12": "ffn_gate", "mlp.fc2": "ffn_down", "norm1": "attn_output_norm",
         "norm2": "layer_output_norm"}
QWEN3 = {"embed_tokens": "token_embd", "norm": "output_norm", "input_layernorm": "attn_norm",
         "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
         "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
         "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down"}
HEAD = {"classifier.dense": "cls", "classifier.out_proj": "cls.output"}


def load(model):
    if model is None:
        config = transformers.BertConfig(**{**bert_cases.BASE, "hidden_size": 32, "intermediate_size": 64})
        made = transformers.BertModel(config, add_pooling_layer=False)
        bert_cases.randomise(made)
        return made.eval()
    auto = transformers.AutoModelForSequenceClassification if "rerank" in model else transformers.AutoModel
    cls, _, options, *_ = bert_cases.MODELS[model]  # of Nomic, transformers does not read the published configuration
    return auto.from_pretrained(HERE / f"enc-{model}", config=bert_cases.config_of(cls, options), dtype=torch.float32, attn_implementation="eager").eval()


def fuse(weights):
    """Nomic's queries, keys and values in one matrix."""
    out = {}
    for name, w in weights.items():
        part, _, kind = name.rpartition(".")
        if part.endswith(("self_attn.k_proj", "self_attn.v_proj")):
            continue
        if part.endswith("self_attn.q_proj"):
            w = np.concatenate([weights[f"{part[:-6]}{p}_proj.{kind}"] for p in "qkv"])
        out[name] = w
    return out


NOMIC_BY_TRANSFORMERS = {
    "self_attn.q_proj": "attn.Wqkv", "self_attn.o_proj": "attn.out_proj", "mlp.up_proj": "mlp.fc11",
    "mlp.gate_proj": "mlp.fc12", "mlp.down_proj": "mlp.fc2", "post_attention_layernorm": "norm1", "post_mlp_layernorm": "norm2"}


def ggml_name(arch, name):
    part, _, kind = name.removeprefix("roberta.").rpartition(".")
    if part in HEAD:
        return f"{HEAD[part]}.{kind}"
    if part.startswith("layers."):
        _, layer, part = part.split(".", 2)
        part = QWEN3[part] if arch == "qwen3" else NOMIC[NOMIC_BY_TRANSFORMERS[part]]
        return f"blk.{layer}.{part}.{kind}"
    return f"{QWEN3[part]}.{kind}" if part in QWEN3 else gguf_file.tensor_name(f"{part}.{kind}")


def store(w, kind):
    """The bytes, ggml's type and what it reads back. Vectors and types stay in F32; types of one row are a vector."""
    if kind == "F32" or w.ndim == 1 or w.shape[0] <= 2:
        return np.ascontiguousarray(w, "<f4").tobytes(), 0, w
    number = GGMLQuantizationType[kind]
    data = quants.quantize(w.astype(np.float32), number)
    return data.tobytes(), int(number), quants.dequantize(data, number)


def tensors(arch, model, kind):
    """For the file; the model has its numbers from then on."""
    weights = {n: p.detach().numpy() for n, p in model.named_parameters()}
    params = dict(model.named_parameters())
    out = []
    for name, w in (fuse(weights) if arch == "nomic-bert" else weights).items():
        ggml = ggml_name(arch, name)
        if ggml is None:
            continue
        if ggml.startswith("position_embd") and "roberta" in model.config.model_type:
            w = w[model.config.pad_token_id + 1:]
        w = w[0] if ggml.startswith("token_types") and len(w) == 1 else w
        data, number, back = store(w, kind)
        if kind != "F32":
            params[name].data = torch.tensor(back)
        out.append((ggml, w.shape[::-1], number, data))
    return out


def keys(name, arch, model, pooling):
    c = model.config
    offset = c.pad_token_id + 1 if "roberta" in c.model_type else 0
    out = [("context_length", U32, c.max_position_embeddings - offset), ("embedding_length", U32, c.hidden_size),
           ("block_count", U32, c.num_hidden_layers), ("feed_forward_length", U32, c.intermediate_size),
           ("attention.head_count", U32, c.num_attention_heads), ("pooling_type", U32, pooling)]
    if arch == "qwen3":
        out += [("attention.head_count_kv", U32, c.num_key_value_heads), ("attention.key_length", U32, c.head_dim),
                ("attention.value_length", U32, c.head_dim), ("attention.layer_norm_rms_epsilon", F32, c.rms_norm_eps)]
    else:
        out += [("attention.layer_norm_epsilon", F32, c.layer_norm_eps), ("attention.causal", BOOL, False)]
    if arch != "bert":
        out += [("rope.freq_base", F32, c.rope_parameters["rope_theta"])]
    return [("general.architecture", STRING, arch), ("general.name", STRING, name), *((f"{arch}.{k}", t, v) for k, t, v in out)]


def run(model, case, pooling):
    n, c = len(case["ids"]), model.config
    ids = torch.tensor([case["ids"]])
    more = {}
    if "roberta" in c.model_type:
        more["position_ids"] = torch.arange(n)[None] + c.pad_token_id + 1
    elif c.model_type != "qwen3":
        more["token_type_ids"] = torch.tensor([case["types"]])
    with torch.no_grad():
        out = model(ids, attention_mask=torch.ones_like(ids), **more)
    if pooling == RANK:
        return out.logits[0].numpy()
    return bert_cases.pool(out.last_hidden_state[0].numpy(), {MEAN: "mean", CLS: "cls", LAST: "lasttoken"}[pooling], True)


def make(name, source, arch, pooling, kind):
    model = load(source)
    gguf_file.write(HERE / f"enc-{name}.gguf", keys(name, arch, model, pooling), tensors(arch, model, kind))
    cases = bert_cases.texts(arch != "qwen3" and model.config.type_vocab_size > 1)
    for case in cases:
        case["out"] = [round(float(v), 7) for v in run(model, case, pooling)]
    return cases


def main():
    out = {name: make(name, *what) for name, what in FILES.items()}
    text = ",\n".join(f"{json.dumps(k)}: [\n" + ",\n".join(json.dumps(c) for c in v) + "]" for k, v in out.items())
    (HERE / "gguf-encoder-cases.json").write_text("{" + text + "}\n")


main()
