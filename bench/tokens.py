#!/usr/bin/env python3
"""Our tokenizers beside Hugging Face's, one thread each: MB of text per second, and whether the ids are the same.

usage: bench/tokens.py --build BUILDDIR [--fuzz N] [--seconds S] DIRECTORY...

A DIRECTORY has a tokenizer.json. Texts are the sentences of tests/data/sentences.txt, in English and in all languages,
joined to about 20, 120 and 480 tokens of English. Each figure is the best of five runs in turn, in processor time; a
text is encoded with its special tokens and without truncation. Hugging Face's are asked in the fastest way they have:
a batch at once (encode_batch_fast, which leaves offsets out).

--fuzz compares the ids of N texts of random characters: half of the texts of those that were in Unicode 3.2, whose
properties every table agrees on, the others of any. Needs the Python package tokenizers.
"""
import argparse
import json
import os
import pathlib
import random
import re
import subprocess
import tempfile
import time
import unicodedata

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
import tokenizers  # noqa: E402 (reads them)

SENTENCES = (pathlib.Path(__file__).parent.parent / "tests/data/sentences.txt").read_text().split("\n")[:-1]
RUNS = 5
LENGTHS = {"short": 90, "medium": 550, "long": 2200} # bytes of English: some 20, 120, 480 tokens
OLD = [chr(c) for c in range(0x110000) if not 0xd800 <= c < 0xe000 and unicodedata.ucd_3_2_0.category(chr(c)) != "Cn"]
NEW = [chr(c) for c in range(0x110000) if not 0xd800 <= c < 0xe000 and unicodedata.category(chr(c)) not in ("Cn", "Co")]
USUAL = [c for c in OLD if c < "\u0600" or "\u3000" <= c < "\u3100" or "\u4e00" <= c < "\u4f00"]


def texts(sentences, size, n, rng):
    out = []
    while len(out) < n:
        text = ""
        while len(text.encode()) < size:
            text += " " * bool(text) + rng.choice(sentences)
        out.append(text)
    return out


def cut(texts, size):
    return [t.encode()[:size].decode(errors="ignore") for t in texts]


def corpora():
    rng = random.Random(1)
    english = re.findall(r"[^.;!]+[.;!]", SENTENCES[0] + " " + " ".join(
        "The committee asked whether the new library could hold the results of every experiment that was run last year. "
        "Prices rose by 3.4% in March, but most economists (17 of 20) had expected more. "
        "She said: don't worry about unbelievably long words, they are tokenized as well; it only takes longer. "
        "To retrieve passages that answer a question, embed both and compare their directions.".split(" ")))
    for language, sentences in (("English", english), ("all languages", SENTENCES)):
        for name, size in LENGTHS.items():
            yield f"{language}, {name}", cut(texts(sentences, size, 400000 // size, rng), size)


def fuzz_text(rng):
    pool = rng.choice([OLD, NEW])
    n = rng.choice([1, 2, 3, 5, 8, 20, 60])
    return "".join(rng.choice(rng.choice([USUAL, USUAL, pool, " \n"])) for _ in range(n)), pool is OLD


def save(texts):
    f = tempfile.NamedTemporaryFile("w+", suffix=".jsonl")
    f.writelines(json.dumps(t) + "\n" for t in texts)
    f.flush()
    f.seek(0)
    return f


def our_ids(program, directory, texts):
    with save(texts) as f:
        out = subprocess.run([program, "--ids", directory], stdin=f, capture_output=True, check=True, text=True).stdout
    return [[int(i) for i in line.split()] for line in out.split("\n")[:-1]]


def our_speed(program, directory, texts, seconds):
    with save(texts) as f:
        out = subprocess.run([program, f"--seconds={seconds}", directory], stdin=f, capture_output=True, check=True, text=True).stdout
    return json.loads(out)["mb_per_second"]


def their_speed(t, texts, seconds):
    size, done, start = sum(len(x.encode()) for x in texts), 0, time.process_time()
    while (used := time.process_time() - start) < seconds:
        t.encode_batch_fast(texts)
        done += size
    return done / used / 1e6


def load(directory):
    t = tokenizers.Tokenizer.from_file(f"{directory}/tokenizer.json")
    t.no_truncation()
    t.no_padding()
    return t


def different(program, directory, t, texts):
    """Those whose ids differ. One character's at a time: a text is told by its own lines."""
    ours = our_ids(program, directory, texts)
    assert len(ours) == len(texts)
    return [x for x, mine, theirs in zip(texts, ours, t.encode_batch(texts)) if mine != theirs.ids]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", required=True)
    p.add_argument("--fuzz", type=int, default=0)
    p.add_argument("--seconds", type=float, default=1)
    p.add_argument("directories", nargs="+")
    a = p.parse_args()
    program = f"{a.build}/bench/tokenize"
    for directory in a.directories:
        t = load(directory)
        for name, sample in corpora() if a.seconds else ():
            wrong = different(program, directory, t, sample)
            pairs = [(our_speed(program, directory, sample, a.seconds / RUNS), their_speed(t, sample, a.seconds / RUNS)) for _ in range(RUNS)]
            ours, theirs = max(x for x, _ in pairs), max(x for _, x in pairs)
            print(f"{pathlib.Path(directory).name}: {name}: {ours:.1f} MB/s, Hugging Face {theirs:.2f} MB/s, {ours / theirs:.1f} times; "
                  f"{len(wrong)} of {len(sample)} texts differ", flush=True)
        rng = random.Random(2)
        made = [fuzz_text(rng) for _ in range(a.fuzz)]
        for name, old in (("characters of Unicode 3.2", True), ("any characters", False)) if made else ():
            sample = [x for x, is_old in made if is_old == old]
            wrong = different(program, directory, t, sample)
            print(f"{pathlib.Path(directory).name}: {len(sample)} random texts, {name}: {len(wrong)} differ")
            for x in wrong[:5]:
                print("   ", ascii(x))


if __name__ == "__main__":
    main()
