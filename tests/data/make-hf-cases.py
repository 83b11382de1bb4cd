#!/usr/bin/env python3
"""Makes hf-cases.json and hf-*/: what transformers and tokenizers make of Hugging Face directories.

usage: make-hf-cases.py DIRECTORY

hf-*/ are tiny models with random weights as transformers saves them: Llama 3's rope scaling and biases, a sliding
window with linear scaling (BF16, tied), Qwen2 in shards (F16), Qwen3 in shards, YaRN, mixtures of
experts, Gemma 1 to 3, Phi 3, Granite, SmolLM 3, OLMo 2, and models that see images, too: Gemma 3, Qwen 2.5 VL and 3 VL, Mistral 3. hf-cases.json has their logits, some logits of the random models in DIRECTORY/models/tiny_random, and the ids of texts by the tokenizers in DIRECTORY. A
tokenizer is a file of DIRECTORY with some of its parts replaced, so that those other models use are seen, too. Needs
numpy, torch, transformers and tokenizers; nothing is fetched.
"""
import json
import pathlib
import shutil
import sys
import tempfile

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer

HERE = pathlib.Path(__file__).parent
VOCAB, LENGTH, EVERY = 40, 24, 16
BASE = dict(vocab_size=VOCAB, hidden_size=32, intermediate_size=16, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, attn_implementation="eager")


def config(kind, theta, scaling=None, **options):
    rope = {"rope_type": "default", **(scaling or {}), "rope_theta": theta}
    return transformers.AutoConfig.for_model(kind, **{**BASE, "rope_parameters": rope, **options})


GEMMA3 = dict(head_dim=8, query_pre_attn_scalar=12, num_hidden_layers=7, sliding_window=5, rope_parameters={
    "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1000.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}})


def config_with_images():
    text = config("gemma3_text", 0, **{**GEMMA3, "num_hidden_layers": 2}, layer_types=["full_attention", "sliding_attention"])
    sight = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=8, patch_size=4)
    return transformers.Gemma3Config(text_config=text.to_dict(), vision_config=sight, mm_tokens_per_image=4, image_token_index=39,
                                     boi_token_index=38, eoi_token_index=37)


SIGHT = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=8, patch_size=4)
QWEN_SIGHT = dict(depth=1, hidden_size=8, intermediate_size=8, num_heads=2, out_hidden_size=32, patch_size=4)


