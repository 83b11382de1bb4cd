#!/usr/bin/env python3
"""The daemon under a service manager, which this test plays: what is kept across restarts, idle exit, draining, the
watchdog, status, credentials. Needs no systemd and no root, so that it holds for every build; it-systemd.py asks the same of
the real one."""

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
from harness import (  # noqa: E402
    BUILD, PATIENCE, PROMPT, SRC, STORIES, Answer, Case, UnixConnection, chunk_text, figure, frozen, main, wait_until,
)

HALF = 8 << 20  # layout of the kept state: src/daemon/state.c
HEAD, USER, GROUPS = struct.Struct("<8sIIII QQ 6Q"), struct.Struct("<II256sdQQQQ"), 256


def checksum(data):
    value = 0xCBF29CE484222325
    for b in data:
        value = (value ^ b) * 0x100000001B3 % 2**64
    return value


def state(users=(), n_users=None, n_models=0, version=1, sequence=1, sum_of=checksum, jobs=(0,) * 6, tail=b""):
    """A half of the kept state."""
    records = b"".join(users) + tail
    after = struct.pack("<7Q", sequence, *jobs)
    basis = sum_of(after + records)
    n_users = len(users) if n_users is None else n_users
    return HEAD.pack(b"ZLSTATE\0", version, n_users, n_models, 0, basis, sequence, *jobs) + records


def memfd(data=b"", at=0):
    fd = os.memfd_create("state")
    os.pwrite(fd, data, at)
    return fd


