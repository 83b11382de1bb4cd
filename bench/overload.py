#!/usr/bin/env python3
"""Far more clients than the daemon can serve, many of them bad, and engines that die: what stays true?

Ten thousand connections stay open. Each asks for something now and then: whole answers, streams, streams that it reads
slowly, and requests it abandons in the middle. Queues are small, so most are refused; engines are killed on the way.
A refusal must say when to come again, an answer that is not refused must be whole, and afterwards every admitted job
has ended once and nothing is held."""

import asyncio
import collections
import contextlib
import json
import os
import random
import signal
import socket
import time

import common
from common import CHAT, COMPLETIONS, DEMO, REFUSED, Client, Cut, harness

SLOTS, QUEUE = 32, 64
NULL_TOKENS, SLOW_TOKENS = 200, 100000
MIB = 1 << 20
MEMORY_PER_USER = 512 * MIB  # of the two there are: ours, and TCP


class TcpDaemon(harness.Daemon):
    """Listens on TCP as well, where a client can really reset."""

    def write_config(self, config):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        super().write_config({"listen": [{"unix": self.socket}, {"tcp": f"127.0.0.1:{self.port}"}], **config})


def config(connections):
    small = {"slots": SLOTS, "queue": QUEUE}
    return {
        "models": [{"name": m, "path": f"builtin:{m}", **small} for m in ("null", "delay")] + [{"name": DEMO, **small}],
        "user_defaults": {"jobs": 2 * (SLOTS + QUEUE)},  # two thirds of what the models take together: seen as 429
        "limits": {
            "connections": connections + 100,
            "connections_per_user": connections + 100,
            "memory_per_user": MEMORY_PER_USER,
            "header_size": "4KiB",
            "request_timeout": "10s",
        },
    }


