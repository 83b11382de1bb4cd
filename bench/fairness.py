#!/usr/bin/env python3
"""Two users of one machine, told apart by the kernel: does a flood of the one delay the other? Needs root, to be both.

First, B alone asks something short every second or so, and then again while A has a thousand long requests in. Then
both are backlogged, with weights 1 and 3, and must get tokens in that proportion."""

import asyncio
import json
import os
import sys
import time

import common
from common import COMPLETIONS, DEMO, Client, harness

A, B = 61001, 61002
LONG, SHORT = 300, 60  # tokens; short ones where the end of the window shall cut little off


def as_user(uid, function):
    """Runs a coroutine function in a child that is this user; a function that waits for its result, and its pid."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(r)
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            with os.fdopen(w, "w") as f:
                json.dump(asyncio.run(function()), f)
            code = 0
        finally:
            os._exit(code)
    os.close(w)

    def result():
        with os.fdopen(r) as f:
            text = f.read()
        _, status = os.waitpid(pid, 0)
        if status or not text:
            raise AssertionError(f"the client of user {uid} ended with {status}")
        return json.loads(text)

    return result


async def ask_now_and_then(path, n, every):
    """Times to first token."""
    c, times = Client(path), []
    await c.connect()
    for i in range(n):
        start = time.monotonic()
        status, _, first, _ = await c.stream(COMPLETIONS, {"model": DEMO, "prompt": f"Hello {i}", "max_tokens": 4, "ignore_eos": True, "temperature": 0})
        if status != 200 or first is None:
            raise AssertionError(f"the short request {i} was answered {status}")
        times.append(first)
        await asyncio.sleep(max(0, start + every - time.monotonic()))
    return times


async def backlog(path, clients, tokens, until, mark):
    """Keeps that many requests in until then; counts of those that were answered after the mark. They are not streamed:
    reading streams would cost this machine more than the demo model does."""
    seen = {"tokens": 0, "requests": 0, "refused": 0}

    async def one(i):
        c, k = Client(path), 0
        await c.connect()
        while time.monotonic() < until:
            body = {"model": DEMO, "prompt": f"Once {i} {k}", "max_tokens": tokens, "ignore_eos": True}
            status, _, text = await c.request("POST", COMPLETIONS, body)
            seen["refused"] += status != 200
            if status == 200 and mark <= time.monotonic() < until:
                seen["requests"] += 1
                seen["tokens"] += json.loads(text)["usage"]["total_tokens"]
            k += 1
        c.close()

    tasks = [asyncio.create_task(one(i)) for i in range(clients)]
    _, rest = await asyncio.wait(tasks, timeout=until - time.monotonic())
    for t in rest:  # leaving cancels what still waits
        t.cancel()
    for t in tasks:
        if t not in rest and t.exception():
            raise t.exception()
    return seen


def make(config):
    d = harness.Daemon(config, models=(DEMO,))
    os.chmod(d.dir, 0o755)
    d.complete(model=DEMO, max_tokens=4)  # loaded
    return d


def flood(args, report):
    d = make({"models": [{"name": DEMO, "slots": args.slots, "queue": 4096}]})
    every = args.seconds / args.questions
    idle = as_user(B, lambda: ask_now_and_then(d.socket, args.questions, every))()
    before, start = d.metrics(), time.monotonic()
    steps = [m for m in before if m.startswith("zerollama_inter_token_latency_seconds_") and "bucket" not in m]
    until = start + args.seconds + 8
    a = as_user(A, lambda: backlog(d.socket, args.flood, LONG, until, start))
    harness.wait_until(lambda: d.status()["jobs"]["waiting"] > args.flood * 0.9 - args.slots, "the flood to be in")
    b = as_user(B, lambda: ask_now_and_then(d.socket, args.questions, every))()
    after, seen = d.metrics(), a()
    sums = {m.split("{")[0].rsplit("_", 1)[1]: after[m] - before[m] for m in steps}
    step = sums["sum"] / max(1, sums["count"])
    i50, i99, f50, f99 = (1e3 * common.percentile(v, p) for v in (idle, b) for p in (50, 99))
    report.row("requests of A at once", args.flood)
    report.row("short requests of B", len(b))
    report.row("B's time to first token alone, median", i50, "ms")
    report.row("B's time to first token alone, p99", i99, "ms")
    report.row("in A's flood, median", f50, "ms")
    report.row("in A's flood, p99", f99, "ms", f"< {2 * i99 + 1e3 * step:.3g} ms: twice alone and a step")
    report.row("in A's flood / alone, p99", f99 / i99)
    report.row("a step in the flood, mean between tokens", 1e3 * step, "ms")
    report.row("A's requests served meanwhile", seen["requests"])
    d.wait_idle()
    report.must(seen["refused"] == 0, "A was not refused", seen["refused"])
    report.must(len(b) == args.questions, "B was answered each time")
    d.stop()


def weights(args, report):
    d = make({
        "models": [{"name": DEMO, "slots": args.slots, "queue": 4096}],
        "users": [{"id": A, "weight": 1}, {"id": B, "weight": 3}],
    })
    until = time.monotonic() + args.seconds + 3
    mark = until - args.seconds
    both = [as_user(u, lambda: backlog(d.socket, 4 * args.slots, SHORT, until, mark)) for u in (A, B)]
    a, b = (f()["tokens"] for f in both)
    ratio = b / max(1, a)
    report.row("tokens of A, weight 1", a)
    report.row("tokens of B, weight 3", b)
    report.row("B / A", ratio, "", "3 within 5 %")
    report.must(abs(ratio / 3 - 1) < 0.05, "tokens by weight within 5 %", f"{ratio:.3f}")
    d.wait_idle()
    d.stop()


def main():
    p = common.parser(__doc__)
    p.add_argument("--slots", type=int, default=16)
    p.add_argument("--flood", type=int, default=1000, metavar="REQUESTS")
    p.add_argument("--questions", type=int, default=200)
    p.add_argument("--seconds", type=float, default=50, help="of each part")
    args = p.parse_args()
    if os.geteuid() != 0:
        sys.exit("bench/fairness.py needs root, to be two users")
    common.allow_files(args.flood + 500)
    report = common.Report("fairness", args)
    flood(args, report)
    weights(args, report)
    report.end()


if __name__ == "__main__":
    main()