class ServiceCase(Case):
    """A manager that holds a socket, and starts daemons on it."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="zl-")
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, "api.sock")
        self.socket = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.socket.close)
        self.socket.bind(self.path)
        self.socket.listen(128)

    def serve(self, config=None, **kw):
        d = self.start(config, sockets=(self.socket,), **kw)
        d.socket = self.path
        return d

    def kept(self, d):
        """What it gave to be kept; ours from now on."""
        wait_until(lambda: "state" in d.manager.store, "FDSTORE=1")
        fd = os.dup(d.manager.store["state"][0])
        self.addCleanup(os.close, fd)
        return {"state": fd}


class KeepTest(ServiceCase):
    KEYS = ("zerollama_jobs_total{outcome=\"completed\"}", f"zerollama_requests_total{{model=\"{STORIES}\"}}",
            f"zerollama_generation_tokens_total{{model=\"{STORIES}\"}}", f"zerollama_user_tokens_total{{uid=\"{os.getuid()}\"}}",
            f"zerollama_e2e_request_latency_seconds_count{{model=\"{STORIES}\"}}")  # fmt: skip

    def counters(self, d):
        m = d.metrics()
        return {k: m[k] for k in self.KEYS}

    def test_restart_and_crash(self):
        """Counters and budgets go on, whether it ended in order or not; one descriptor is kept, however often."""
        config = {"user_defaults": {"tokens_per_minute": 60}}
        d = self.serve(config)
        d.complete(max_tokens=40)
        before = self.counters(d)
        stored = self.kept(d)
        d.stop()
        d = self.serve(config, stored=stored, code=-signal.SIGKILL)
        self.assertEqual(self.counters(d), before)
        d.complete(max_tokens=40)
        spent = self.counters(d)
        self.assertGreater(spent[self.KEYS[2]], before[self.KEYS[2]])
        self.assertEqual(d.post("/v1/completions", {"model": STORIES, "prompt": "x"}).status, 429)
        time.sleep(2.5)  # it is written about once a second
        d.process.kill()
        d.wait_exit()
        d = self.serve(config, stored=stored)
        after = self.counters(d)
        self.assertEqual({k: after[k] for k in self.KEYS[:4]}, {k: spent[k] for k in self.KEYS[:4]})
        self.assertEqual(d.post("/v1/completions", {"model": STORIES, "prompt": "x"}).status, 429)
        self.assertNotIn("cannot be used", d.log())
        self.assertEqual(d.manager.store, {}, "what was passed is kept already")

    def test_hostile(self):
        """Nothing that can be handed over keeps it from starting; what makes no sense is left, and that is said."""
        user = USER.pack(4242, 2**32 - 1, b"\xff" * GROUPS, float("nan"), 2**64 - 1, 2**64 - 1, 2**64 - 1, 7)
        good = state([user], jobs=(2**64 - 1,) * 6)
        pipe_r, pipe_w = os.pipe()
        null = os.open("/dev/null", os.O_RDWR)
        whole = memfd(good)
        cases = {
            "empty": memfd(), "text": memfd(b"what is this" * 100), "cut": memfd(good[:-1]), "other version": memfd(state([user], version=2)),
            "flipped": memfd(good[:-1] + b"\x09"), "wrong sum": memfd(state([user], sum_of=lambda _: 1)),
            "many users": memfd(state(n_users=2**32 - 1)), "many models": memfd(state(n_models=2**32 - 1)),
            "more than there is": memfd(state(n_users=4096)), "pipe": pipe_r, "null": null, "socket": self.socket.fileno(),
            "read only": os.open(f"/proc/self/fd/{whole}", os.O_RDONLY),
        }  # fmt: skip
        for name, fd in cases.items():
            with self.subTest(name):
                d = self.serve(stored={"state": fd})
                self.assertEqual(d.get("/health").status, 200)
                says = "cannot keep accounts" if name == "read only" else "begin anew"
                self.assertEqual((d.log().count("accounts"), d.log().count(says)), (1, 1), d.log())
                d.stop()
        os.close(pipe_w)
        d = self.serve(stored={"state": memfd(good, at=HALF)})  # in the other half, with values that nobody would believe
        self.assertEqual(d.metrics()['zerollama_user_requests_total{uid="4242"}'], 7)
        self.assertTrue(d.complete(max_tokens=3))
        d.get("/zerollama/status")

    def test_newer_half(self):
        def half(n):
            return state([USER.pack(4242, 0, bytes(GROUPS), 0.0, 0, 0, 0, n)], sequence=n)

        for first, second in ((5, 6), (6, 5)):
            fd = memfd(half(first))
            os.pwrite(fd, half(second), HALF)
            d = self.serve(stored={"state": fd})
            self.assertEqual(d.metrics()['zerollama_user_requests_total{uid="4242"}'], 6)
            d.stop()


class IdleTest(ServiceCase):
    CONFIG = {"idle_exit": "1s", "pools": [{"name": "default", "idle_exit": "1s"}], "model_defaults": {"keep_alive": "1s"}}

    def test_idle_exit(self):
        """It ends by itself, in order, and who comes meanwhile is served by the next."""
        d = self.serve(self.CONFIG)
        text = d.complete(max_tokens=3)
        engine = d.engine_pid()
        began = time.monotonic()
        self.assertEqual(d.wait_exit(), 0)
        figure(f"idle_exit 1 s: gone after {time.monotonic() - began:.1f} s")
        self.assertFalse(os.path.exists(f"/proc/{engine}"))
        stopping, _ = d.manager.wait("STOPPING=1")
        d.manager.wait("BARRIER=1", stopping)
        self.assertTrue(os.path.exists(self.path))
        late = UnixConnection(self.path)
        late.request("GET", "/health")
        d = self.serve(self.CONFIG)
        self.assertEqual(Answer(late.getresponse()).status, 200)
        late.close()
        self.assertEqual(d.complete(max_tokens=3), text)

    def test_not_idle(self):
        """A connection, a loaded model, a spent budget, a socket of its own: each keeps it."""
        own = self.start(self.CONFIG)
        pinned = self.serve({**self.CONFIG, "model_defaults": {"keep_alive": "forever"}})
        pinned.complete(max_tokens=3)
        time.sleep(3)
        for d in (own, pinned):
            self.assertIsNone(d.process.poll())
        pinned.stop()
        connected = self.serve(self.CONFIG)
        c = connected.connect()
        connected.get("/health", connection=c)
        time.sleep(3)
        self.assertIsNone(connected.process.poll())
        c.close()
        self.assertEqual(connected.wait_exit(), 0)
        spender = self.serve({**self.CONFIG, "user_defaults": {"tokens_per_minute": 60}})
        spender.complete(max_tokens=10)
        time.sleep(4)
        self.assertIsNone(spender.process.poll())
        self.assertEqual(spender.wait_exit(), 0)


class TellTest(ServiceCase):
    def test_drain(self):
        """Time is asked for; a connection that was let in and has not spoken yet is still answered."""
        d = self.serve({"limits": {"drain_timeout": "100s"}})
        c = d.connect()
        c.connect()
        wait_until(lambda: d.status()["connections"] == 2, "the connection to be let in")
        d.process.send_signal(signal.SIGTERM)
        i, _ = d.manager.wait("STOPPING=1")
        self.assertIn("EXTEND_TIMEOUT_USEC=105000000", d.manager.messages[i][1].split("\n"))
        c.request("GET", "/health")
        answer = Answer(c.getresponse())
        self.assertEqual((answer.status, answer.headers["Connection"]), (200, "close"))
        self.assertEqual(d.wait_exit(), 0)

    def test_silent_connection_does_not_hold(self):
        d = self.serve()
        c = d.connect()
        c.connect()
        wait_until(lambda: d.status()["connections"] == 2, "the connection to be let in")
        d.process.send_signal(signal.SIGTERM)
        self.assertEqual(d.wait_exit(), 0)
        c.close()

    def test_status(self):
        d = self.serve()
        for _ in range(3):
            d.complete(max_tokens=200)
        d.manager.wait(f"STATUS=0 running, 0 waiting, 0 tokens/s; {STORIES} loaded")
        wait_until(lambda: re.search(r"STATUS=.* [1-9]\d* tokens/s", str(d.manager.messages)), "a rate")
        with open(d.config_path, "w", encoding="ascii") as f:
            f.write("limits:\n  conections: 5\n")
        d.process.send_signal(signal.SIGHUP)
        wait_until(lambda: re.search(r"STATUS=.*not that of the file: .*config.yaml:2:", str(d.manager.messages)), "the error")
        d.write_config({})
        n = len(d.manager.messages)
        d.process.send_signal(signal.SIGHUP)
        d.manager.wait("STATUS=0 running, 0 waiting, 0 tokens/s", n)
        self.assertNotIn("not that of", d.manager.messages[-1][1])

    def test_watchdog(self):
        """Fed while an engine stalls, which is the daemon's to mend; not while the daemon itself does."""
        d = self.serve({"limits": {"stall_timeout": "2s"}}, env={"WATCHDOG_USEC": "400000"})
        d.complete(max_tokens=1)
        stream = d.stream("/v1/completions", {"model": STORIES, "prompt": "x", "max_tokens": 400, "ignore_eos": True})
        chunks = iter(stream)
        next(chunks)
        os.kill(d.engine_pid(), signal.SIGSTOP)
        n = len(d.manager.messages)
        wait_until(lambda: d.status()["pools"][0]["restarts"] == 1, "the engine to be replaced")
        self.assertGreater(sum(m == "WATCHDOG=1" for _, m in d.manager.messages[n:]), 2)
        for _ in chunks:
            pass
        stream.close()
        with frozen(d.pid):
            time.sleep(0.1)
            n = len(d.manager.messages)
            time.sleep(1)
            self.assertEqual(len(d.manager.messages), n)
        d.manager.wait("WATCHDOG=1", n)

    def test_credential(self):
        with tempfile.TemporaryDirectory() as directory, socket.create_server(("127.0.0.1", 0)) as tcp:
            with open(os.path.join(directory, "zerollama.key"), "w", encoding="ascii") as f:
                f.write("open sesame\n")
            self.start({}, sockets=(self.socket, tcp), env={"CREDENTIALS_DIRECTORY": directory})
            for key, status in (("", b"401"), ("Authorization: Bearer open sesame\r\n", b"200")):
                with socket.create_connection(tcp.getsockname(), PATIENCE) as s:
                    s.sendall(f"GET /api/tags HTTP/1.1\r\nHost: localhost\r\n{key}\r\n".encode())
                    self.assertEqual(s.recv(100).split()[1], status)
            local = UnixConnection(self.path)
            local.request("GET", "/api/tags")
            self.assertEqual(Answer(local.getresponse()).status, 200)
            local.close()


