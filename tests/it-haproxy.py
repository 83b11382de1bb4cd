#!/usr/bin/env python3
"""HAProxy with etc/haproxy/zerollama.cfg before three daemons, as if on three machines: requests are spread over all of
them, one after the other is drained, ended and started again under load without a request that fails, and none fails
when all are slow for a while. Skipped where haproxy is not installed."""

import collections
import http.client
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
from harness import PATIENCE, SKIP, SRC, Case, Daemon, figure, free_port, main, wait_until  # noqa: E402

HAPROXY = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin")
NAMES = ("one", "two", "three")
CLIENTS = 8
# What clients ask for, in turn: something short, a stream of many pieces, and one that takes long to begin.
REQUESTS = (
    {"model": "delay", "prompt": "5ms"},
    {"model": "null", "prompt": "x", "max_tokens": 500, "stream": True},
    {"model": "delay", "prompt": "400ms", "stream": True},
)
STANDSTILL = 4  # seconds
LARGE = {"model": "null", "prompt": "word " * 50000, "max_tokens": 3}  # HAProxy cannot send it twice


class Proxy:
    """HAProxy with the sample configuration, in which only addresses and the path of its own socket are replaced."""

    def __init__(self, directory, ports):
        self.port = free_port()
        self.socket = os.path.join(directory, "admin.sock")
        self.log_path = os.path.join(directory, "haproxy.log")
        with open(os.path.join(SRC, "etc", "haproxy", "zerollama.cfg"), encoding="utf-8") as f:
            text = f.read()
        changes = {"stats socket": self.socket, "bind": f"127.0.0.1:{self.port}"}
        changes |= {f"server {name}": f"127.0.0.1:{port}" for name, port in zip(NAMES, ports)}
        for what, value in changes.items():
            text, n = re.subn(rf"(?m)^( +{what}) \S+", lambda m, v=value: f"{m[1]} {v}", text)
            assert n == 1, what
        path = os.path.join(directory, "haproxy.cfg")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([HAPROXY, "-db", "-f", path], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        wait_until(lambda: self.listens() or self.process.poll() is not None, "haproxy")
        assert self.process.poll() is None, self.log()

    def listens(self):
        """Its socket is there a moment before it takes connections."""
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(self.socket) == 0

    def say(self, command):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(PATIENCE)
            s.connect(self.socket)
            s.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: s.recv(65536), b"")).decode()

    def is_up(self, name):
        rows = [line.split(",") for line in self.say("show stat").splitlines()]
        return any(row[:2] == ["zerollama", name] and row[17] == "UP" for row in rows)

    def used(self, name):
        """Connections that carry a request now."""
        lines = self.say("show servers conn zerollama").splitlines()
        head = next(line for line in lines if line.startswith("#")).lstrip("# ").split()
        row = next(line.split() for line in lines if line.startswith(f"zerollama/{name} "))
        return int(row[head.index("used_cur")])

    def stop(self):
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def troubles(self):
        """What it says of servers that come and go, and of requests that it answered itself."""
        return "\n".join(line for line in self.log().splitlines() if "WARN" in line or "ALERT" in line or "<NOSRV>" in line)


class Load:
    """Clients that ask without a pause, each request on a connection of its own, and look closely at the answers."""

    def __init__(self, proxy, requests):
        self.proxy = proxy
        self.requests = requests
        self.over = threading.Event()
        self.done = collections.Counter()
        self.failures = []
        self.threads = [threading.Thread(target=self.client, args=(i,), daemon=True) for i in range(CLIENTS)]
        for t in self.threads:
            t.start()

    def client(self, i):
        for body in itertools.islice(itertools.cycle(self.requests), i, None):
            if self.over.is_set():
                return
            try:
                self.ask(body)
                self.done[body["model"]] += 1
            except Exception as e:  # noqa: B902: every failure counts, of whatever kind
                self.failures.append(f"{str(body)[:100]}: {e!r}")

    def ask(self, body):
        c = http.client.HTTPConnection("127.0.0.1", self.proxy.port, timeout=2 * PATIENCE)
        try:
            c.request("POST", "/v1/completions", json.dumps(body))
            response = c.getresponse()
            text = response.read().decode()
        finally:
            c.close()
        assert response.status == 200, f"{response.status} {text}"
        if body.get("stream"):
            assert text.endswith("data: [DONE]\n\n"), f"cut off: {text[-100:]!r}"
            assert '"error"' not in text, text[-300:]
        else:
            assert json.loads(text)["choices"][0]["finish_reason"], text

    @property
    def n(self):
        return sum(self.done.values())

    def until(self, condition, what):
        """The load goes on until then. A failure ends the test where it happens."""
        wait_until(lambda: condition() or self.failures, what)
        assert not self.failures, f"{self.failures[0]}\n{self.proxy.troubles()[-3000:]}"

    def more(self, n):
        goal = self.n + n
        self.until(lambda: self.n >= goal, f"{n} more requests")

    def finish(self):
        self.stop()
        self.until(lambda: True, "the end")

    def stop(self):
        self.over.set()
        for t in self.threads:
            t.join(2 * PATIENCE)
        assert not any(t.is_alive() for t in self.threads), "clients hang"