def seeing(kind, text, sight):
    text = {k: v for k, v in text.to_dict().items() if k != "model_type"}
    if kind.startswith("qwen"):
        text["rope_parameters"]["mrope_section"] = [1, 1, (text.get("head_dim") or 8) // 2 - 2]
    else:
        text["model_type"] = "mistral"
    return transformers.AutoConfig.for_model(kind, text_config=text, vision_config=sight,
                                             tie_word_embeddings=text["tie_word_embeddings"])


LLAMA3_ROPE = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=32)
MODELS = {
    "llama": (torch.float32, None, config("llama", 100.0, LLAMA3_ROPE, attention_bias=True, tie_word_embeddings=False)),
    "mistral": (torch.bfloat16, None, config("mistral", 500.0, dict(rope_type="linear", factor=2.0), sliding_window=7,
                                             tie_word_embeddings=True)),
    "qwen2": (torch.float16, "8KB", config("qwen2", 1000.0, tie_word_embeddings=False)),
    "qwen3": (torch.float32, "20KB", config("qwen3", 1000.0, head_dim=12, tie_word_embeddings=False)),
    "qwen3_moe": (torch.bfloat16, "20KB", config("qwen3_moe", 1000.0, head_dim=12, num_experts=11, num_experts_per_tok=2,
                                                 moe_intermediate_size=8, norm_topk_prob=False, tie_word_embeddings=False)),
    "mixtral": (torch.bfloat16, None, config("mixtral", 1000.0, num_local_experts=4, num_experts_per_tok=3, sliding_window=7,
                                             tie_word_embeddings=False)),
    "yarn": (torch.bfloat16, None, config("llama", 100.0, dict(
        rope_type="yarn", factor=4.0, original_max_position_embeddings=400, beta_fast=8.0, beta_slow=1.5, attention_factor=1.3,
        truncate=False), tie_word_embeddings=True)),
    "gemma": (torch.bfloat16, None, config("gemma", 1000.0, head_dim=12, num_key_value_heads=1)),
    "gemma2": (torch.bfloat16, None, config("gemma2", 1000.0, head_dim=12, query_pre_attn_scalar=20, sliding_window=7,
                                            attn_logit_softcapping=2.0, final_logit_softcapping=20.0)),
    "gemma3": (torch.bfloat16, None, config("gemma3_text", 0, **GEMMA3)),
    "gemma3-images": (torch.bfloat16, None, config_with_images()),
    "phi3": (torch.bfloat16, None, config("phi3", 500.0, dict(
        rope_type="longrope", short_factor=[1.0, 1.1, 1.3, 1.5, 1.7, 2.0], long_factor=[1.5, 2.0, 3.0, 4.5, 6.0, 9.0],
        original_max_position_embeddings=16, partial_rotary_factor=0.75), num_attention_heads=2, num_key_value_heads=1, head_dim=16, original_max_position_embeddings=16,
        partial_rotary_factor=0.75, sliding_window=None, tie_word_embeddings=True, pad_token_id=0)),
    "granite": (torch.bfloat16, None, config("granite", 1000.0, attention_multiplier=0.2, embedding_multiplier=3.0,
                                             residual_multiplier=0.4, logits_scaling=2.5, tie_word_embeddings=True)),
    "smollm3": (torch.bfloat16, None, config("smollm3", 1000.0, num_hidden_layers=5, tie_word_embeddings=True, pad_token_id=0,
                                             no_rope_layers=[1, 0, 1, 1, 0])),
    "olmo2": (torch.bfloat16, None, config("olmo2", 1000.0, tie_word_embeddings=False, pad_token_id=0)),
    "qwen2_5_vl": (torch.bfloat16, None, seeing("qwen2_5_vl", config("qwen2", 1000.0, tie_word_embeddings=False), QWEN_SIGHT)),
    "qwen3_vl": (torch.bfloat16, None, seeing("qwen3_vl", config("qwen3", 1000.0, head_dim=12, tie_word_embeddings=True),
                                              {**QWEN_SIGHT, "deepstack_visual_indexes": [0]})),
    "mistral3": (torch.bfloat16, None, seeing("mistral3", config("mistral", 500.0, head_dim=12, sliding_window=None,
                                                                 tie_word_embeddings=False),
                                              {**SIGHT, "model_type": "pixtral", "head_dim": 4})),
}


def auto_class(cfg):
    return transformers.AutoModelForImageTextToText if hasattr(cfg, "vision_config") else transformers.AutoModelForCausalLM


def randomise(name, model, dtype):
    """Weights large enough that every part changes the logits, and that `dtype` can hold."""
    rng = np.random.default_rng(20)
    one = not name.startswith("gemma")  # whose norms are stored less 1
    for name, p in model.named_parameters():
        x = rng.standard_normal(tuple(p.shape))
        x = one + 0.3 * x if "norm" in name else x * (0.7 if "embed" in name or "lm_head" in name else 0.35)
        p.data = torch.tensor(x, dtype=torch.float32).to(dtype)


def logits(path, ids):
    cfg = transformers.AutoConfig.from_pretrained(path)
    model = auto_class(cfg).from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


def make_models():
    out = {}
    for name, (dtype, shard, cfg) in MODELS.items():
        path = HERE / f"hf-{name}"
        shutil.rmtree(path, ignore_errors=True)
        model = auto_class(cfg).from_config(cfg)
        randomise(name, model, dtype)
        model.to(dtype).save_pretrained(path, **({"max_shard_size": shard} if shard else {}))
        for file in path.iterdir():
            file.chmod(0o644)
        ids = np.random.default_rng(7).integers(0, VOCAB, LENGTH).tolist()
        out[name] = {"ids": ids, "every": 1, "logits": logits(path, ids)}
        if name == "phi3":  # within its original context
            out["phi3, short"] = {"ids": ids[:12], "every": 1, "logits": logits(path, ids[:12])}
    return out


