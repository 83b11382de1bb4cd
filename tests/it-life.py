#!/usr/bin/env python3
"""The daemon's life as administrators and service managers see it: start, sockets, reload, drain, idle, options."""

import grp
import json
import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
from harness import (  # noqa: E402
    BUILD, PATIENCE, PROMPT, SANITIZED, STORIES, ZEROLLAMAD, Answer, Case, UnixConnection,
    chunk_text, figure, free_port, frozen, in_parallel, main, wait_until,
)

LONG = {"model": STORIES, "max_tokens": 450, "ignore_eos": True, "temperature": 0}
RSS_MAX_KIB = 12 * 1024


def run(*args, **kw):
    return subprocess.run([ZEROLLAMAD, *args], capture_output=True, text=True, timeout=PATIENCE, **kw)


class Streams:
    """`n` streams that have begun; text() reads them to their ends, in parallel."""

    def __init__(self, d, n):
        self.bodies = [{**LONG, "prompt": f"{PROMPT}, {i} "} for i in range(n)]
        self.streams = in_parallel([lambda b=b: d.stream("/v1/completions", b) for b in self.bodies])
        self.iterators = [iter(s) for s in self.streams]
        self.texts = [chunk_text(next(i)) for i in self.iterators]

    def text(self):
        def rest(i):
            for chunk in self.iterators[i]:
                if "error" in chunk:
                    raise AssertionError(chunk)
                self.texts[i] += chunk_text(chunk)
            assert self.streams[i].done, "cut off"
            self.streams[i].close()
            return self.texts[i]

        return in_parallel([lambda i=i: rest(i) for i in range(len(self.streams))])


class EndTest(Case):
    def begin(self, n, config=None, **kw):
        d = self.start({"model_defaults": {"slots": n}, **(config or {})}, **kw)
        expected = Streams(d, n).text()
        return d, expected, Streams(d, n)

    def test_drain(self):
        """After SIGTERM what runs goes on to its end; nothing new is let in; then the exit code is 0."""
        n = 8
        d, expected, streams = self.begin(n)
        idle = d.connect()
        self.assertStatus(d.get("/health", connection=idle), 200)
        with frozen(d.engine_pid()):
            d.process.send_signal(signal.SIGTERM)
            d.manager.wait("STOPPING=1")
            with self.assertRaises(OSError):
                d.get("/health")
            a = d.get("/ready", connection=idle)
            self.assertStatus(a, 503)
            self.assertEqual((a.json()["reason"], a.headers["Connection"]), ("draining", "close"))
            self.assertIsNone(d.process.poll())
        self.assertEqual(streams.text(), expected)
        self.assertEqual(d.wait_exit(), 0)
        self.assertFalse(os.path.exists(d.socket))
        figure(f"SIGTERM with {n} streams: all complete, exit code 0")

    def test_second_signal(self):
        d, _, streams = self.begin(2)
        engine = d.engine_pid()
        with frozen(engine):
            d.process.send_signal(signal.SIGTERM)
            d.manager.wait("STOPPING=1")
            time.sleep(0.2)
            self.assertIsNone(d.process.poll())
            began = time.monotonic()
            d.process.send_signal(signal.SIGTERM)
            self.assertEqual(d.wait_exit(), 0)
            figure(f"second SIGTERM: ended after {1000 * (time.monotonic() - began):.0f} ms")
        self.assertFalse(os.path.exists(f"/proc/{engine}/exe"))
        for s in streams.streams:
            s.close()

    def test_drain_timeout(self):
        d, _, streams = self.begin(2, {"limits": {"drain_timeout": "1s"}})
        with frozen(d.engine_pid()):
            d.process.send_signal(signal.SIGINT)
            self.assertEqual(d.wait_exit(), 0)
        self.assertIn("drain_timeout", d.log())
        for s in streams.streams:
            s.close()

    def test_idle_end(self):
        d = self.start()
        began = time.monotonic()
        d.process.send_signal(signal.SIGTERM)
        self.assertEqual(d.wait_exit(), 0)
        figure(f"idle: ended {1000 * (time.monotonic() - began):.0f} ms after SIGTERM")


