#!/usr/bin/env python3
"""Makes quant-*.gguf and quant-*.json: tiny models whose matrices are stored in many quantised formats, and the logits
transformers computes with the weights that the gguf package reads from the same bytes.

The bytes are random, but for the factors of blocks, which give weights a useful size; norms are F32. Run it again only to
change the cases: needs numpy, torch, transformers and gguf.
"""
import importlib.util
import json
import pathlib
import sys

import numpy as np
import torch
import transformers
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
sys.dont_write_bytecode = True
import gguf_file  # noqa: E402

spec = importlib.util.spec_from_file_location("arch_cases", HERE / "make-arch-cases.py")
arch_cases = importlib.util.module_from_spec(spec)
spec.loader.exec_module(arch_cases)

VOCAB, LENGTH, EMBD = 40, 12, 256
# name: general.file_type, formats of matrices
CASES = {
    "q4_k_m": (15, {"token_embd": "Q4_K", "attn_q": "Q4_K", "attn_k": "Q5_K", "attn_v": "Q6_K", "attn_output": "Q8_0",
                    "ffn_gate": "Q4_K", "ffn_up": "Q5_K", "ffn_down": "Q6_K", "output": "Q6_K"}),
    "q3_k_m": (12, {"token_embd": "Q2_K", "attn_q": "Q3_K", "attn_k": "Q4_1", "attn_v": "Q5_1", "attn_output": "Q5_0",
                    "ffn_gate": "Q2_K", "ffn_up": "Q3_K", "ffn_down": "Q3_K", "output": "Q2_K"}),
    "iq4_xs": (30, {"token_embd": "IQ4_XS", "attn_q": "IQ4_XS", "attn_k": "IQ4_NL", "attn_v": "Q6_K", "attn_output": "MXFP4",
                    "ffn_gate": "IQ4_XS", "ffn_up": "MXFP4", "ffn_down": "IQ4_NL", "output": "Q6_K"}),
}
# Where in a block the factor is, and where what is added or taken off, of what size relative to it.
FACTORS = {"Q8_0": (0,), "Q5_0": (0,), "Q4_1": (0, 2, -7.5), "Q5_1": (0, 2, -15.5), "Q2_K": (80, 82, 1.5), "Q3_K": (108,),
           "IQ4_NL": (0,), "IQ4_XS": (0,), "Q4_K": (0, 2, 7.5), "Q5_K": (0, 2, 15.5), "Q6_K": (208,)}


def put_half(blocks, at, values):
    blocks[:, at:at + 2] = values.astype("<f2")[:, None].view(np.uint8)


def random_matrix(rng, kind, shape, size):
    """Bytes of rows, and the weights they mean, of about this size."""
    kind_number = GGMLQuantizationType[kind]
    values, nbytes = GGML_QUANT_SIZES[kind_number]
    blocks = rng.integers(0, 256, (shape[0] * shape[1] // values, nbytes), dtype=np.uint8)
    by = rng.uniform(0.5, 1.5, len(blocks)) * rng.choice([-1, 1], len(blocks))
    stored = blocks.reshape(shape[0], -1)

    def weights(scale):
        if kind == "MXFP4":  # a power of two
            blocks[:, 0] = np.round(127 + np.log2(np.abs(by) * scale)).astype(np.uint8)
            return quants.dequantize(stored, kind_number).astype(np.float32)
        at, *added = FACTORS[kind]
        put_half(blocks, at, by * scale)
        if added:
            put_half(blocks, added[0], by * scale * added[1])
        return quants.dequantize(stored, kind_number).astype(np.float32)

    return stored, weights(size / weights(1).std())


def main():
    for name, (file_type, kinds) in CASES.items():
        rng = np.random.default_rng(3)
        config = transformers.AutoConfig.for_model(
            "qwen3", vocab_size=VOCAB, hidden_size=EMBD, intermediate_size=256, num_hidden_layers=1,
            num_attention_heads=4, num_key_value_heads=2, head_dim=32, max_position_embeddings=64, rms_norm_eps=1e-5,
            attn_implementation="eager", tie_word_embeddings=False,
            rope_parameters={"rope_type": "default", "rope_theta": 1000.0})
        model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
        arch_cases.randomise("qwen3", model)
        tensors = []
        for full, p in model.named_parameters():
            part = full.removeprefix("model.layers.0.").rpartition(".")[0]
            gguf_name = arch_cases.TENSORS[part]
            where = ("blk.0." if "layers" in full else "") + gguf_name + ".weight"
            if gguf_name in kinds:
                stored, w = random_matrix(rng, kinds[gguf_name], p.shape, 0.7 if gguf_name == "token_embd" else 0.1)
                p.data = torch.tensor(w)
                tensors.append((where, p.shape[::-1], int(GGMLQuantizationType[kinds[gguf_name]]), stored.tobytes()))
            else:
                tensors.append((where, p.shape[::-1], 0, p.detach().numpy().tobytes()))
        ids = np.random.default_rng(7).integers(0, VOCAB, LENGTH)
        with torch.no_grad():
            logits = model(torch.tensor(ids[None])).logits[0].numpy()
        keys = arch_cases.metadata("qwen3", name, config) + [("general.file_type", arch_cases.U32, file_type)]
        gguf_file.write(HERE / f"quant-{name}.gguf", keys, tensors)
        rows = ",\n".join("  [" + ", ".join(f"{x:.5f}" for x in row) + "]" for row in logits)
        (HERE / f"quant-{name}.json").write_text(f'{{"ids": {ids.tolist()},\n "logits": [\n{rows}\n ]}}\n')
        print(name, "transformers", transformers.__version__, "logits up to", abs(logits).max())


if __name__ == "__main__":
    main()
