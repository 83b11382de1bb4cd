#!/usr/bin/env python3
"""Makes arch-*.gguf and arch-*.json: tiny models with random weights, and the logits transformers computes for them.

usage: make-arch-cases.py [CASE ...]     without a case: all

Each model exercises what sets its architecture apart: Llama 3's rope scaling and biases everywhere, a sliding window
shorter than the text with linear rope scaling, Qwen2's biases (stored as BF16, its norms as F16) with tied embeddings,
Qwen3's normed heads of a dimension that is not n_embd / n_heads, Gemma's scaled embeddings, Gemma 2's caps and
the scale of its greatest, Gemma 3's layers of two kinds, mixtures of experts, YaRN,
gpt-oss, which has most of these; Phi 3's matrices in one and its factors for long texts, Granite's scales, layers of
SmolLM3 that do not rotate, OLMo 2's norms; of models that see images what reads texts, with a tensor beside it that does not;
gemma3 and gpt-oss as Ollama's converter has them, with less said and other names. Run it again only to change the cases: needs numpy, torch and transformers.
"""
import json
import pathlib
import struct
import sys

import numpy as np
import torch
import transformers

HERE = pathlib.Path(__file__).parent
VOCAB, EMBD, FF, LAYERS, LENGTH = 40, 32, 32, 2, 24
U32, F32, STRING = 4, 6, 8  # of metadata
TENSOR_F32, TENSOR_F16, TENSOR_BF16 = 0, 1, 30

BASE = dict(vocab_size=VOCAB, hidden_size=EMBD, intermediate_size=FF, num_hidden_layers=LAYERS, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, attn_implementation="eager")


def case(kind, theta, scaling=None, **options):
    rope = {"rope_type": "default", **(scaling or {}), "rope_theta": theta}
    return transformers.AutoConfig.for_model(kind, **{**BASE, "rope_parameters": rope, **options})


GEMMA3_ROPE = {"full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1000.0},
               "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}}


SIGHT = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=8, patch_size=4)
QWEN_SIGHT = dict(depth=1, hidden_size=8, intermediate_size=8, num_heads=2, out_hidden_size=EMBD)


