#!/usr/bin/env python3
"""Makes fill-cases.json: prompts whose middle is to be filled in, as Qwen2.5-Coder's documentation writes them, and the
ids that Hugging Face's `tokenizers` gives them.

usage: make-fill-cases.py DIRECTORY > fill-cases.json

DIRECTORY has tokenizers/qwen2.5, as for make-tokenizer-cases.py. Needs `pip install tokenizers`; nothing is fetched.
"""
import json
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
         r"\s*[\r\n]+|\s+(?!\S)|\s+")
TEXTS = [
    ("def add(a, b):\n    return ", "\n\nprint(add(1, 2))\n"),
    ("for (int i = 0; i < n; i++) {\n\t", "\n}\n"),
    ("", " world"),
    (" ", " "),
    ("x = '", "'"),
    ("Es war 1 ", "mal “hier”\n\n\n"),
    ("🦙", "🦙🦙"),
]


def qwen(directory):
    directory = Path(directory) / "tokenizers" / "qwen2.5"
    t = Tokenizer(models.BPE.from_file(str(directory / "vocab.json"), str(directory / "merges.txt")))
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    config = json.loads((directory / "tokenizer_config.json").read_text())
    added = sorted((int(i), d) for i, d in config["added_tokens_decoder"].items())
    t.add_tokens([AddedToken(d["content"], special=d["special"], normalized=False) for _, d in added])
    assert all(t.token_to_id(d["content"]) == i for i, d in added)
    return t


def main():
    t = qwen(sys.argv[1])
    cases = [{"prefix": p, "suffix": s, "ids": t.encode(f"<|fim_prefix|>{p}<|fim_suffix|>{s}<|fim_middle|>").ids}
             for p, s in TEXTS]
    print(json.dumps(cases, ensure_ascii=True, separators=(",", ":")).replace("},{", "},\n{"))


main()
