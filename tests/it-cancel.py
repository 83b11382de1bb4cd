#!/usr/bin/env python3
"""Clients that leave: every job is cancelled at once, everything it held is given back, and the sums are right."""

import json
import socket
import struct
import sys
import time

sys.dont_write_bytecode = True
from harness import (  # noqa: E402
    CHAT, PATIENCE, PROMPT, SANITIZED, STORIES, Case, Stream, chunk_text, figure, free_port, frozen, in_parallel,
    main, recv_all, wait_until,
)

SLOTS = 16
LONG = {"model": STORIES, "max_tokens": 480, "ignore_eos": True, "temperature": 0}
FD_SLACK = 3
RSS_SLACK_KIB = 4 * 1024
SETTLED = 20  # looks that see the same


def raw_request(path, body):
    text = json.dumps(body)
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()


class CancelTest(Case):
    PORT = free_port()

    @classmethod
    def setUpClass(cls):
        cls.CONFIG = {"model_defaults": {"slots": SLOTS}}
        super().setUpClass()
        cls.d.change_config(listen=[{"unix": cls.d.socket}, {"tcp": f"127.0.0.1:{cls.PORT}"}])
        assert cls.d.post("/zerollama/reload", "").status == 200
        in_parallel([lambda i=i: cls.d.complete(f"{PROMPT} {i}", max_tokens=30) for i in range(2 * SLOTS)])
        cls.d.wait_idle()
        cls.expected = cls.d.complete(**LONG)

    def connect(self, tcp):
        if tcp:
            return socket.create_connection(("127.0.0.1", self.PORT), timeout=PATIENCE)
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(PATIENCE)
        s.connect(self.d.socket)
        return s

    def ask(self, path="/v1/completions", tcp=False, **fields):
        s = self.connect(tcp)
        s.sendall(raw_request(path, {**LONG, "prompt": PROMPT, "stream": True, **fields}))
        return s

    def leave(self, s, how):
        if how == "reset":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif how == "half":
            s.shutdown(socket.SHUT_WR)
        if how != "half":
            s.close()

    def baseline(self):
        self.d.wait_idle()
        engine = self.d.engine_pid()
        return {
            "fds": self.d.fds(),
            "rss": self.d.rss(),
            "engine fds": self.d.fds(engine),
            "engine rss": self.d.rss(engine),
            "out": self.d.outcomes(),
            "admitted": self.d.admitted(),
        }

    def check_back(self, before, cancelled, completed=0):
        after = self.baseline()
        out = {k: after["out"][k] - before["out"][k] for k in after["out"]}
        self.assertEqual(out, {"completed": completed, "failed": 0, "cancelled": cancelled, "refused": 0})
        self.assertEqual(after["admitted"] - before["admitted"], cancelled + completed)
        self.assertEqual(sum(after["out"][k] for k in ("completed", "failed", "cancelled")), after["admitted"])
        for key in ("fds", "engine fds"):
            self.assertLessEqual(after[key], before[key] + FD_SLACK, key)
        for key in () if SANITIZED else ("rss", "engine rss"):  # a sanitizer holds back what was freed
            self.assertLessEqual(after[key], before[key] + RSS_SLACK_KIB, key)
        # All slots are free again, and what they compute is right.
        text, *others = in_parallel([lambda: self.d.complete(**{**LONG, "max_tokens": 60}) for _ in range(SLOTS)])
        self.assertEqual({text}, set(others))
        self.assertTrue(self.expected.startswith(text))
        return after

    def settled_running(self):
        """With the engine frozen: how many run when the daemon has taken all that was said. On a slow machine the first
        streams may end before the last begin."""
        seen = []
        while len(seen) < SETTLED or len(set(seen[-SETTLED:])) > 1:
            time.sleep(0.02)
            seen.append(self.d.status()["jobs"]["running"])
        return seen[-1]

    def test_200_clients_leave(self):
        """Most of them in mid-stream, the others before it begins, waiting for a slot, or for a whole answer."""
        before, n, completed = self.baseline(), 0, 0
        ways = ("close", "reset", "half")
        for turn in range(8):
            streams = [self.ask(tcp=i % 2, prompt=f"{PROMPT}, {turn} {i} ") for i in range(SLOTS)]
            for s in streams:
                self.assertIn(b"200 OK", s.recv(1000))
            with frozen(self.d.engine_pid()):
                running = self.settled_running()
                waiting = [self.ask(tcp=i % 2) for i in range(3)] + [
                    self.ask(tcp=i % 2, stream=False) for i in range(3)
                ]
                waiting += [self.ask("/api/generate", tcp=i % 2, raw=True) for i in range(2)]
                waiting += [self.ask("/v1/chat/completions", model=CHAT, messages=[{"role": "user", "content": "x"}])]
                wait_until(lambda: self.d.status()["jobs"]["waiting"] == len(waiting), "those that wait")
                self.assertGreater(running, 0)
                for i, s in enumerate(streams + waiting):
                    self.leave(s, ways[(i + turn) % 3])
                wait_until(
                    lambda: self.d.status()["jobs"]["running"] + self.d.status()["jobs"]["waiting"] == 0,
                    "all to be cancelled",
                )
            for s in streams + waiting:
                s.close()
            n += running + len(waiting)
            completed += len(streams) - running
        after = self.check_back(before, n, completed)
        figure(
            f"{n} clients left, {n} jobs cancelled; before and after: "
            + ", ".join(f"{k} {before[k]} {after[k]}" for k in ("fds", "rss", "engine fds", "engine rss"))
        )

    def test_neighbours_do_not_notice(self):
        stream = self.d.stream("/v1/completions", {**LONG, "prompt": PROMPT})
        chunks = iter(stream)
        text = chunk_text(next(chunks))
        for _ in range(5):
            others = [self.ask() for _ in range(8)]
            for s in others:
                s.recv(100)
                s.close()
        text += "".join(map(chunk_text, chunks))
        stream.close()
        self.assertEqual(text, self.expected)

    def test_choices_end_together(self):
        """One connection, several jobs: all are cancelled."""
        before = self.baseline()
        s = self.ask(n=6, temperature=1)
        s.recv(100)
        with frozen(self.d.engine_pid()):
            self.assertGreater(self.d.status()["jobs"]["running"], 0)
            jobs = self.d.status()["jobs"]["running"] + self.d.status()["jobs"]["waiting"]
            s.close()
            wait_until(
                lambda: self.d.status()["jobs"]["running"] + self.d.status()["jobs"]["waiting"] == 0,
                "all to be cancelled",
            )
        self.check_back(before, jobs, 6 - jobs)

    def test_unfinished_requests(self):
        """Those who leave before their request is complete have cost nothing."""
        before = self.baseline()
        whole = raw_request("/v1/completions", {**LONG, "prompt": PROMPT})
        for i in range(60):
            s = self.connect(i % 2)
            s.sendall(whole[: 1 + i * (len(whole) - 2) // 59])
            self.leave(s, ("close", "reset")[i // 2 % 2])
        self.check_back(before, 0)

    def test_leaving_during_load(self):
        for _ in range(3):
            self.assertEqual(self.d.post("/api/generate", {"model": CHAT, "prompt": "", "keep_alive": 0}).status, 200)
            before = self.baseline()
            s = self.connect(False)
            s.sendall(raw_request("/api/generate", {"model": CHAT, "prompt": ""}))
            s.close()
            self.check_back(before, 0)

    def test_slow_reader(self):
        """It holds its own jobs back, in bounded memory; nobody else waits; and it gets all of its answer, however late."""
        before = self.baseline()
        fields = {"n": 4, "logprobs": 20, "temperature": 1, "seed": 3}
        expected = [
            c["text"] for c in self.d.post("/v1/completions", {**LONG, "prompt": PROMPT, **fields}).json()["choices"]
        ]
        slow = [self.d.connect() for _ in range(2)]
        for c in slow:
            c.request("POST", "/v1/completions", json.dumps({**LONG, "prompt": PROMPT, "stream": True, **fields}))
        began = time.monotonic()
        self.assertEqual(self.d.complete(**LONG), self.expected)
        took = time.monotonic() - began
        wait_until(lambda: self.d.status()["pools"][0]["paused"] == 2 * fields["n"], "their jobs to be held back")
        held = self.d.status()["users"][0]["memory"]
        self.assertLess(held, 2 * 512 * 1024)
        self.assertEqual(self.d.complete(**LONG), self.expected)
        for c in slow:
            got, size = [""] * fields["n"], 0
            for chunk in Stream(c, c.getresponse()):
                size += len(json.dumps(chunk))
                for choice in chunk["choices"]:
                    got[choice["index"]] += choice["text"]
            c.close()
            self.assertEqual(got, expected)
        figure(
            f"slow readers: {size // 1024} KiB each, {held // 2048} KiB of it held by the daemon meanwhile; "
            f"a neighbour took {took:.1f} s"
        )
        self.check_back(before, 0, 4 + 2 + 8)

    def test_half_closed(self):
        """Who closes the sending side is taken for gone: nothing hangs, the connection ends."""
        before = self.baseline()
        s = self.ask()
        s.recv(50)
        s.shutdown(socket.SHUT_WR)
        _, closed = recv_all(s, PATIENCE)
        self.assertTrue(closed)
        s.close()
        self.check_back(before, 1)


class HoarderTest(Case):
    """A user at limits.memory_per_user: what is not read is held back, what is read goes on, and more is refused."""

    CONFIG = {"model_defaults": {"slots": 32}, "limits": {"memory_per_user": "1MiB"}}
    FIELDS = {**LONG, "prompt": PROMPT, "n": 2, "logprobs": 20, "stream": True}  # some 650 KiB of events
    HOARDERS = 12

    def ask(self):
        c = self.d.connect()
        c.request("POST", "/v1/completions", json.dumps(self.FIELDS))
        return c

    def read(self, c):
        text = ["", ""]
        for chunk in Stream(c, c.getresponse()):
            for choice in chunk["choices"]:
                text[choice["index"]] += choice["text"]
        c.close()
        self.assertEqual(text, [self.expected] * 2)

    def test_streams_that_are_read_go_on(self):
        self.expected = self.d.complete(**LONG)
        hoarders = [self.ask() for _ in range(self.HOARDERS)]
        wait_until(lambda: self.d.status()["pools"][0]["paused"] == 2 * self.HOARDERS, "them to be held back")
        held = self.d.status()["users"][0]["memory"]
        figure(f"{self.HOARDERS} streams that nobody reads, with 1 MiB allowed: {held // 1024} KiB held")
        self.assertGreater(held, 2**20)
        self.assertLess(held, 2**21)  # alone, each would hold 256 KiB
        refused = self.d.post("/v1/completions", {"model": STORIES, "prompt": "x"})
        self.assertIn("too much memory", self.assertStatus(refused, 429).error)
        for c in hoarders:
            self.read(c)
        self.d.wait_idle()
        out = self.d.outcomes()
        self.assertEqual((out["completed"], out["failed"], out["cancelled"]), (1 + 2 * self.HOARDERS, 0, 0))


if __name__ == "__main__":
    main()