class ReloadTest(Case):
    def reload(self, d):
        """By SIGHUP, seen through the notify socket."""
        n = len(d.manager.messages)
        d.process.send_signal(signal.SIGHUP)
        i, _ = d.manager.wait("RELOADING=1", n)
        message = d.manager.messages[i][1]
        usec = int(next(line for line in message.split("\n") if line.startswith("MONOTONIC_USEC=")).split("=")[1])
        self.assertLess(abs(time.monotonic() * 1e6 - usec), 1e6 * PATIENCE)
        d.manager.wait("READY=1", i)

    def test_models_and_limits(self):
        d = self.start()
        d.change_config(
            models=[{"name": "second", "path": STORIES + ".gguf", "context": 32}], limits={"body_size": "2KiB"}
        )
        self.reload(d)
        a = d.post("/v1/completions", {**LONG, "model": "second", "prompt": PROMPT})
        self.assertEqual(self.assertStatus(a, 200).json()["usage"]["total_tokens"], 32)
        self.assertStatus(d.post("/v1/completions", {**LONG, "prompt": "x" * 3000}), 413)
        d.change_config(models=[], limits={})
        self.assertStatus(d.post("/zerollama/reload", ""), 200)
        self.assertStatus(d.post("/v1/completions", {**LONG, "model": "second", "prompt": PROMPT}), 404)
        d.add_model("stories260K-f16")
        d.complete(model="stories260K-f16", max_tokens=1)  # a new file needs no reload

    def test_broken(self):
        """Whatever is wrong with the file, the old configuration stays, and both ways to reload say where."""
        d = self.start({"models": [{"name": "kept", "path": STORIES + ".gguf"}]})
        for text, says in (
            ("limits:\n  conections: 5\n", ":2:"),
            ("limits: [", ""),
            ("limits:\n  connections: many\n", ":2:"),
            ("models:\n  - name: a\n    pool: nowhere\n", "nowhere"),
            ("\x00\xff", ""),
            ("listen:\n  - tcp: 0.0.0.0:80\n", "key_file"),
        ):
            with open(d.config_path, "w", encoding="latin-1") as f:
                f.write(text)
            with self.subTest(text=text):
                a = self.assertStatus(d.post("/zerollama/reload", ""), 409)
                self.assertIn("config.yaml", a.error)
                self.assertIn(says, a.error)
                self.assertStatus(d.post("/zerollama/check", ""), 409)
                before = d.log().count("was not reloaded")
                d.process.send_signal(signal.SIGHUP)
                wait_until(lambda n=before: d.log().count("was not reloaded") > n, "the message")
                self.assertIn(a.error, d.log())
                d.complete(model="kept", max_tokens=1)
        key = os.path.join(d.dir, "key")
        d.change_config(listen=[{"unix": d.socket}, {"tcp": f"127.0.0.1:{free_port()}", "key_file": key}])
        for content, says in ((None, "cannot read"), ("", "is empty"), ("\n", "is empty")):
            with self.subTest(key=content):
                if content is not None:
                    with open(key, "w", encoding="ascii") as f:
                        f.write(content)
                for route in ("/zerollama/check", "/zerollama/reload"):
                    a = self.assertStatus(d.post(route, ""), 409)
                    self.assertIn(key, a.error)
                    self.assertIn(says, a.error)
        with open(key, "w", encoding="ascii") as f:
            f.write("secret\n")
        self.assertStatus(d.post("/zerollama/check", ""), 200)
        os.unlink(d.config_path)
        self.assertStatus(d.post("/zerollama/reload", ""), 409)
        d.complete(model="kept", max_tokens=1)
        with self.assertRaises(AssertionError):
            d.manager.wait("STOPPING=1", timeout=0.1)

    def test_listeners(self):
        """A socket that cannot be opened keeps the old; a new one serves at once; an old one's connections go on."""
        d = self.start()
        port, other = free_port(), os.path.join(d.dir, "other.sock")
        first = d.config["listen"][0]
        d.change_config(listen=[first, {"unix": os.path.join(d.config_path, "impossible")}])
        a = self.assertStatus(d.post("/zerollama/reload", ""), 409)
        self.assertIn("impossible", a.error)
        self.assertStatus(d.get("/health"), 200)
        kept = d.connect()
        self.assertStatus(d.get("/health", connection=kept), 200)
        d.change_config(listen=[{"unix": other, "mode": "0600"}, {"tcp": f"127.0.0.1:{port}"}])
        self.assertStatus(d.post("/zerollama/reload", ""), 200)
        self.assertFalse(os.path.exists(d.socket))
        self.assertEqual(stat.S_IMODE(os.stat(other).st_mode), 0o600)
        self.assertStatus(d.get("/health", connection=kept), 200)
        d.socket = other
        self.assertEqual(d.status()["listeners"], [other, f"127.0.0.1:{port}"])
        with socket.create_connection(("127.0.0.1", port)) as s:
            s.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertIn(b"200", s.recv(100))
        kept.close()

    def test_during_streams(self):
        """Slots, threads, pools, listeners and limits change while streams run: none is lost, none is changed."""
        n = 10
        d = self.start({"limits": {"restarts": 0}})
        expected = Streams(d, n).text()
        cpu = {"device": "cpu", "threads": 1}
        steps = (
            {"model_defaults": {"slots": 3}},
            {"pools": [{"name": "default", **cpu}]},
            {"pools": [{"name": "default", **cpu, "threads": 2}]},
            {"pools": [{"name": "a", **cpu}, {"name": "b", **cpu}], "models": [{"name": STORIES, "pool": "b"}]},
            {"pools": [{"name": "b", **cpu}], "models": [{"name": STORIES, "pool": "b"}]},
            {"limits": {"connections_per_user": 100, "restarts": 0}},
            {"listen": [{"unix": d.socket}, {"tcp": f"127.0.0.1:{free_port()}"}]},
            {"model_defaults": {"slots": 16, "batch_tokens": 64}, "pools": [{"name": "default", **cpu}], "models": []},
        )
        over = threading.Event()

        def reload():
            try:
                for change in steps:
                    wait_until(lambda: d.status()["jobs"]["running"] > 0, "streams")
                    time.sleep(0.1)
                    d.change_config(**change)
                    self.assertStatus(d.post("/zerollama/reload", ""), 200)
            finally:
                over.set()

        def client(body, text):
            rounds = 0
            while not over.is_set():
                self.assertEqual(d.stream("/v1/completions", body).text(), text)
                rounds += 1
            return rounds

        bodies = [{**LONG, "prompt": f"{PROMPT}, {i} "} for i in range(n)]
        rounds = in_parallel([reload] + [lambda b=b, t=t: client(b, t) for b, t in zip(bodies, expected)])[1:]
        self.assertEqual(d.outcomes()["failed"], 0)
        self.assertEqual(d.status()["pools"][0]["name"], "default")
        figure(f"{len(steps)} reloads during {sum(rounds)} streams: all complete and identical")

    def test_one_at_a_time(self):
        d = self.start()
        answers = in_parallel([lambda: d.post("/zerollama/reload", "").status for _ in range(10)])
        self.assertLessEqual(set(answers), {200, 409})
        self.assertIn(200, answers)