def seeing(kind, text, sight):
    """A model that reads texts as `text` does, but for how its configuration is written."""
    text = {k: v for k, v in text.to_dict().items() if k != "model_type"}
    if kind.startswith("qwen"):
        text["rope_parameters"]["mrope_section"] = [1, 1, (text.get("head_dim") or 8) // 2 - 2]
    else:
        text["model_type"] = "mistral"
    return transformers.AutoConfig.for_model(kind, text_config=text, vision_config=sight, tie_word_embeddings=text["tie_word_embeddings"])


CASES = {
    "llama3": ("llama", case("llama", 100.0, dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0,
                                                  high_freq_factor=4.0, original_max_position_embeddings=32),
                             attention_bias=True, tie_word_embeddings=False)),
    "mistral": ("mistral", case("mistral", 500.0, dict(rope_type="linear", factor=2.0), sliding_window=7,
                                tie_word_embeddings=True)),
    "qwen2": ("qwen2", case("qwen2", 1000.0, tie_word_embeddings=True)),
    "qwen3": ("qwen3", case("qwen3", 1000.0, head_dim=12, tie_word_embeddings=False)),
    "yarn": ("qwen3", case("qwen3", 100.0, dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16), head_dim=12,
                           tie_word_embeddings=True)),
    "qwen3moe": ("qwen3moe", case("qwen3_moe", 1000.0, head_dim=12, num_experts=5, num_experts_per_tok=2, moe_intermediate_size=24,
                                  norm_topk_prob=True, tie_word_embeddings=False)),
    "mixtral": ("llama", case("mixtral", 1000.0, num_local_experts=4, num_experts_per_tok=3, tie_word_embeddings=False)),
    "gpt-oss": ("gpt-oss", case("gpt_oss", 100.0, dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16),
                                head_dim=8, hidden_size=16, intermediate_size=16, num_local_experts=4, num_experts_per_tok=2,
                                sliding_window=5, num_hidden_layers=3, tie_word_embeddings=False)),
    "gemma": ("gemma", case("gemma", 1000.0, head_dim=12, num_key_value_heads=1)),
    "gemma2": ("gemma2", case("gemma2", 1000.0, head_dim=12, query_pre_attn_scalar=12, sliding_window=7,
                              attn_logit_softcapping=2.0, final_logit_softcapping=20.0)),
    "gemma2-27b": ("gemma2", case("gemma2", 1000.0, head_dim=8, query_pre_attn_scalar=4, hidden_size=8, intermediate_size=8,
                                  num_attention_heads=2, num_key_value_heads=1, num_hidden_layers=46, sliding_window=7)),
    "gemma3": ("gemma3", case("gemma3_text", 0, rope_parameters=GEMMA3_ROPE, hidden_size=16, intermediate_size=16, head_dim=8,
                              query_pre_attn_scalar=8, num_hidden_layers=7, sliding_window=5)),
    "phi3": ("phi3", case("phi3", 1000.0, sliding_window=7, tie_word_embeddings=False, pad_token_id=0)),
    "phi3-long": ("phi3", case("phi3", 500.0, dict(
        rope_type="longrope", short_factor=[1.0, 1.1, 1.3, 1.5, 1.7, 2.0], long_factor=[1.5, 2.0, 3.0, 4.5, 6.0, 9.0],
        original_max_position_embeddings=16, partial_rotary_factor=0.75), num_attention_heads=2, num_key_value_heads=1, head_dim=16, original_max_position_embeddings=16,
        partial_rotary_factor=0.75, sliding_window=None, tie_word_embeddings=True, pad_token_id=0)),
    "granite": ("granite", case("granite", 1000.0, attention_multiplier=0.2, embedding_multiplier=3.0, residual_multiplier=0.4,
                                logits_scaling=2.5, rms_norm_eps=0.01, tie_word_embeddings=True)),
    "smollm3": ("smollm3", case("smollm3", 1000.0, num_hidden_layers=5, tie_word_embeddings=True, pad_token_id=0)),
    "olmo2": ("olmo2", case("olmo2", 1000.0, tie_word_embeddings=False, pad_token_id=0)),
    "qwen2vl": ("qwen2vl", seeing("qwen2_5_vl", case("qwen2", 1000.0, tie_word_embeddings=False), QWEN_SIGHT)),
    "qwen3vl": ("qwen3vl", seeing("qwen3_vl", case("qwen3", 1000.0, head_dim=12, tie_word_embeddings=True),
                                  {**QWEN_SIGHT, "deepstack_visual_indexes": [0]})),
    "mistral3": ("mistral3", seeing("mistral3", case("mistral", 500.0, head_dim=12, sliding_window=None, tie_word_embeddings=False),
                                    {**SIGHT, "model_type": "pixtral", "head_dim": 4})),
    "ollama-gemma3": ("gemma3", case("gemma3_text", 0, rope_parameters={
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}, hidden_size=16, intermediate_size=16, head_dim=8,
        query_pre_attn_scalar=8, num_hidden_layers=7, sliding_window=5, max_position_embeddings=131072, rms_norm_eps=1e-6)),
    "ollama-gpt-oss": ("gptoss", case("gpt_oss", 100.0, dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16),
                                      head_dim=8, hidden_size=16, intermediate_size=16, num_local_experts=2, num_experts_per_tok=1,
                                      sliding_window=5, num_hidden_layers=2, tie_word_embeddings=False)),
}
SEEING = ("qwen2vl", "qwen3vl", "mistral3", "ollama-gemma3")
# What Ollama's files leave unsaid.
UNSAID = {"ollama-gemma3": ("attention.layer_norm_rms_epsilon", "rope.freq_base", "rope.freq_base_swa", "rope.scaling.type",
                            "rope.scaling.factor"), "ollama-gpt-oss": ("rope.scaling.type",)}
RENAMED = {"ollama-gpt-oss": {"attn_output": "attn_out", "attn_sinks.weight": "attn_sinks", "post_attention_norm": "ffn_norm"}}

TENSORS = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}
OSS = {"post_attention_layernorm": "post_attention_norm", "self_attn": "attn_sinks", "mlp.router": "ffn_gate_inp"}
EXPERTS = {"mlp.gate": "ffn_gate_inp", "mlp.experts.gate_up_proj": ("ffn_gate_exps", "ffn_up_exps"),
           "mlp.experts.down_proj": "ffn_down_exps"}
SANDWICHED = {**TENSORS, "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
              "post_feedforward_layernorm": "post_ffw_norm"}


def is_oss(arch):
    return arch in ("gpt-oss", "gptoss")


def is_gemma(arch):
    """Whose norms are stored less 1 by transformers, and whole in GGUF."""
    return arch.startswith("gemma")


def randomise(arch, model):
    """Weights large enough that every part changes the logits; vectors that half the bits can hold."""
    rng = np.random.default_rng(20)
    for name, p in model.named_parameters():
        x = rng.standard_normal(tuple(p.shape))
        if "norm" in name:
            x = (not is_gemma(arch)) + 0.3 * x
            if "post_" in name and model.config.get_text_config().num_hidden_layers > 40:  # or an error would grow from layer to layer
                x = 0.1 * (1 + x) - 1
        elif "embed" in name or "lm_head" in name:
            x = 0.7 * x
        else:
            x = 0.35 * x
        p.data = torch.tensor(x, dtype=torch.float32)
        if "norm" in name:
            p.data = p.data.half().float()
        if name.endswith("bias"):
            p.data = p.data.bfloat16().float()


