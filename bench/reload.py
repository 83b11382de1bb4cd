#!/usr/bin/env python3
"""A hundred reloads while requests run: none may be lost, and what is configured is in force afterwards.

Each reload changes something else: slots and queues, the threads of a pool (its engine is replaced), a second pool that
comes with a model and goes again, limits, users. Greedy answers must be, word by word, those of an undisturbed run."""

import asyncio
import collections
import json
import os
import time

import common
from common import CHAT, COMPLETIONS, DEMO, Client, Cut, harness

CLIENTS, WORDS, DELAY_MS = 24, 2000, 30
QUESTIONS = ("Who are you?", "Tell me a story about a fox", "What is the capital of Spain?", "Tell me a joke")


def demo_body(i):
    return {"model": DEMO, "messages": [{"role": "user", "content": QUESTIONS[i % len(QUESTIONS)]}], "temperature": 0, "max_tokens": 120}


def configuration(i):
    """The i-th: every part has a rhythm of its own, so that all combinations come."""
    pools = [{"name": "first", "threads": 1 + i // 5 % 2}]
    if i // 7 % 2:
        pools.append({"name": "second", "threads": 1})
    return {
        "pools": pools,
        "models": [
            {"name": "null", "path": "builtin:null", "slots": 2 + i % 3, "pool": pools[-1]["name"]},
            {"name": "delay", "path": "builtin:delay", "slots": 3 + i % 4, "queue": 1000 + i},
            {"name": DEMO, "slots": 4 + i // 3 % 4, "batch_tokens": 64 << i % 4},
        ],
        "user_defaults": {"weight": 1 + i % 3, "jobs": 1000 + i % 2},
        "limits": {"restarts": i % 4, "body_size": f"{1 + i % 2}MiB", "connections": 1000 + i},
    }


class Load:
    def __init__(self, d, expected):
        self.d, self.expected = d, expected
        self.counts, self.wrong = collections.Counter(), collections.Counter()
        self.over = False

    async def ask(self, c, i, n):
        kind = ("demo", "null", "delay")[(i + n) % 3]
        if kind == "demo":
            status, text, _, _ = await c.stream(CHAT, demo_body(n))
            right = text == self.expected[n % len(QUESTIONS)]
        elif kind == "null":
            status, text, _, _ = await c.stream(COMPLETIONS, {"model": "null", "prompt": "x", "max_tokens": WORDS})
            right = text == "a " * WORDS
        else:
            status, _, text = await c.request("POST", COMPLETIONS, {"model": "delay", "prompt": f"{DELAY_MS}ms"})
            right = status == 200 and json.loads(text)["choices"][0]["text"] == "ok"
        self.counts[kind] += 1
        if status != 200:
            self.wrong[f"{kind}: {status}: {text}"] += 1
        elif not right:
            self.wrong[f"{kind}: another text"] += 1

    async def client(self, i):
        c, n = Client(self.d.socket), 0
        await c.connect()
        while not self.over:
            try:
                await self.ask(c, i, n)
            except (Cut, ConnectionError) as e:
                self.wrong[f"{type(e).__name__}: {e}"] += 1
                c.close()
                await c.connect()
            n += 1
        c.close()

    async def reloads(self, n, pause):
        c, took = Client(self.d.socket), []
        await c.connect()
        for i in range(n):
            self.d.change_config(**configuration(i))
            start = time.monotonic()
            status, _, body = await c.request("POST", "/zerollama/reload")
            took.append(time.monotonic() - start)
            if status != 200:
                self.wrong[f"reload: {status}: {body.decode()}"] += 1
            await asyncio.sleep(pause)
        c.close()
        self.over = True
        return took

    async def run(self, n, pause):
        clients = [asyncio.create_task(self.client(i)) for i in range(CLIENTS)]
        took = await self.reloads(n, pause)
        _, hang = await asyncio.wait(clients, timeout=60)
        for t in hang:
            t.cancel()
        return took, len(hang)


async def most_at_once(d, n):
    """How many of many delay requests run together."""
    async def one():
        c = Client(d.socket)
        await c.connect()
        await c.request("POST", COMPLETIONS, {"model": "delay", "prompt": "500ms"})
        c.close()

    tasks, most = [asyncio.create_task(one()) for _ in range(n)], 0
    c = Client(d.socket)
    await c.connect()
    while not all(t.done() for t in tasks):
        _, _, body = await c.request("GET", "/zerollama/status")
        most = max(most, json.loads(body)["jobs"]["running"])
        await asyncio.sleep(0.02)
    c.close()
    return most


def engine_threads(d):
    """Their names."""
    directory, names = f"/proc/{d.engine_pid()}/task", []
    for t in os.listdir(directory):
        with open(f"{directory}/{t}/comm", encoding="ascii") as f:
            names.append(f.read().strip())
    return names


def check_in_force(d, report, final):
    """Against the machine, not against what the daemon says where that can be."""
    status, limits = d.status(), final["limits"]
    pools = [p["name"] for p in status["pools"]]
    report.must(pools == [p["name"] for p in final["pools"]], "pools in force", pools)
    slots = next(m["slots"] for m in final["models"] if m["name"] == "delay")
    most = asyncio.run(most_at_once(d, 3 * slots))
    report.must(most == slots, f"slots in force ({slots})", f"{most} ran at once")
    d.complete(model=DEMO, max_tokens=4)  # its engine runs, with a device
    threads = final["pools"][0]["threads"]
    names = engine_threads(d)
    n = sum(name.startswith("cpu-") for name in names)
    report.must(n == threads, f"threads in force ({threads})", names)
    report.must(status["limits"]["connections"] == limits["connections"], "limits in force", status["limits"])


def main():
    p = common.parser(__doc__)
    p.add_argument("--reloads", type=int, default=100)
    p.add_argument("--pause", type=float, default=0.2, metavar="SECONDS", help="between two reloads")
    args = p.parse_args()
    report = common.Report("reload", args)
    d = harness.Daemon(configuration(0), models=(DEMO,))
    expected = [d.stream(CHAT, demo_body(i)).text() for i in range(len(QUESTIONS))]
    d.wait_idle()
    fds = d.fds()

    load = Load(d, expected)
    took, hang = asyncio.run(load.run(args.reloads, args.pause))
    d.wait_idle()
    m, o = d.metrics(), d.outcomes()
    report.row("reloads", len(took))
    report.row("a reload, median", 1e3 * common.percentile(took, 50), "ms")
    report.row("a reload, longest", 1e3 * max(took), "ms")
    for name in sorted(load.counts):
        report.row(f"{name} requests", load.counts[name])
    report.row("jobs posted again", int(m["zerollama_job_restarts_total"]))
    report.row("longest turn of the daemon's loop", 1e3 * m['zerollama_loop_longest_seconds{process="daemon"}'], "ms", "< 5 ms")
    report.must(not load.wrong, "no request lost or changed", dict(load.wrong))
    report.must(hang == 0, "no client hangs", hang)
    report.must(d.admitted() == o["completed"] and o["failed"] == o["cancelled"] == 0, "every job completed", o)
    check_in_force(d, report, configuration(args.reloads - 1))
    d.wait_idle()
    extra = len(configuration(args.reloads - 1)["pools"]) - 1
    report.must(d.fds() <= fds + 3 * extra, "descriptors as before", f"{fds} before, {d.fds()} after")
    try:
        d.stop()
        report.must(True, "the daemon ends with 0")
    except AssertionError as e:
        report.must(False, "the daemon ends with 0", e)
    report.end()


if __name__ == "__main__":
    main()
