#!/usr/bin/env python3
"""The clients of OpenAI and Ollama for Python get the same numbers as the command, over the Unix socket.

Needs `openai` and `ollama` in the Python that runs this; one that is not there is left out, and the table says so. The model is a
small encoder with random weights, or --model DIRECTORY."""

import json
import os
import struct
import subprocess
import sys

import common
from common import harness

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests"))
import bert  # noqa: E402

TEXTS = ["", "Dan kes, mor!", "naïve 日本 x", bert.text(200, 1), bert.text(7, 2)]


def as_float32(values):
    return list(struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values)))


def by_command(d):
    command = [os.path.join(harness.BUILD, "zerollama"), "embed", "model", *TEXTS]
    p = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "ZEROLLAMA_HOST": d.socket})
    return [as_float32(json.loads(line)["embedding"]) for line in p.stdout.splitlines()]


def by_openai(d, encoding):
    import httpx
    import openai

    http = httpx.Client(transport=httpx.HTTPTransport(uds=d.socket))
    client = openai.OpenAI(base_url="http://localhost/v1", api_key="none", http_client=http)
    options = {"encoding_format": encoding} if encoding else {}  # it asks for base64 by itself
    answer = client.embeddings.create(model="model", input=TEXTS, **options)
    return [as_float32(e.embedding) for e in answer.data], openai.__version__


def by_ollama(d):
    import importlib.metadata

    import httpx
    import ollama

    client = ollama.Client(host="http://localhost", transport=httpx.HTTPTransport(uds=d.socket))
    answer = client.embed(model="model", input=TEXTS)
    one = client.embeddings(model="model", prompt=TEXTS[1])
    if as_float32(one.embedding) != as_float32(answer.embeddings[1]):
        raise AssertionError("/api/embeddings and /api/embed differ")
    return [as_float32(e) for e in answer.embeddings], importlib.metadata.version("ollama")


def main():
    p = common.parser(__doc__)
    p.add_argument("--model", metavar="DIRECTORY")
    args = p.parse_args()
    report = common.Report("embed_clients", args)
    d = harness.Daemon({"models": [{"name": "model", "path": os.path.abspath(args.model) if args.model else "random"}]}, models=())
    if not args.model:
        bert.write(os.path.join(d.models, "random"))
    expected = by_command(d)
    report.row("vectors by zerollama embed", len(expected))
    ways = (("openai", lambda: by_openai(d, None)), ("openai, float", lambda: by_openai(d, "float")), ("ollama", lambda: by_ollama(d)))
    for name, ask in ways:
        try:
            vectors, version = ask()
        except ImportError as e:
            report.row(name, f"not here: {e}")
            continue
        report.row(name, version)
        report.must(vectors == expected, f"{name}: the same numbers")
    d.stop()
    report.end()


if __name__ == "__main__":
    main()