class SleepTest(Case):
    BUS = """<busconfig><type>system</type><listen>unix:path={}</listen><auth>EXTERNAL</auth><policy context="default">
<allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/></policy></busconfig>"""

    def start_program(self, *args, **kw):
        p = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=0, **kw)

        def end():
            p.kill()
            p.wait()
            p.stdin.close()
            p.stdout.close()

        self.addCleanup(end)
        return p

    def start_logind(self, directory):
        """On a bus of its own; the environment in which both are found."""
        bus, logind = os.path.join(directory, "bus"), os.path.join(BUILD, "tests", "fake-logind")
        if not os.path.exists(logind) or not shutil.which("dbus-daemon"):
            self.skipTest("built without systemd, or no dbus-daemon")
        with open(bus + ".conf", "w", encoding="ascii") as f:
            f.write(self.BUS.format(bus))
        self.bus = self.start_program("dbus-daemon", f"--config-file={bus}.conf", "--nofork", "--nopidfile", stderr=subprocess.DEVNULL)
        wait_until(lambda: os.path.exists(bus), "a bus")
        env = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={bus}"}
        p = self.start_program(logind, env={**os.environ, **env})
        self.assertEqual(p.stdout.readline(), "ready\n")
        return p, env

    def test_two_nights(self):
        """Engines leave before the machine sleeps, which waits for that; jobs wait, and go on when it is awake."""
        with tempfile.TemporaryDirectory() as directory:
            logind, env = self.start_logind(directory)
            d = self.start({"model_defaults": {"queue_timeout": "2s"}}, env=env)
            self.assertEqual(logind.stdout.readline(), "inhibited\n")
            body = {"model": STORIES, "prompt": PROMPT, "max_tokens": 400, "ignore_eos": True, "temperature": 0}
            expected = d.stream("/v1/completions", body).text()
            for _ in range(2):
                stream = d.stream("/v1/completions", body)
                chunks = iter(stream)
                text = chunk_text(next(chunks))
                engine = d.engine_pid()
                with frozen(engine):
                    time.sleep(2.2)  # longer than it might have waited in the queue, where it comes again
                    logind.stdin.write("s")
                    self.assertEqual(logind.stdout.readline(), "allowed\n")
                self.assertFalse(os.path.exists(f"/proc/{engine}/exe"))
                self.assertEqual(d.get("/health").status, 200)
                time.sleep(0.5)
                pool = d.status()["pools"][0]
                self.assertEqual((pool["state"], pool["waiting"], pool["restarts"]), ("stopped", 1, 0))
                logind.stdin.write("w")
                self.assertEqual(logind.stdout.readline(), "inhibited\n")
                text += "".join(chunk_text(c) for c in chunks)
                stream.close()
                self.assertEqual(text, expected)


    def test_bus_goes(self):
        """While engines are being started, which for a moment share every descriptor."""
        for _ in range(5):
            with tempfile.TemporaryDirectory() as directory:
                logind, env = self.start_logind(directory)
                d = self.start({}, env=env)
                self.assertEqual(logind.stdout.readline(), "inhibited\n")
                stream = d.stream("/v1/completions", {"model": STORIES, "prompt": "x", "max_tokens": 5})
                self.bus.kill()
                stream.text()
                self.bus.wait()
                os.kill(d.engine_pid(), signal.SIGKILL)
                self.assertTrue(d.complete(max_tokens=3))
                d.stop()


class CatalogTest(Case):
    def test_ids(self):
        """Every message that has an id is explained, and nothing else is."""
        with open(os.path.join(SRC, "src", "daemon", "message.h"), encoding="utf-8") as f:
            ids = re.findall(r'"([0-9a-f]{32})"', f.read())
        with open(os.path.join(SRC, "systemd", "zerollama.catalog"), encoding="utf-8") as f:
            explained = re.findall(r"^-- ([0-9a-f]{32})$", f.read(), re.M)
        self.assertEqual(sorted(ids), sorted(explained))
        self.assertEqual(len(set(ids)), len(ids))


if __name__ == "__main__":
    main()