class HaproxyTest(Case):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="zl-")
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.ports = [free_port() for _ in NAMES]
        self.daemons = [self.start_daemon(i) for i in range(len(NAMES))]
        self.proxy = Proxy(self.directory, self.ports)
        self.addCleanup(self.proxy.stop)
        for name in NAMES:
            wait_until(lambda n=name: self.proxy.is_up(n), f"{name} to be up")

    def start_daemon(self, i):
        path = os.path.join(self.directory, NAMES[i])
        d = Daemon({"listen": [{"unix": path}, {"tcp": f"127.0.0.1:{self.ports[i]}"}]}, models=())
        self.addCleanup(d.stop)
        d.socket = path
        return d

    def load(self, *more):
        load = Load(self.proxy, REQUESTS + more)
        self.addCleanup(load.stop)
        return load

    def replace(self, i):
        """The daemon ends in order and comes back on the same address."""
        self.daemons[i].stop()
        self.daemons[i] = self.start_daemon(i)

    def is_used_again(self, i, load):
        load.until(lambda: self.daemons[i].admitted() > 0, f"requests to come to {NAMES[i]} again")

    def test_spread(self):
        load = self.load()
        load.more(60)
        load.finish()
        admitted = [d.admitted() for d in self.daemons]
        self.assertEqual(sum(admitted), load.n)
        self.assertGreater(min(admitted), 0)
        figure(f"{load.n} requests spread over three daemons: {admitted}")

    def test_drain(self):
        """As the configuration tells administrators to do it."""
        load = self.load(LARGE)
        load.more(10)
        for i, name in enumerate(NAMES):
            self.proxy.say(f"set server zerollama/{name} state drain")
            load.until(lambda n=name: self.proxy.used(n) == 0, f"{name} to be free")
            before = self.daemons[i].admitted()
            load.more(30)
            self.assertEqual(self.daemons[i].admitted(), before, "a drained daemon got requests")
            self.replace(i)
            self.proxy.say(f"set server zerollama/{name} state ready")
            self.is_used_again(i, load)
        load.finish()
        figure(f"three drained and restarted in turn during {load.n} requests: none failed")

    def test_unannounced(self):
        """A daemon that is told to end while HAProxy knows nothing: what it has begun it finishes, and what it did not take
        any more goes to another one."""
        load = self.load()
        load.more(10)
        for i, name in enumerate(NAMES):
            self.replace(i)
            load.until(lambda n=name: self.proxy.is_up(n), f"{name} to be up")
            self.is_used_again(i, load)
        load.finish()
        figure(f"three restarted unannounced during {load.n} requests: none failed")

    def test_standstill(self):
        """All stand still for longer than two checks take: their requests wait, and nobody is told that no server is there."""
        load = self.load()
        load.more(10)
        for d in self.daemons:
            os.kill(d.process.pid, signal.SIGSTOP)
        time.sleep(STANDSTILL)
        for d in self.daemons:
            os.kill(d.process.pid, signal.SIGCONT)
        load.more(30)
        load.finish()


if __name__ == "__main__":
    if not HAPROXY:
        print("SKIP: haproxy is not installed")
        sys.exit(SKIP)
    main()