def run_random(root):
    out = {}
    for name in ("tiny_llama3", "tiny_mistral", "tiny_qwen3", "tiny_gemma3"):
        ids = np.random.default_rng(7).integers(0, 256, 2 * LENGTH).tolist()
        out[name] = {"ids": ids, "every": EVERY, "logits": logits(root / "models/tiny_random" / name, ids)[:, ::EVERY]}
    return out


# ---- tokenizers ----

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def split(regex):
    return {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False},
        {**BYTE_LEVEL, "use_regex": False}]}


def added(first, *texts, special=True):
    return [{"id": first + i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
             "special": special} for i, t in enumerate(texts)]


def template(token, number):
    return {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": token, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {token: {"id": token, "ids": [number], "tokens": [token]}}}


def metaspace(scheme):
    return {"normalizer": None, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme,
                                                  "split": False}}


def tokenizer_cases(root):
    qwen = json.loads((root / "tokenizers/qwen2.5/tokenizer_config.json").read_text())["added_tokens_decoder"]
    qwen_added = [{"id": int(i), **t} for i, t in sorted(qwen.items(), key=lambda item: int(item[0]))]
    stories = "models/stories260K-hf/tokenizer.json"
    return {
        "gpt2": {"file": "tokenizers/gpt2/tokenizer.json", "parts": {}},
        "gpt2 cut as Llama 3 cuts": {
            "file": "tokenizers/gpt2/tokenizer.json", "model": {"ignore_merges": True},
            "parts": {"pre_tokenizer": split(LLAMA3), "post_processor": {
                "type": "Sequence", "processors": [BYTE_LEVEL, template("<|begin_of_text|>", 50257)]},
                "added_tokens": added(50256, "<|endoftext|>", "<|begin_of_text|>", "<|eot_id|>")
                + added(50259, "<tool>", " the", "漢字", special=False)}},
        "gpt2 cut as GPT-4o cuts": {
            "file": "tokenizers/gpt2/tokenizer.json",
            "parts": {"pre_tokenizer": split(GPT4O)}},
        "gpt2 with digits apart": {
            "file": "tokenizers/gpt2/tokenizer.json",
            "parts": {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Digits", "individual_digits": True}, BYTE_LEVEL]}}},
        "qwen2.5": {
            "file": "tokenizers/qwen2.5/vocab.json", "merges": "tokenizers/qwen2.5/merges.txt",
            "parts": {"version": "1.0", "normalizer": {"type": "NFC"}, "pre_tokenizer": split(LLAMA3.replace("{1,3}", "")),
                      "post_processor": {**BYTE_LEVEL, "use_regex": False}, "decoder": {**BYTE_LEVEL, "use_regex": False},
                      "added_tokens": qwen_added}},
        "stories260K": {"file": stories, "parts": {}},
        "stories260K with a token of its own": {
            "file": stories, "parts": {"added_tokens": added(0, "<unk>", "<s>", "</s>")
                                       + added(512, "<tool>", special=False)}},
        "stories260K, space at the start": {"file": stories, "parts": metaspace("first")},
        "stories260K, space everywhere": {"file": stories, "parts": metaspace("always")},
        "stories260K, space nowhere": {"file": stories, "parts": metaspace("never")},
        "stories260K as Gemma's": {
            "file": stories,
            "parts": {"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
                      "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious",
                                        "invert": False},
                      "added_tokens": added(0, "<unk>", "<s>", "</s>") + added(512, "\n\n", "▁▁", "<tool>", special=False)}},
        "babyllama105": {"file": "models/babyllama105-hf/tokenizer.json", "parts": {}},
    }


TEXTS = [
    "", " ", "  ", "Hello world", " Hello world", "  two  spaces  ", "\n\n x\r\n\ty", "Once upon a time, there was a girl.",
    "I'm you're HE'LL", "1234567 v1.2 ½ ٣٤", "The quick brown fox jumps over the lazy dog.", "▁a ▁ b", "a▁b",
    "Größe, Straße, naïve façade", "Le cœur déçu mais l'âme plutôt naïve", "El pingüino Wenceslao hizo kilómetros",
    "Příliš žluťoučký kůň", "Zażółć gęślą jaźń", "Pijamalı hasta yağız şoföre", "Tiếng Việt có nhiều dấu",
    "Съешь же ещё этих мягких французских булок", "Щастя їжакові", "Ταχίστη αλώπηξ βαφής ψημένη γη", "Հայերեն գրեր",
    "ქართული ანბანი", "נסה את זה עכשיו", "نص حكيم له سر قاطع", "یک متن فارسی", "ऋषियों को सताने वाले", "বাংলা ভাষা", "தமிழ் மொழி", "తెలుగు",
    "ภาษาไทย 123", "ខ្មែរ", "မြန်မာ", "አማርኛ ቋንቋ", "你好，世界！我想在apple工作", "繁體中文字", "いろはにほへと カタカナ", "다람쥐 헌 쳇바퀴에", "ᠮᠣᠩᠭᠣᠯ",
    "e\u0301 n\u0303 A\u030a ę\u0301", "한글 \u1112\u1161\u11ab", "\u0958 \ufb1d \u2126 \u212b ﬁ", "क\u093c ড\u09bc", "a\u0323\u0307 a\u0307\u0323",
    "🦙 👨\u200d👩\u200d👧 🇩🇪 👍🏽", "a\u00a0b\u3000c\u2028d", "#include <stdio.h>\nint main(void) { return 0; }\n", "x = [1, 2]  # два",
    "<s>", "<s>Hello</s> again", "Hi<s> there", "<tool> x<tool>", "a<tool>b <tool>", "<|endoftext|>x", "<|begin_of_text|>Hi<|eot_id|>", "  <|eot_id|> ",
    "<|im_start|>user\nHi<|im_end|>\n", "helloWorld HTTPServer XMLs ÀÉtéÉ I'VE a'S 日本Aあb漢Ab ǅa ʰAʰ", "A\u0301B\u0301c \u0301A \u0301 x\u0301\u0301Y ᾼΑ", "a//\n/b ... /\r\n//c", "of the 漢字 x", "<|im_start", "<0x41> <unk>", "\x01\x7f",
]


def run_tokenizers(root):
    cases = tokenizer_cases(root)
    ids = []
    for c in cases.values():
        d = json.loads((root / c["file"]).read_text())
        if "merges" in c:
            merges = [m for m in (root / c["merges"]).read_text().split("\n") if m and not m.startswith("#version")]
            d = {"model": {"type": "BPE", "vocab": d, "merges": merges}}
        d.update(c["parts"])
        d["model"].update(c.get("model", {}))
        with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
            json.dump(d, f)
            f.flush()
            t = Tokenizer.from_file(f.name)
        ids.append([t.encode(text).ids for text in TEXTS])
    return cases, [[text, *(row[i] for row in ids)] for i, text in enumerate(TEXTS)]


def dump(value):
    return json.dumps(value, separators=(",", ":"))


def main():
    root = pathlib.Path(sys.argv[1])
    models = {"made": make_models(), "random": run_random(root)}
    cases, rows = run_tokenizers(root)
    out = []
    for kind, named in models.items():
        entries = []
        for name, m in named.items():
            lines = ",\n".join("[" + ",".join(f"{x:.5f}" for x in row) + "]" for row in m["logits"])
            entries.append(f'"{name}": {{"ids":{dump(m["ids"])},"every":{m["every"]},"logits":[\n{lines}]}}')
        out.append(f'"{kind}": {{\n' + ",\n".join(entries) + "}")
    out.append('"tokenizers": {\n' + ",\n".join(f"{dump(k)}: {dump(v)}" for k, v in cases.items()) + "}")
    out.append('"texts": [\n' + ",\n".join(map(dump, rows)) + "]")
    (HERE / "hf-cases.json").write_text("{\n" + ",\n".join(out) + "\n}\n")
    print("transformers", transformers.__version__)


main()