class Crowd:
    def __init__(self, d, seconds, random_source):
        self.d, self.random = d, random_source
        self.counts = collections.Counter()
        self.wrong = collections.Counter()
        self.first = []  # seconds to the first token, of demo streams that were taken
        self.end = time.monotonic() + seconds

    def over(self):
        return time.monotonic() >= self.end

    def saw(self, status, headers):
        """Whether a job was admitted."""
        self.counts[f"status {status}"] += 1
        if status in REFUSED and "retry-after" not in headers:
            self.wrong[f"{status} without Retry-After"] += 1
        elif status != 200 and status not in REFUSED:
            self.wrong[f"status {status}"] += 1
        return status == 200

    # What a client may do; True where the connection can be used again.

    async def whole(self, c):
        status, headers, _ = await c.request("POST", COMPLETIONS, {"model": "delay", "prompt": f"{self.random.randrange(1, 800)}ms"})
        self.saw(status, headers)
        return True

    async def begin(self, c, path, body):
        c.send("POST", path, {**body, "stream": True})
        status, headers = await c.head()
        if self.saw(status, headers):
            return headers
        async for _ in c.chunks(headers):
            pass
        return None

    async def finish(self, c, headers, words=None):
        start, first, n = time.monotonic(), None, 0
        async for event in c.events(headers):
            if "error" in event:
                self.counts["errors in mid-stream"] += 1
                continue
            n += len(harness.chunk_text(event).split())
            first = first or time.monotonic() - start
        if words and n != words:
            self.wrong["words lost or doubled"] += 1
        self.counts["streams whole"] += 1
        return first

    async def null_stream(self, c):
        headers = await self.begin(c, COMPLETIONS, {"model": "null", "prompt": "x", "max_tokens": NULL_TOKENS})
        if headers:
            await self.finish(c, headers, NULL_TOKENS)
        return True

    async def demo_stream(self, c):
        body = {"model": DEMO, "messages": [{"role": "user", "content": "Tell me a story about a fox"}], "max_tokens": 100}
        headers = await self.begin(c, CHAT, body)
        if headers:
            await self.finish(c, headers)
        return True

    async def slow_reader(self, c):
        c.writer.transport.pause_reading()  # what we do not read shall not be read for us either
        c.reader._limit = 4096
        c.writer.transport.resume_reading()
        headers = await self.begin(c, COMPLETIONS, {"model": "null", "prompt": "x", "max_tokens": SLOW_TOKENS})
        for _ in range(20 if headers else 0):
            if self.over() or not await c.reader.read(512):
                break
            await asyncio.sleep(0.25)
        self.counts["slow readers"] += 1
        return headers is None

    async def gone_in_request(self, c):
        whole = b'POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"model":"null"'
        c.writer.write(whole[: self.random.randrange(1, len(whole))])
        await asyncio.sleep(self.random.random())
        self.counts["gone in mid-request"] += 1
        return False

    async def gone_in_stream(self, c):
        model = self.random.choice(("null", DEMO))
        headers = await self.begin(c, COMPLETIONS, {"model": model, "prompt": "Once", "max_tokens": 400, "ignore_eos": True})
        if headers:
            await c.reader.read(100)
            self.counts["gone in mid-stream"] += 1
        return headers is None

    async def gone_at_once(self, c):
        c.send("POST", COMPLETIONS, {"model": "delay", "prompt": "3s"})
        await asyncio.sleep(0.2 * self.random.random())
        self.counts["gone while waiting"] += 1
        return False

    async def client(self):
        where = self.d.port if self.random.random() < 0.1 else self.d.socket
        kinds = (self.whole, self.null_stream, self.demo_stream, self.slow_reader, self.gone_in_request, self.gone_in_stream, self.gone_at_once)
        c, usable = Client(where), False
        while not self.over():
            kind = self.random.choices(kinds, (30, 30, 20, 2, 6, 6, 6))[0]
            try:
                if not usable:
                    c = Client(where)
                    await c.connect()
                    self.counts["connections"] += 1
                usable = await kind(c)
            except (Cut, ConnectionError) as e:
                self.wrong[f"{kind.__name__}: {type(e).__name__}: {e}"] += 1
                usable = False
            if not usable:
                c.close(reset=self.random.random() < 0.5)
            await asyncio.sleep(min(6 * self.random.random(), max(0, self.end - time.monotonic())))
        c.close()

    async def kill_engines(self, every):
        while not self.over():
            await asyncio.sleep(every * (0.5 + self.random.random()))
            pid = (await self.status())["pools"][0]["pid"]
            if pid and not self.over():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.counts["engines killed"] += 1

    async def status(self):
        c = Client(self.d.socket)
        await c.connect()
        _, _, body = await c.request("GET", "/zerollama/status")
        c.close()
        return json.loads(body)

    async def run(self, n, kill_every):
        clients = [asyncio.create_task(self.client()) for _ in range(n)]
        tasks = [*clients, asyncio.create_task(self.kill_engines(kill_every))]
        _, late = await asyncio.wait(tasks, timeout=self.end - time.monotonic() + 60)
        for t in late:
            t.cancel()
        for t in tasks:
            if t.done() and not t.cancelled() and t.exception():
                raise t.exception()
        return len(late)


def look(d, seen):
    start = time.monotonic()
    d.get("/health")
    seen["health"].append(time.monotonic() - start)
    seen["rss"].append(d.rss())
    m = d.metrics()
    seen["connections"].append(int(m["zerollama_connections"]))
    seen["daemon"].append(m['zerollama_loop_longest_seconds{process="daemon"}'])
    seen["engine"].append(m['zerollama_loop_longest_seconds{process="engine",pool="default"}'])
    seen["daemon cpu"].append(m['zerollama_loop_longest_cpu_seconds{process="daemon"}'])
    seen["engine cpu"].append(m['zerollama_loop_longest_cpu_seconds{process="engine",pool="default"}'])