class SocketTest(Case):
    def test_stale_live_and_foreign(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "api.sock")
            listen = {"listen": [{"unix": path, "mode": "0640"}]}
            with socket.socket(socket.AF_UNIX) as s:
                s.bind(path)  # and nobody ever answers
            d = self.start(listen)
            d.socket = path
            self.assertStatus(d.get("/health"), 200)
            st = os.stat(path)
            self.assertEqual((stat.S_IMODE(st.st_mode), st.st_uid), (0o640, os.getuid()))
            second = self.start(listen, wait=False, code=1)
            self.assertEqual(second.wait_exit(), 1)
            self.assertIn("in use by a running server", second.log())
            self.assertIn(path, second.log())
            self.assertStatus(d.get("/health"), 200)
            foreign = os.path.join(directory, "file")
            with open(foreign, "w", encoding="ascii") as f:
                f.write("precious")
            third = self.start({"listen": [{"unix": foreign}]}, wait=False, code=1)
            self.assertEqual(third.wait_exit(), 1)
            self.assertIn("is not a socket", third.log())
            with open(foreign, encoding="ascii") as f:
                self.assertEqual(f.read(), "precious")
            with socket.socket(socket.AF_UNIX) as s:  # a stranger's server
                s.bind(os.path.join(directory, "other"))
                s.listen()
                fourth = self.start({"listen": [{"unix": os.path.join(directory, "other")}]}, wait=False, code=1)
                self.assertEqual(fourth.wait_exit(), 1)
                self.assertTrue(os.path.exists(os.path.join(directory, "other")))

    def test_killed_daemon_leaves_a_stale_socket(self):
        d = self.start(code=-signal.SIGKILL)
        d.process.kill()
        d.wait_exit()
        self.assertTrue(os.path.exists(d.socket))
        again = self.start({"listen": [{"unix": d.socket}]})
        again.socket = d.socket
        self.assertStatus(again.get("/health"), 200)

    def test_modes_and_owners(self):
        group = grp.getgrgid(os.getgid()).gr_name
        owner = pwd.getpwuid(os.getuid()).pw_name
        for fields, mode in (
            ({}, 0o666),
            ({"mode": "0600"}, 0o600),
            ({"mode": "0660", "owner": owner, "group": group}, 0o660),
        ):
            with tempfile.TemporaryDirectory() as directory:
                path = os.path.join(directory, "made", "api.sock")
                d = self.start({"listen": [{"unix": path, **fields}]})
                self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), mode)
                self.assertEqual((os.stat(path).st_uid, os.stat(path).st_gid), (os.getuid(), os.getgid()))
                d.stop()
                self.assertFalse(os.path.exists(path))

    def test_activation(self):
        """Passed sockets are used in place of the configuration's, stay through a reload, and outlive the daemon."""
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "passed.sock")
            unix, tcp = socket.socket(socket.AF_UNIX), socket.create_server(("127.0.0.1", 0))
            unix.bind(path)
            unix.listen()
            # A client that came before there was a daemon.
            early = UnixConnection(path)
            early.request("GET", "/health")
            d = self.start(sockets=(unix, tcp))
            self.assertStatus(Answer(early.getresponse()), 200)
            self.assertFalse(os.path.exists(d.socket))
            d.socket = path
            port = tcp.getsockname()[1]
            self.assertEqual(d.status()["listeners"], [path, f"127.0.0.1:{port}"])
            with socket.create_connection(("127.0.0.1", port)) as s:
                s.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                self.assertIn(b"200", s.recv(100))
            self.assertStatus(d.post("/zerollama/reload", ""), 200)
            self.assertTrue(d.complete(max_tokens=3))
            with open(f"/proc/{d.engine_pid()}/environ", "rb") as f:
                self.assertFalse(
                    [v for v in f.read().split(b"\0") if v.startswith((b"LISTEN_", b"NOTIFY_SOCKET", b"WATCHDOG"))]
                )
            engine_fds = [
                os.readlink(f"/proc/{d.engine_pid()}/fd/{fd}") for fd in os.listdir(f"/proc/{d.engine_pid()}/fd")
            ]
            self.assertLessEqual(
                len([fd for fd in engine_fds if fd.startswith("socket:")]), 1, "the engine holds sockets of ours"
            )
            late = UnixConnection(path)
            d.stop()
            self.assertTrue(os.path.exists(path), "a passed socket is its manager's")
            late.request("GET", "/health")  # waits in the queue of the socket
            again = self.start(sockets=(unix, tcp))
            self.assertStatus(Answer(late.getresponse()), 200)
            again.socket = path
            for s in (unix, tcp, early, late):
                s.close()

    def test_wrong_activation(self):
        with socket.socket(socket.AF_UNIX) as s:
            d = self.start(sockets=(s,), wait=False, code=1)
            self.assertEqual(d.wait_exit(), 1)
            self.assertIn("not a listening socket", d.log())
        d = self.start(env={"LISTEN_FDS": "1", "LISTEN_PID": "1"})  # meant for another process
        self.assertStatus(d.get("/health"), 200)


