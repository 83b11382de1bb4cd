#!/usr/bin/env python3
"""Engines die, hang or cannot start: no stream is lost, none is changed, and nobody waits for ever."""

import contextlib
import json
import os
import re
import shutil
import signal
import struct
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
from harness import (  # noqa: E402
    BUILD, PROMPT, SLOW, SRC, STORIES, Case, chunk_text, figure, frozen, in_parallel, main,
    wait_until,
)

CLIENTS, KILLS = 20, 20
NAMES = ("Tom", "Lily", "Ben", "Sue", "Max")


def bodies(**fields):
    return [
        {
            "model": STORIES,
            "prompt": f"{PROMPT}, {NAMES[i % 5]} had {i} ",
            "max_tokens": 200,
            "ignore_eos": True,
            **fields,
        }
        for i in range(CLIENTS)
    ]


# Says it is ready, and dies as soon as it is to load (3), run a job (5) or show a file (7).
MORTAL_ENGINE = """import os, select, struct
open("COUNT", "a").write("x\\n")
os.write(3, %r)
got, asked = b"", set()
while not asked & {3, 5, 7}:
    select.select([3], [], [])
    got += os.read(3, 65536)
    at = 0
    while len(got) - at >= 8:
        length, what = struct.unpack_from("<IH", got, at)
        at += 8 + length
        asked.add(what)
os.kill(os.getpid(), 9)
"""


def ipc_version():
    with open(os.path.join(SRC, "src", "ipc", "ipc.h"), encoding="utf-8") as f:
        return int(re.search(r"IPC_VERSION = (\d+)", f.read())[1])


def hello(version):
    """The frame that an engine begins with: version, device, note, memory, error."""
    body = struct.pack("<5Q", version, 0, 0, 1 << 30, 0)
    return struct.pack("<IHH", len(body), 32, 0) + body


