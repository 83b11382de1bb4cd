#!/usr/bin/env python3
"""What two of the engine's ideas gain: pages of the KV cache that a prompt shares with an earlier one, and one batch for
all streams.

Prefix: a conversation of a thousand tokens whose second turn repeats the first, with its answer, before it asks on. The
first turn is new each time, so nothing of it is cached. The demo model's context is too short for that: this is a model
of random weights (random_model.py). Batching: tokens a second of one stream of the demo model, and of sixteen together.
Both are ratios on one machine, under whatever else it does."""

import asyncio
import json
import os
import statistics
import time

import common
import random_model
from common import CHAT, COMPLETIONS, DEMO, Client, harness

LONG = "random"  # the model with the long context
WORDS = ("the fox ran into the forest and", "a small bird sang in the morning", "the king gave a gold coin to", "one day the rain came down on")


def long_question(n):
    """About a thousand tokens, unlike every other from its first words on."""
    parts = [f"Story {n}."] + [f"{WORDS[(n + i) % 4]} {i}" for i in range(110)]
    return " ".join(parts)


async def turn(d, messages, max_tokens):
    """(time to first token, usage, text)"""
    c = Client(d.socket)
    await c.connect()
    start = time.monotonic()
    body = {"model": LONG, "messages": messages, "temperature": 0, "max_tokens": max_tokens, "ignore_eos": True,
            "stream": True, "stream_options": {"include_usage": True}}
    c.send("POST", CHAT, body)
    status, headers = await c.head()
    if status != 200:
        raise AssertionError(f"{status}: {[p async for p in c.chunks(headers)]}")
    first, usage, text = None, None, ""
    async for event in c.events(headers):
        usage = event.get("usage") or usage
        part = harness.chunk_text(event)
        if part and first is None:
            first = time.monotonic() - start
        text += part
    c.close()
    return first, usage, text


def cached(usage):
    return usage["prompt_tokens_details"]["cached_tokens"]


async def conversations(d, n, report):
    first, second, lengths, found = [], [], [], []
    for i in range(n):
        messages = [{"role": "user", "content": long_question(i)}]
        t, usage, text = await turn(d, messages, 8)
        if i == 0:
            report.row("tokens of the first turn", usage["prompt_tokens"])
        first.append(t)
        messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "Go on"}]
        t, usage, _ = await turn(d, messages, 8)
        second.append(t)
        lengths.append(usage["prompt_tokens"])
        found.append(cached(usage))
    report.must(min(lengths) >= 1000, "a second turn has a thousand tokens", lengths)
    report.row("tokens of the second turn, median", statistics.median(lengths))
    report.row("of these cached, median", statistics.median(found))
    report.row("time to first token, first turn", 1e3 * statistics.median(first), "ms")
    report.row("time to first token, second turn", 1e3 * statistics.median(second), "ms")
    report.row("second turn / first turn", statistics.median(second) / statistics.median(first), "", "< 0.3")
    report.must(min(found) > 0, "every second turn found pages", found)


async def throughput(d, streams, seconds):
    """Tokens a second of `streams` clients that ask again and again. Whole answers: this process reading thousands of
    events a second would be what is measured."""
    end = time.monotonic() + seconds

    async def one(i):
        c, n, k = Client(d.socket), 0, 0
        await c.connect()
        while time.monotonic() < end:
            body = {"model": DEMO, "prompt": f"Once {i} {k}", "max_tokens": 300, "ignore_eos": True, "temperature": 0}
            _, _, answer = await c.request("POST", COMPLETIONS, body)
            n += json.loads(answer)["usage"]["completion_tokens"]
            k += 1
        c.close()
        return n

    start = time.monotonic()
    n = sum(await asyncio.gather(*[one(i) for i in range(streams)]))
    return n / (time.monotonic() - start)


async def measure(d, args, report):
    await turn(d, [{"role": "user", "content": "Hello"}], 4)  # the model is loaded
    await conversations(d, args.conversations, report)
    one, many = [], []
    for _ in range(3):  # in turn, so that noise meets both
        one.append(await throughput(d, 1, args.seconds / 6))
        many.append(await throughput(d, args.streams, args.seconds / 6))
    report.row("one stream", statistics.median(one), "tokens/s")
    report.row(f"{args.streams} streams", statistics.median(many), "tokens/s")
    report.row(f"{args.streams} streams / one stream", statistics.median(many) / statistics.median(one), "", "> 4")


def main():
    p = common.parser(__doc__)
    p.add_argument("--conversations", type=int, default=20)
    p.add_argument("--streams", type=int, default=16)
    p.add_argument("--seconds", type=float, default=18, help="of the throughput part")
    random_model.add_options(p)
    args = p.parse_args()
    report = common.Report("prefix", args)
    d = harness.Daemon({"models": [{"name": DEMO, "slots": args.streams, "lookup_tokens": 0}]}, models=(DEMO,))
    random_model.write(os.path.join(d.models, LONG), args)
    asyncio.run(measure(d, args, report))
    o = d.outcomes()
    report.must(o["failed"] == o["cancelled"] == o["refused"] == 0, "every job completed", o)
    d.stop()
    report.end()


if __name__ == "__main__":
    main()
