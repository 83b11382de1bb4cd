"""What the benches share: the daemon of the integration tests, clients by the thousand, and a report.

Run them in the build directory, or with top_builddir set to it. An invariant is what must hold on any machine; when one
is broken the bench exits with 1. A speed is only shown, with what we aim at beside it."""

import argparse
import asyncio
import errno
import json
import math
import os
import platform
import random
import resource
import socket
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests"))
import harness  # noqa: E402

DEMO = "demo"
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
REFUSED = (429, 503)


def parser(doc):
    p = argparse.ArgumentParser(description=doc.split("\n", 1)[0])
    p.add_argument("--json", metavar="FILE", help="write the results there as well")
    return p


def allow_files(n):
    """Descriptors for this process and the daemon it starts; as many as there may be."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        n = min(n, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (n, hard))
    return n


def percentile(values, p):
    """By nearest rank: the least value that p % are not above. 0 of nothing: a row is shown all the same."""
    values = sorted(values)
    return values[max(0, math.ceil(len(values) * p / 100) - 1)] if values else 0.0


# ---- HTTP, as little as the benches need ----


class Cut(Exception):
    """The daemon closed the connection before the answer was whole."""


class Client:
    """One connection; `where` is a socket's path or a TCP port of this host."""

    def __init__(self, where):
        self.where = where
        self.reader = self.writer = None

    async def connect(self):
        if isinstance(self.where, int):
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.where)
            return
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.setblocking(False)
        while True:
            try:
                s.connect(self.where)
                break
            except OSError as e:
                if e.errno != errno.EAGAIN:  # the backlog is full; nothing tells when it no longer is
                    s.close()
                    raise
            await asyncio.sleep(0.01 + 0.04 * random.random())
        self.reader, self.writer = await asyncio.open_unix_connection(sock=s)

    def send(self, method, path, body=None):
        body = json.dumps(body).encode() if body is not None else b""
        self.writer.write(b"%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (method.encode(), path.encode(), len(body)) + body)

    async def head(self):
        """(status, headers)"""
        try:
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        except (asyncio.IncompleteReadError, ConnectionError) as e:
            raise Cut("no answer") from e
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split()[1]), headers

    async def chunks(self, headers):
        """The parts of a body as they come."""
        try:
            if "content-length" in headers:
                yield await self.reader.readexactly(int(headers["content-length"]))
                return
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                yield (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readexactly(2)
        except (asyncio.IncompleteReadError, ConnectionError) as e:
            raise Cut("answer cut off") from e

    async def events(self, headers):
        """The parsed events of a stream, which must end with [DONE]."""
        rest, done = b"", False
        async for part in self.chunks(headers):
            *lines, rest = (rest + part).split(b"\n\n")
            for line in lines:
                if done:
                    raise Cut("more after the end")
                if line == b"data: [DONE]":
                    done = True
                else:
                    yield json.loads(line[6:])
        if not done:
            raise Cut("the stream has no end")

    async def request(self, method, path, body=None):
        """(status, headers, body)"""
        self.send(method, path, body)
        status, headers = await self.head()
        return status, headers, b"".join([part async for part in self.chunks(headers)])

    async def stream(self, path, body):
        """(status, text, time to first token, number of tokens); text is None where it was refused."""
        start = time.monotonic()
        self.send("POST", path, {**body, "stream": True, "stream_options": {"include_usage": True}})
        status, headers = await self.head()
        if status != 200:
            async for _ in self.chunks(headers):
                pass
            return status, None, 0.0, 0
        text, first, usage = "", None, None
        async for event in self.events(headers):
            if "error" in event:
                return 500, event["error"]["message"], 0.0, 0
            if event["choices"]:
                part = harness.chunk_text(event)
                if part and first is None:
                    first = time.monotonic() - start
                text += part
            usage = event.get("usage") or usage
        return status, text, first, usage["completion_tokens"]

    def close(self, reset=False):
        """reset: with TCP's RST instead of FIN; a Unix socket with something unread resets anyway."""
        if not self.writer:
            return
        if reset and isinstance(self.where, int):
            s = self.writer.get_extra_info("socket")
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()
        self.writer = None


# ---- the report ----


def cpu_name():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        return next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), platform.machine())


def busy_others():
    """Seconds of processor time that everybody has used so far."""
    with open("/proc/stat", encoding="ascii") as f:
        t = [int(n) for n in f.readline().split()[1:]]
    return (sum(t[:8]) - t[3] - t[4]) / os.sysconf("SC_CLK_TCK")


class Report:
    """Collects rows and invariants, and ends the program."""

    def __init__(self, name, args):
        self.name, self.path = name, args.json
        self.rows, self.broken = [], []
        self.start, self.busy, self.load = time.monotonic(), busy_others(), os.getloadavg()[0]

    def row(self, what, value, unit="", aim=""):
        self.rows.append({"what": what, "value": value, "unit": unit, "aim": aim})

    def must(self, holds, what, detail=""):
        self.row(what, "yes" if holds else "NO" + (f": {detail}" if detail else ""), "", "yes")
        if not holds:
            self.broken.append(what)

    def machine(self):
        took, cores = time.monotonic() - self.start, os.cpu_count()
        return {
            "cpu": cpu_name(),
            "cores": cores,
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "kernel": platform.release(),
            "load_before": round(self.load, 2),
            "load_after": round(os.getloadavg()[0], 2),
            "processors_busy": round((busy_others() - self.busy) / took / cores, 2),
            "seconds": round(took, 1),
        }

    def table(self):
        cells = [("what", "value", "aim")]
        for r in self.rows:
            v = f"{r['value']:.4g}" if isinstance(r["value"], float) else str(r["value"])
            cells.append((r["what"], f"{v} {r['unit']}".strip(), r["aim"]))
        w = [max(len(c[i]) for c in cells) for i in range(3)]
        lines = [f"| {a:<{w[0]}} | {b:>{w[1]}} | {c:<{w[2]}} |" for a, b, c in cells]
        lines.insert(1, f"|{'-' * (w[0] + 2)}|{'-' * (w[1] + 1)}:|{'-' * (w[2] + 2)}|")
        return "\n".join(lines)

    def end(self):
        m = self.machine()
        print(f"# {self.name}\n\n{self.table()}\n")
        print(f"Machine: {m['cpu']}, {m['cores']} cores, {m['memory_gib']} GiB, Linux {m['kernel']}. Noise: load {m['load_before']} before"
              f" and {m['load_after']} after, processors {m['processors_busy']:.0%} busy (this bench included), {m['seconds']} s.")
        if self.path:
            with open(self.path, "w", encoding="utf-8") as f:
                json.dump({"bench": self.name, "machine": m, "results": self.rows, "broken": self.broken}, f, indent=1)
                f.write("\n")
        sys.exit(1 if self.broken else 0)
