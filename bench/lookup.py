#!/usr/bin/env python3
"""What guessing from what a text repeats (lookup_tokens) gains and costs: tokens a second with it over those without, of a text
that repeats itself all the time, and of one that hardly does, for one client and for several. A model of random weights
(random_model.py) writes both: the most probable token always comes to a loop, and drawn ones do not. So these are the ends of
the range; what real texts gain lies between them. The texts are the same with and without."""

import asyncio
import json
import statistics
import time

import common
import random_model
from common import COMPLETIONS, Client, harness

MODES = {"without": 0, "with": 7}
TEXTS = {"that repeats itself": {"temperature": 0}, "that does not": {"temperature": 1}}
PROMPT = "The fox ran into the forest and"


async def one(d, model, i, options, tokens):
    c = Client(d.socket)
    await c.connect()
    body = {"model": model, "prompt": f"{i} {PROMPT}", "max_tokens": tokens, "ignore_eos": True, "seed": i + 1, **options}
    status, _, answer = await c.request("POST", COMPLETIONS, body)
    if status != 200:
        raise AssertionError(answer)
    c.close()
    return json.loads(answer)["choices"][0]["text"]


async def rate(d, model, clients, options, tokens):
    """(tokens a second, the texts)"""
    start = time.monotonic()
    texts = await asyncio.gather(*[one(d, model, i, options, tokens) for i in range(clients)])
    return clients * tokens / (time.monotonic() - start), texts


async def compare(d, what, clients, args, report):
    rates, texts = {m: [] for m in MODES}, {}
    for _ in range(args.rounds):
        for m in MODES:  # in turn, so that noise meets both
            r, texts[m] = await rate(d, m, clients, TEXTS[what], args.tokens)
            rates[m].append(r)
    a, b = (statistics.median(rates[m]) for m in MODES)
    who = f"{clients} client{'s' if clients > 1 else ''}, a text {what}"
    report.row(f"{who}: without", a, "tokens/s")
    report.row(f"{who}: with / without", b / a)
    report.must(texts["with"] == texts["without"], f"{who}: the same texts")


async def measure(d, args, report):
    for m in MODES:  # the models are loaded
        await one(d, m, 0, {}, 2)
    for clients in args.clients:
        for what in TEXTS:
            await compare(d, what, clients, args, report)


def main():
    p = common.parser(__doc__)
    p.add_argument("--clients", type=int, nargs="+", default=[1, 4, 8])
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--tokens", type=int, default=128)
    random_model.add_options(p)
    args = p.parse_args()
    report = common.Report("lookup", args)
    d = harness.Daemon({"models": [{"name": m, "path": "random", "lookup_tokens": n} for m, n in MODES.items()]}, models=())
    random_model.write(f"{d.models}/random", args)
    asyncio.run(measure(d, args, report))
    m = d.metrics()
    right, guessed = (m[f'zerollama_spec_decode_num_{k}_tokens_total{{model="with"}}'] for k in ("accepted", "draft"))
    report.row("guesses that were right, of all", right / guessed)
    d.stop()
    report.end()


if __name__ == "__main__":
    main()