def runs(pid):
    """Somebody else's zombie does not."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            return "State:\tZ" not in f.read()
    except FileNotFoundError:
        return False


class CrashTest(Case):
    def crash(self, d, sampling, kills):
        """Kills the engine while CLIENTS stream, again and again; every text must be the one of an undisturbed run."""
        undisturbed = in_parallel([lambda b=b: d.stream("/v1/completions", b).text() for b in bodies(**sampling)])
        self.assertGreater(len(set(undisturbed)), CLIENTS // 2)
        over = threading.Event()
        before = d.metrics()["zerollama_job_restarts_total"]

        def client(body, expected):
            n = 0
            while not over.is_set():
                self.assertEqual(d.stream("/v1/completions", body).text(), expected)
                n += 1
            return n

        def killer():
            killed, last = 0, 0
            try:
                while killed < kills:
                    s = d.status()
                    pool = s["pools"][0]
                    if pool["state"] != "running" or pool["pid"] == last or not s["jobs"]["running"]:
                        time.sleep(0.01)
                        continue
                    time.sleep(0.02 * (killed % 5))
                    last = pool["pid"]
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(last, signal.SIGKILL)
                        killed += 1
                return killed
            finally:
                over.set()

        n = in_parallel([killer] + [lambda b=b, e=e: client(b, e) for b, e in zip(bodies(**sampling), undisturbed)])
        restarted = d.metrics()["zerollama_job_restarts_total"] - before
        self.assertGreater(restarted, kills)
        figure(
            f"{sampling}: {n[0]} engines killed, {sum(n[1:])} streams complete and identical, "
            f"{restarted:.0f} jobs posted again"
        )
        return sum(n[1:])

    def test_killed_20_times(self):
        d = self.start({"limits": {"restarts": 100}})
        self.crash(d, {"temperature": 0}, KILLS)
        self.crash(d, {"temperature": 0.8, "seed": 42}, KILLS // 2)
        out = d.outcomes()
        self.assertEqual((out["failed"], out["cancelled"], out["refused"]), (0, 0, 0))
        self.assertEqual(out["completed"], d.admitted())
        d.wait_idle()
        self.assertEqual(d.metrics()['zerollama_engine_deaths_total{pool="default"}'], KILLS + KILLS // 2)

    def test_repeated_deaths_are_counted_per_job(self):
        """limits.restarts deaths are survived; one more fails the job, in the stream where it has begun."""
        d = self.start({"limits": {"restarts": 2}})
        stream = d.stream("/v1/completions", {**bodies()[0], "max_tokens": 480})
        chunks = iter(stream)
        next(chunks)
        for _ in range(3):
            wait_until(lambda: d.status()["jobs"]["running"] == 1, "the job to run again")
            engine = d.engine_pid()
            os.kill(engine, signal.SIGKILL)
            wait_until(lambda e=engine: d.engine_pid() != e, "the engine's end")
        last = list(chunks)[-1]
        self.assertIn("error", last)
        self.assertEqual(last["error"]["code"], "engine_died")
        self.assertTrue(stream.done)
        stream.close()
        self.assertEqual(d.complete(max_tokens=5), d.complete(max_tokens=5))

    def test_hung_engine_is_replaced(self):
        d = self.start({"limits": {"stall_timeout": f"{max(1, SLOW):.0f}s"}})
        body = {**bodies(temperature=0)[1], "max_tokens": 480}
        expected = d.stream("/v1/completions", body).text()
        stream = d.stream("/v1/completions", body)
        chunks = iter(stream)
        text = chunk_text(next(chunks))
        hung = d.engine_pid()
        began = time.monotonic()
        with frozen(hung):
            text += "".join(chunk_text(c) for c in chunks)
        self.assertEqual(text, expected)
        self.assertNotEqual(d.engine_pid(), hung)
        stream.close()
        figure(
            f"stall_timeout {max(1, SLOW):.0f} s: the stream went on in a new engine and ended after "
            f"{time.monotonic() - began:.1f} s"
        )

    def test_hung_while_loading(self):
        """An engine that stops before it runs any job is found out too."""
        d = self.start({"limits": {"stall_timeout": f"{max(1, SLOW):.0f}s"}})
        d.complete(max_tokens=1)
        hung = d.engine_pid()
        with frozen(hung):
            self.assertTrue(d.complete(max_tokens=3))
        self.assertNotEqual(d.engine_pid(), hung)

    def test_no_engine_program(self):
        with tempfile.TemporaryDirectory() as empty:
            d = self.start(env={"ZEROLLAMA_LIBEXEC": empty})
            began = time.monotonic()
            a = self.assertStatus(d.post("/v1/completions", {"model": STORIES, "prompt": PROMPT}), 503)
            took = time.monotonic() - began
            self.assertLess(took, 5 * SLOW)
            self.assertIn(empty, a.error)
            self.assertIsNotNone(a.headers["Retry-After"])
            self.assertStatus(d.post("/api/generate", {"model": STORIES, "prompt": PROMPT}), 503)
            self.assertStatus(d.get("/health"), 200)
            ready = self.assertStatus(d.get("/ready"), 503)
            figure(f"no engine: 503 after {took:.1f} s, '{a.error}'; /ready says '{ready.json()['reason']}'")
            # As soon as there is one, requests are answered.
            os.symlink(os.path.join(BUILD, "zerollama-engine"), os.path.join(empty, "zerollama-engine"))
            self.assertTrue(d.complete(max_tokens=5))
            self.assertStatus(d.get("/ready"), 200)

    def engine_program(self, text, interpreter="/bin/sh"):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = os.path.join(directory.name, "zerollama-engine")
        with open(path, "w", encoding="ascii") as f:
            f.write(f"#!{interpreter}\n" + text.replace("COUNT", os.path.join(directory.name, "count")))
        os.chmod(path, 0o755)
        return directory.name

    def count(self, directory):
        with open(os.path.join(directory, "count"), encoding="ascii") as f:
            return len(f.readlines())

    def test_engine_that_exits_at_once(self):
        directory = self.engine_program("echo x >>COUNT; exit 3\n")
        d = self.start(env={"ZEROLLAMA_LIBEXEC": directory})
        began = time.monotonic()
        answers = in_parallel(
            [lambda: d.post("/v1/completions", {"model": STORIES, "prompt": PROMPT}) for _ in range(5)]
        )
        took = time.monotonic() - began
        for a in answers:
            self.assertStatus(a, 503)
            self.assertIn("exited with status 3", a.error)
        self.assertLess(took, 10 * SLOW)
        self.assertLessEqual(self.count(directory), 8)
        figure(f"engine exits at once: {self.count(directory)} starts, 503 after {took:.1f} s")
        wait_until(lambda: not d.status()["jobs"]["waiting"], "no jobs")
        n = self.count(directory)
        time.sleep(1)
        self.assertEqual(self.count(directory), n, "engines are started with nothing to do")

    def test_engine_that_speaks_nonsense(self):
        for text in (
            "echo x >>COUNT; head -c 100000 /dev/zero >&3; sleep 1000\n",
            "echo x >>COUNT; head -c 100000 /dev/urandom >&3; sleep 1000\n",
            "echo x >>COUNT; printf '\\377\\377\\377\\377\\040\\0\\0\\0' >&3; sleep 1000\n",
        ):
            directory = self.engine_program(text)
            d = self.start(env={"ZEROLLAMA_LIBEXEC": directory})
            self.assertStatus(d.post("/v1/completions", {"model": STORIES, "prompt": PROMPT}), 503)
            self.assertLessEqual(self.count(directory), 8)
            self.assertStatus(d.get("/health"), 200)

    def test_upgrade(self):
        """While a package is upgraded, the engine's program is one that the running daemon cannot talk to."""
        expected = self.start().complete(max_tokens=60)
        directory = self.engine_program(MORTAL_ENGINE % hello(99), sys.executable)
        program = os.path.join(directory, "zerollama-engine")
        os.rename(program, program + ".new")
        shutil.copy(os.path.join(BUILD, "zerollama-engine"), program)
        d = self.start(env={"ZEROLLAMA_LIBEXEC": directory})
        d.complete(max_tokens=1)
        old = d.engine_pid()
        os.rename(program + ".new", program)  # as dpkg does
        with frozen(old), contextlib.closing(d.connect()) as c:
            body = {"model": STORIES, "prompt": PROMPT, "max_tokens": 60, "temperature": 0}
            c.request("POST", "/v1/completions", json.dumps(body))
            wait_until(lambda: d.status()["jobs"]["waiting"] == 1, "the job")
            os.kill(old, signal.SIGKILL)
            self.assertEqual(json.load(c.getresponse())["choices"][0]["text"], expected)
        self.assertNotEqual(d.engine_pid(), old)
        self.assertFalse(os.path.exists(os.path.join(directory, "count")), "the new program was started")
        # One that was there from the start is refused, with the reason.
        a = self.assertStatus(
            self.start(env={"ZEROLLAMA_LIBEXEC": directory}).post("/v1/completions", {"model": STORIES, "prompt": PROMPT}), 503
        )
        self.assertIn("another version than the daemon", a.error)

    def test_engine_that_dies_of_what_it_is_asked(self):
        """One that starts well, and dies of a prompt or of a file: bounded by limits.restarts."""
        directory = self.engine_program(MORTAL_ENGINE % hello(ipc_version()), sys.executable)
        d = self.start({"limits": {"restarts": 2}}, env={"ZEROLLAMA_LIBEXEC": directory})
        for path, body in (
            ("/v1/completions", {"prompt": PROMPT}),
            ("/api/generate", {"prompt": ""}),
            ("/api/show", {}),
        ):
            before = self.count(directory) if os.path.exists(os.path.join(directory, "count")) else 0
            a = d.post(path, {"model": STORIES, **body})
            self.assertIn(a.status, (500, 503))
            self.assertIn("died each time", a.error)
            self.assertLessEqual(self.count(directory) - before, 4)
            figure(f"{path}: '{a.error}' after {self.count(directory) - before} engines")

    def test_engine_that_never_says_hello(self):
        """Starting is bounded by the stall timeout."""
        directory = self.engine_program("echo x >>COUNT; exec sleep 1000\n")
        d = self.start({"limits": {"stall_timeout": "1s"}}, env={"ZEROLLAMA_LIBEXEC": directory})
        began = time.monotonic()
        a = self.assertStatus(d.post("/v1/completions", {"model": STORIES, "prompt": PROMPT}), 503)
        self.assertIn("stall_timeout", a.error)
        figure(f"engine never says hello: {self.count(directory)} starts, 503 after {time.monotonic() - began:.1f} s")

    def test_client_leaves_while_there_is_no_engine(self):
        directory = self.engine_program("echo x >>COUNT; exec sleep 1000\n")
        d = self.start(env={"ZEROLLAMA_LIBEXEC": directory})
        c = d.connect()
        c.request("POST", "/v1/completions", '{"model": "%s", "prompt": "x"}' % STORIES)
        wait_until(lambda: d.status()["jobs"]["waiting"] == 1, "the job")
        c.close()
        wait_until(lambda: d.status()["jobs"]["waiting"] == 0, "the job's end")
        self.assertEqual(d.outcomes()["cancelled"], 1)

    def test_dies_with_the_daemon(self):
        d = self.start(code=-signal.SIGKILL)
        d.complete(max_tokens=1)
        engine = d.engine_pid()
        d.process.kill()
        d.wait_exit()
        wait_until(lambda: not runs(engine), "the engine to follow its daemon")


if __name__ == "__main__":
    main()