class ManagerTest(Case):
    def test_notifications(self):
        d = self.start(env={"WATCHDOG_USEC": "400000"})
        d.manager.wait("STATUS=")
        d.complete(max_tokens=1)
        wait_until(lambda: any("loaded" in m for _, m in d.manager.messages), "a STATUS that tells of the model")
        wait_until(lambda: sum(m == "WATCHDOG=1" for _, m in d.manager.messages) >= 4, "WATCHDOG=1")
        times = [t for t, m in d.manager.messages if m == "WATCHDOG=1"]
        gaps = [b - a for a, b in zip(times, times[1:])]
        if not SANITIZED:
            self.assertLess(sorted(gaps)[len(gaps) // 2], 0.4)
        d.process.send_signal(signal.SIGTERM)
        d.manager.wait("STOPPING=1")
        d.wait_exit()
        self.assertEqual(sum(m.startswith("READY=1") for _, m in d.manager.messages), 1)
        figure(f"{len(times)} WATCHDOG=1, every {1000 * sum(gaps) / len(gaps):.0f} ms of 400")

    def test_start_and_memory(self):
        times, sizes = [], []
        for _ in range(5):
            d = self.start()
            times.append(d.ready_after)
            d.get("/health")
            sizes.append(d.rss())
            d.stop()
        figure(f"from exec to READY {1000 * sorted(times)[2]:.1f} ms; idle {sorted(sizes)[2]} KiB resident")
        d = self.start()
        d.complete(max_tokens=50)
        figure(f"after a completion: daemon {d.rss()} KiB, engine {d.rss(d.engine_pid())} KiB resident")
        if not SANITIZED:
            self.assertLessEqual(sorted(sizes)[2], RSS_MAX_KIB)

    def test_idle(self):
        """Nothing loaded and nobody asking: no engine is left; the next request starts one."""
        d = self.start({"pools": [{"name": "default", "idle_exit": "1s"}], "model_defaults": {"keep_alive": "1s"}})
        text = d.complete(max_tokens=5)
        engine = d.engine_pid()
        began = time.monotonic()
        wait_until(lambda: d.status()["pools"][0]["state"] == "stopped", "the engine to go")
        figure(f"keep_alive 1 s, idle_exit 1 s: engine gone {time.monotonic() - began:.1f} s after the last answer")
        self.assertFalse(os.path.exists(f"/proc/{engine}"))
        self.assertEqual(d.get("/api/ps").json()["models"], [])
        self.assertStatus(d.get("/ready"), 200)
        self.assertEqual(d.complete(max_tokens=5), text)
        self.assertNotEqual(d.engine_pid(), engine)
        self.assertEqual(d.metrics()['zerollama_engine_deaths_total{pool="default"}'], 0)

    def test_idle_daemon_sleeps(self):
        """It does not wake up while there is nothing to do."""
        d = self.start()

        def wakeups():
            with open(f"/proc/{d.pid}/status", encoding="ascii") as f:
                return int(next(line for line in f if line.startswith("voluntary_ctxt_switches")).split()[1])

        time.sleep(0.3)
        before = wakeups()
        time.sleep(3)
        figure(f"idle: {(wakeups() - before) / 3:.1f} wake-ups a second")
        self.assertLess(wakeups() - before, 12)


class OptionTest(Case):
    def test_check_and_print(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "c.yaml")
            with open(path, "w", encoding="ascii") as f:
                json.dump(
                    {
                        "listen": [{"unix": "/run/x/api.sock", "mode": "0660"}, {"tcp": "[::1]:8080"}],
                        "models_path": "/srv/models",
                        "models": [
                            {
                                "name": "a",
                                "aliases": ["b: c".replace(": ", "-"), "d"],
                                "path": "x y.gguf",
                                "keep_alive": "forever",
                                "slots": 3,
                            }
                        ],
                        "pools": [{"name": "default", "memory": "50%"}],
                        "limits": {"body_size": "3MiB"},
                    },
                    f,
                )
            p = run("--check", "-c", path)
            self.assertEqual((p.returncode, p.stderr), (0, ""))
            p = run("--print-config", "-c", path)
            self.assertEqual(p.returncode, 0)
            for word in ("0660", "[::1]:8080", "forever", "50%", "3MiB", "request_timeout"):
                self.assertIn(word, p.stdout)
            again = os.path.join(directory, "again.yaml")
            with open(again, "w", encoding="utf-8") as f:
                f.write(p.stdout)
            self.assertEqual(run("--print-config", "-c", again).stdout, p.stdout)
            self.assertEqual(run("--check", "-c", again).returncode, 0)
            with open(path, "w", encoding="ascii") as f:
                f.write("limits:\n  conections: 1\n")
            p = run("--check", "-c", path)
            self.assertEqual(p.returncode, 1)
            self.assertIn(f"{path}:2:", p.stderr)
            self.assertIn("connections", p.stderr)
            self.assertEqual(run("--check", "-c", os.path.join(directory, "none")).returncode, 1)
        p = run("--print-config", "-c", os.devnull)
        self.assertEqual(p.returncode, 0, p.stderr)

    def test_options(self):
        for args in (
            ("--nonsense",),
            ("-x",),
            ("stray",),
            ("--log-level", "loud"),
            ("--config",),
            ("-c", os.devnull, "stray"),
        ):
            p = run(*args)
            self.assertEqual((p.returncode, p.stdout), (2, ""), args)
            self.assertTrue(p.stderr)
        self.assertRegex(run("--version").stdout, r"^zerollamad \d+\.\d+\.\d+\n$")
        self.assertIn("--print-config", run("--help").stdout)
        p = subprocess.run([os.path.join(BUILD, "zerollama-engine")], capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(p.returncode, 2)


class MoveTest(Case):
    def test_to_a_pool_that_runs(self):
        """A reload gives a model to another pool whose engine runs already: its jobs go there at once."""

        def config(pool):
            return {
                "pools": [{"name": "a"}, {"name": "b"}],
                "models": [
                    {"name": "moved", "path": "builtin:delay", "slots": 1, "pool": pool},
                    {"name": "other", "path": "builtin:delay", "pool": "b"},
                ],
            }

        d = self.start(config("a"))

        def ask(model, prompt):
            return d.post("/v1/completions", {"model": model, "prompt": prompt}).status

        self.assertEqual(ask("other", "1ms"), 200)

        def move():
            wait_until(lambda: d.status()["jobs"]["running"] + d.status()["jobs"]["waiting"] == 3, "the jobs to be there")
            d.change_config(**config("b"))
            return d.post("/zerollama/reload", "").status

        statuses = in_parallel([lambda: ask("moved", "1s")] * 3 + [move])
        self.assertEqual(statuses, [200] * 4)
        self.assertEqual(d.status()["pools"][1]["models"], ["moved", "other"])


class DeviceTest(Case):
    """A GPU that is not there: the CPU stands in and says so, unless it must not."""

    def start_on(self, **pool):
        return self.start({"pools": [{"name": "default", "device": "cuda:7", **pool}]})

    def test_fall_back(self):
        d = self.start_on()
        self.assertTrue(d.complete(max_tokens=5))
        pool = d.status()["pools"][0]
        self.assertIn("CPU", pool["device"])
        self.assertIn("cuda:7", json.dumps(pool))
        self.assertStatus(d.get("/ready"), 200)

    def test_required(self):
        d = self.start_on(require=True)
        answer = self.assertStatus(d.post("/v1/completions", {"model": STORIES, "prompt": PROMPT}), 503)
        self.assertIn("cuda:7", answer.error)
        self.assertIn("cuda:7", self.assertStatus(d.get("/ready"), 503).json()["reason"])


if __name__ == "__main__":
    main()