def oss_experts(part, w):
    """gpt-oss's, which have columns before rows, and rows of gate and up in turn."""
    suffix = "bias" if part.endswith("_bias") else "weight"
    if suffix == "weight":
        w = w.swapaxes(1, 2)
    if "gate_up" in part:
        return {f"ffn_gate_exps.{suffix}": w[:, ::2], f"ffn_up_exps.{suffix}": w[:, 1::2]}
    return {f"ffn_down_exps.{suffix}": w}


def interleave(w, heads):
    """The halves of each head become neighbours: "llama" files rotate (2i, 2i+1)."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def rope_factors(config):
    """Llama 3: long waves are slowed down by `factor`, short ones not at all, those between gradually."""
    r, dim = config.rope_parameters, config.hidden_size // config.num_attention_heads
    wave = 2 * np.pi * r["rope_theta"] ** (np.arange(0, dim, 2) / dim)
    low, high = (r["original_max_position_embeddings"] / r[k] for k in ("low_freq_factor", "high_freq_factor"))
    smooth = (r["original_max_position_embeddings"] / wave - r["low_freq_factor"]) / (
        r["high_freq_factor"] - r["low_freq_factor"])
    between = 1 / ((1 - smooth) / r["factor"] + smooth)
    return np.where(wave < high, 1, np.where(wave > low, r["factor"], between))


def tensors(arch, config, model):
    out = {}
    for name, p in model.named_parameters():
        w = p.detach().numpy() + (is_gemma(arch) and "norm" in name)
        names = SANDWICHED if arch in ("gemma2", "gemma3", "olmo2") else {**TENSORS, **EXPERTS, **(OSS if is_oss(arch) else {})}
        prefix, _, suffix = name.rpartition(".")
        if ".visual." in name or ".vision_tower." in name or "multi_modal" in name:
            continue
        prefix = prefix.replace("model.language_model", "model")
        if arch in ("llama", "mistral", "mistral3", "granite", "smollm3") and prefix.endswith(("q_proj", "k_proj")):
            w = interleave(w, config.num_attention_heads if "q_proj" in prefix else config.num_key_value_heads)
        if prefix.startswith("model.layers."):
            _, _, layer, part = (f"{prefix}.{suffix}" if ".experts" in prefix else prefix).split(".", 3)
            if is_oss(arch) and ".experts" in part:
                out.update({f"blk.{layer}.{one}": v for one, v in oss_experts(part, w).items()})
            elif part == "self_attn":  # .sinks
                out[f"blk.{layer}.attn_sinks.weight"] = w
            elif isinstance(names[part], tuple):  # gate above up, of each expert
                for half, one in zip(np.split(w, 2, axis=1), names[part]):
                    if arch == "llama":  # as older files have them, each by itself
                        out.update({f"blk.{layer}.{one.removesuffix('_exps')}.{i}.weight": each for i, each in enumerate(half)})
                    else:
                        out[f"blk.{layer}.{one}.weight"] = half
            else:
                out[f"blk.{layer}.{names[part]}.{'weight' if '.experts' in prefix else suffix}"] = w
        else:
            out[f"{names[prefix]}.{suffix}"] = w
    if config.rope_parameters.get("rope_type") == "llama3":
        out["rope_freqs.weight"] = rope_factors(config)
    if config.rope_parameters.get("rope_type") == "longrope":
        for length in ("long", "short"):
            out[f"rope_factors_{length}.weight"] = np.array(config.rope_parameters[f"{length}_factor"])
    return out


def metadata(arch, name, config):
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    rope = config.rope_parameters.get("full_attention", config.rope_parameters)
    keys = [
        ("general.architecture", STRING, arch), ("general.name", STRING, f"tiny {name}"),
        ("context_length", U32, config.max_position_embeddings), ("block_count", U32, config.num_hidden_layers),
        ("embedding_length", U32, config.hidden_size), ("feed_forward_length", U32, config.intermediate_size),
        ("attention.head_count", U32, config.num_attention_heads),
        ("attention.head_count_kv", U32, config.num_key_value_heads),
        ("attention.layer_norm_rms_epsilon", F32, config.rms_norm_eps),
        ("rope.freq_base", F32, rope["rope_theta"]),
    ]
    if head * config.num_attention_heads != config.hidden_size:
        keys += [("attention.key_length", U32, head), ("attention.value_length", U32, head)]
    if rope["rope_type"] in ("linear", "yarn"):
        keys += [("rope.scaling.type", STRING, rope["rope_type"]), ("rope.scaling.factor", F32, rope["factor"])]
    if rope["rope_type"] == "yarn":
        keys += [("rope.scaling.original_context_length", U32, rope["original_max_position_embeddings"])]
    if rope["rope_type"] == "longrope":
        original = rope["original_max_position_embeddings"]
        grown = np.sqrt(1 + np.log(config.max_position_embeddings / original) / np.log(original))
        keys += [("rope.dimension_count", U32, int(head * rope["partial_rotary_factor"])), ("rope.scaling.attn_factor", F32, grown),
                 ("rope.scaling.original_context_length", U32, original), ("rope.scaling.type", STRING, "longrope")]
    if arch == "granite":
        keys += [("attention.scale", F32, config.attention_multiplier), ("embedding_scale", F32, config.embedding_multiplier),
                 ("residual_scale", F32, config.residual_multiplier), ("logit_scale", F32, config.logits_scaling)]
    if arch == "phi3" and config.sliding_window:
        keys += [("attention.sliding_window", U32, config.sliding_window)]
    if arch == "gemma3":
        keys += [("rope.freq_base_swa", F32, config.rope_parameters["sliding_attention"]["rope_theta"])]
    if arch == "gemma2" and config.num_hidden_layers < 46:  # else they are what goes without saying
        keys += [("attn_logit_softcapping", F32, config.attn_logit_softcapping),
                 ("final_logit_softcapping", F32, config.final_logit_softcapping)]
    if hasattr(config, "num_experts_per_tok"):
        keys += [("expert_count", U32, config.num_local_experts), ("expert_used_count", U32, config.num_experts_per_tok)]
    if arch == "qwen3moe":
        keys += [("expert_feed_forward_length", U32, config.moe_intermediate_size)]
    if arch in ("mistral", "gemma2", "gemma3", "gpt-oss", "gptoss"):
        keys += [("attention.sliding_window", U32, config.sliding_window)]
    return [(k if k.startswith("general.") else f"{arch}.{k}", t, v) for k, t, v in keys]


def string(s):
    return struct.pack("<Q", len(s)) + s.encode()


def stored(arch, name, w):
    """The tensor's type and bytes."""
    if arch == "qwen2" and "norm" in name:
        return TENSOR_F16, w.astype("<f2").tobytes()
    if arch == "qwen2" and name.endswith("bias"):
        return TENSOR_BF16, (w.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return TENSOR_F32, np.ascontiguousarray(w, dtype="<f4").tobytes()


def write_gguf(path, arch, keys, weights):
    head = b"GGUF" + struct.pack("<IQQ", 3, len(weights), len(keys))
    for key, kind, value in keys:
        head += string(key) + struct.pack("<I", kind)
        head += string(value) if kind == STRING else struct.pack("<I" if kind == U32 else "<f", value)
    data = b""
    for name, w in weights.items():
        kind, values = stored(arch, name, w)
        head += string(name) + struct.pack(f"<I{w.ndim}QIQ", w.ndim, *reversed(w.shape), kind, len(data))
        data += values
        data += bytes(-len(data) % 32)
    path.write_bytes(head + bytes(-len(head) % 32) + data)


def write_logits(name, model, ids):
    with torch.no_grad():
        logits = model(torch.tensor(ids[None])).logits[0].numpy()
    rows = ",\n".join("  [" + ", ".join(f"{x:.5f}" for x in row) + "]" for row in logits)
    (HERE / f"arch-{name}.json").write_text(f'{{"ids": {ids.tolist()},\n "logits": [\n{rows}\n ]}}\n')
    print(name, "transformers", transformers.__version__, "logits up to", abs(logits).max())


def main():
    for name, (arch, config) in CASES.items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        sees = hasattr(config, "vision_config")
        auto = transformers.AutoModelForImageTextToText if sees else transformers.AutoModelForCausalLM
        model = auto.from_config(config, attn_implementation="eager").float().eval()
        config = config.text_config if sees else config
        randomise(arch, model)
        ids = np.random.default_rng(7).integers(0, VOCAB, LENGTH)
        keys = [k for k in metadata(arch, name, config) if k[0].partition(".")[2] not in UNSAID.get(name, ())]
        weights = tensors(arch, config, model)
        for ours, theirs in RENAMED.get(name, {}).items():
            weights = {k.replace(ours, theirs): w for k, w in weights.items()}
        if name in SEEING:
            weights |= {"v.blk.0.attn_q.weight": np.ones((4, 4)), "mm.input_projection.weight": np.ones((4, 4))}
        write_gguf(HERE / f"arch-{name}.gguf", arch, keys, weights)
        write_logits(name, model, ids)
        if name == "phi3-long":  # a text that fits the original context rotates by the other factors
            write_logits("phi3-short", model, ids[:LENGTH // 2])


if __name__ == "__main__":
    main()