def watch(d, end):
    """Once a second, from a process that is not busy: how long /health takes, memory, connections, the loops. Returns a
    function that waits for the figures."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            seen = collections.defaultdict(list)
            while time.monotonic() < end:
                time.sleep(1)
                look(d, seen)
            with os.fdopen(w, "w") as f:
                json.dump(seen, f)
        finally:
            os._exit(0)
    os.close(w)

    def figures():
        with os.fdopen(r) as f:
            text = f.read()
        os.waitpid(pid, 0)
        return json.loads(text)

    return figures


def main():
    p = common.parser(__doc__)
    p.add_argument("--seconds", type=float, default=120)
    p.add_argument("--connections", type=int, default=10000)
    p.add_argument("--kill-every", type=float, default=10, metavar="SECONDS")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--hold", action="store_true", help="wait for Enter before the daemon is ended, for a debugger")
    args = p.parse_args()
    n = min(args.connections, common.allow_files(args.connections + 1000) - 200)
    report = common.Report("overload", args)
    d = TcpDaemon(config(n), models=(DEMO,))
    d.complete(model=DEMO, max_tokens=1)  # the engine is there, and its descriptor
    d.wait_idle()
    fds, rss, pid = d.fds(), d.rss(), d.pid

    crowd = Crowd(d, args.seconds, random.Random(args.seed))
    figures = watch(d, crowd.end)
    hang = asyncio.run(crowd.run(n, args.kill_every))
    seen = figures()
    d.wait_idle()
    with contextlib.suppress(AssertionError):
        harness.wait_until(lambda: d.fds() <= fds, "descriptors to be closed", 5)

    m, o = d.metrics(), d.outcomes()
    admitted, ended = d.admitted(), o["completed"] + o["failed"] + o["cancelled"]
    held = sum(v for k, v in m.items() if "requests_running" in k or "requests_waiting" in k or "user_memory_bytes" in k)
    bound = (2 * MEMORY_PER_USER + n * 64 * 1024) // 1024 + rss
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        peak = int(next(line.split()[1] for line in f if line.startswith("VmHWM")))
    if args.hold:
        input(f"daemon {pid}, engine {d.engine_pid()}; Enter ends them ")

    c = crowd.counts
    for name in sorted(c):
        report.row(name, c[name])
    report.row("connections open, most", max(seen["connections"]))
    report.row("requests a second", sum(v for k, v in c.items() if k.startswith("status")) / args.seconds)
    report.row("jobs admitted", admitted)
    report.row("jobs completed / failed / cancelled", f"{o['completed']} / {o['failed']} / {o['cancelled']}")
    report.row("jobs posted again", int(m["zerollama_job_restarts_total"]))
    report.row("/health, median", 1e3 * common.percentile(seen["health"], 50), "ms")
    report.row("/health, p99", 1e3 * common.percentile(seen["health"], 99), "ms")
    report.row("daemon memory, at first", rss / 1024, "MiB")
    report.row("daemon memory, most", peak / 1024, "MiB", f"< {bound // 1024} MiB")
    half = len(seen["rss"]) // 2
    report.row("daemon memory, most in the first / second half", f"{max(seen['rss'][:half]) / 1024:.0f} / {max(seen['rss'][half:]) / 1024:.0f}", "MiB")
    report.row("daemon memory after, no connections", d.rss() / 1024, "MiB")
    report.row("longest turn of the daemon's loop", 1e3 * max(seen["daemon"]), "ms", "< 5 ms")
    report.row("longest turn of an engine's loop", 1e3 * max(seen["engine"]), "ms", "< 5 ms")
    report.row("most processor time of a turn, daemon", 1e3 * max(seen["daemon cpu"]), "ms", "< 5 ms")
    report.row("most processor time of a turn, engine", 1e3 * max(seen["engine cpu"]), "ms", "< 5 ms")
    report.must(d.process.poll() is None and d.pid == pid, "the daemon lives")
    report.must(not crowd.wrong, "every answer whole, or refused in order", dict(crowd.wrong))
    report.must(hang == 0, "no client hangs", hang)
    report.must(c["status 429"] > 0 and c["status 503"] > 0, "queues and users were over their limits")
    report.must(admitted == ended, "every admitted job ended once", f"{admitted} admitted, {ended} ended")
    report.must(held == 0, "nothing runs, waits or is held afterwards", held)
    report.must(d.fds() <= fds, "descriptors as before", f"{fds} before, {d.fds()} after")
    report.must(peak < bound, "daemon memory bounded")
    try:
        d.stop()
        report.must(True, "the daemon ends with 0")
    except AssertionError as e:
        report.must(False, "the daemon ends with 0", e)
    report.end()


if __name__ == "__main__":
    main()
