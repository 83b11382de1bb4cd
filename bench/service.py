#!/usr/bin/env python3
"""The service at length, in a systemd booted for it: is anything lost when it is restarted, reloaded, killed or stopped?

Needs what tests/it-systemd.py needs: root and systemd-nspawn. Parts, all unless named: start, restart, sandbox, reload, stall,
kill, idle, memory."""

import asyncio
import collections
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import common
from common import CHAT, COMPLETIONS, DEMO, Client, Cut, harness

import sdbox

TCP = 11434
MODELS = [{"name": m, "path": f"builtin:{m}", "slots": 256, "queue": 100000} for m in ("null", "delay")]
SLOTS = {"slots": 64}  # of the demo model, which comes with the installation
STORY = {"model": DEMO, "messages": [{"role": "user", "content": "Tell me a story about a fox"}], "temperature": 0, "max_tokens": 120}
PATIENCE = 60
NO_SANDBOX = "[Service]\nExecStart=/usr/bin/true\nUser=nobody-special\nGroup=nobody-special\nRestart=always\nRestartSec=3\n"
BROKEN = ("limits:\n  conections: {0}\n", "limits: [{0}", "\x00{0}", "models:\n  - name: a{0}\n    pool: nowhere\n", "limits: {{connections: no{0}}}\n")


class Traffic:
    """Requests at a fixed pace, each on a connection of its own, and streams that never end, on both sockets."""

    def __init__(self, box, rate, streams, expected, kept=0):
        self.box, self.rate, self.n_streams, self.n_kept, self.expected = box, rate, streams, kept, expected
        self.counts, self.wrong, self.longest = collections.Counter(), collections.Counter(), 0.0
        self.over, self.tasks = False, []

    async def ask(self, where, after_connect):
        c = Client(where)
        try:
            await c.connect()
            after_connect()
            status, _, body = await c.request("POST", COMPLETIONS, {"model": "delay", "prompt": "1ms"})
            if status != 200:
                self.wrong[f"request: {status}: {body.decode()[:200]}"] += 1
        finally:
            c.close()

    async def one(self, where):
        began, connected = time.monotonic(), []
        try:
            await asyncio.wait_for(self.ask(where, lambda: connected.append(1)), PATIENCE)
            self.counts["answered"] += 1
        except (Cut, OSError, asyncio.TimeoutError) as e:
            self.wrong[f"request {'sent' if connected else 'not even connected'}: {e!r}"] += 1
        self.longest = max(self.longest, time.monotonic() - began)

    async def pacer(self):
        tasks, due, n = set(), time.monotonic(), 0
        while not self.over:
            t = asyncio.create_task(self.one(TCP if n % 2 else self.box.socket))
            tasks.add(t)
            t.add_done_callback(tasks.discard)
            n += 1
            due += 1 / self.rate
            await asyncio.sleep(max(0, due - time.monotonic()))
        await asyncio.gather(*tasks)

    async def keep(self, i):
        """One request after another on a connection that is kept. When it closes before anything of an answer came, the
        request is sent again on another, as RFC 9112, 9.3.1 lets clients do."""
        c, where, fresh = None, TCP if i % 2 else self.box.socket, True
        while not self.over:
            try:
                if not c:
                    c, fresh = Client(where), True
                    await c.connect()
                status, headers, _ = await asyncio.wait_for(c.request("POST", COMPLETIONS, {"model": "delay", "prompt": "1ms"}), PATIENCE)
                self.counts["kept"] += 1
                fresh = False
                if status != 200:
                    self.wrong[f"request on a kept connection: {status}"] += 1
                if headers.get("connection") == "close":
                    c = c.close()
            except (Cut, OSError, asyncio.TimeoutError) as e:
                self.counts["sent again"] += 1
                if fresh or not (isinstance(e, ConnectionError) or str(e) == "no answer"):
                    self.wrong[f"request on a connection made for it: {e!r}"] += 1
                c = c.close()
            await asyncio.sleep(0.02)

    async def stream(self, i):
        await asyncio.sleep(random.random())
        while not self.over:
            c = Client(TCP if i % 2 else self.box.socket)
            try:
                await c.connect()
                status, text, _, _ = await asyncio.wait_for(c.stream(CHAT, STORY), PATIENCE)
                self.counts["streams"] += 1
                if status != 200 or text != self.expected:
                    self.wrong[f"stream: {status}, {'another text' if text != self.expected else ''}"] += 1
            except (Cut, OSError, asyncio.TimeoutError) as e:
                self.wrong[f"stream cut: {e!r}"] += 1
            finally:
                c.close()

    async def __aenter__(self):
        self.tasks = [asyncio.create_task(self.pacer())] if self.rate else []
        self.tasks += [asyncio.create_task(self.stream(i)) for i in range(self.n_streams)]
        self.tasks += [asyncio.create_task(self.keep(i)) for i in range(self.n_kept)]
        await asyncio.sleep(1)
        return self

    async def __aexit__(self, *_):
        self.over = True
        await asyncio.gather(*self.tasks)

    def lost(self, word):
        return sum(n for what, n in self.wrong.items() if word in what)


async def inside(box, *args, check=True):
    """A command in the box while the traffic goes on."""
    return await asyncio.to_thread(box.run, *args, check=check)


def chat_once(s):
    return s.stream(CHAT, STORY).text()


# ---- the parts ----


def start(box, s, report, args):
    """From connect to the first token, when nothing runs."""
    ready, first = [], []
    for _ in range(10):
        box.systemctl("stop", "zerollamad.service")
        began = time.monotonic()
        stream = s.stream(CHAT, STORY)
        ready.append(time.monotonic() - began)
        for chunk in stream:
            if harness.chunk_text(chunk):
                break
        first.append(time.monotonic() - began)
        stream.close()
    report.row("from connect to the first token, nothing running (median of 10)", 1e3 * common.percentile(first, 50), "ms")
    report.row("the longest of them", 1e3 * max(first), "ms")
    out = box.run(box.cli, "run", DEMO, "Who are you?", user="nobody").stdout
    report.must("zerollama demo model" in out, "an ordinary user runs `zerollama run`", out)


async def restarts(box, n, traffic, pause):
    took = []
    async with traffic:
        for _ in range(n):
            began = time.monotonic()
            await inside(box, "systemctl", "restart", "zerollamad.service")
            took.append(time.monotonic() - began)
            await asyncio.sleep(pause)
    return took


def restart(box, s, report, args):
    expected = chat_once(s)
    t = Traffic(box, 100, 50, expected, kept=4)
    took = asyncio.run(restarts(box, args.restarts, t, args.pause))
    report.row("restarts with 50 streams running", len(took))
    report.row("requests, half of them on TCP", t.counts["answered"])
    report.row("requests on 4 connections that are kept", t.counts["kept"])
    report.row("of them sent again on another, the old one being closed", t.counts["sent again"])
    report.row("streams", t.counts["streams"])
    report.row("a restart, streams drained (median)", common.percentile(took, 50), "s")
    report.row("the longest", max(took), "s")
    report.row("longest wait of a request", t.longest, "s", "the drain, and 0.25 s")
    report.must(not t.wrong, "no request failed, no stream was cut", dict(t.wrong))
    t = Traffic(box, 100, 0, expected)
    took = asyncio.run(restarts(box, args.restarts, t, 0.5))
    report.row("a restart, nothing to drain (median)", 1e3 * common.percentile(took, 50), "ms")
    report.row("the longest", 1e3 * max(took), "ms")
    report.row("longest wait of a request then", 1e3 * t.longest, "ms", "< 250 ms")
    report.must(not t.wrong, "no request failed then either", dict(t.wrong))


def exposure(box, unit):
    out = box.run("systemd-analyze", "security", "--no-pager", unit, check=False).stdout
    return float(out.rsplit("service: ", 1)[1].split()[0])


def sandbox(box, s, report, args):
    box.write("/etc/systemd/system/no-sandbox.service", NO_SANDBOX)
    box.systemctl("daemon-reload")
    report.row("systemd-analyze security, exposure", exposure(box, "zerollamad.service"), "", "<= 0.5")
    report.row("a unit with no more than User= and Restart=, as ollama's", exposure(box, "no-sandbox.service"))
    units = [f"{box.units}/{u}" for u in ("zerollamad.service", "zerollamad.socket", "zerollamad-tcp.socket")]
    done = box.run("systemd-analyze", "verify", *units, check=False)
    report.must(done.stdout + done.stderr == "", "systemd-analyze verify prints nothing", done.stderr)


async def reloads(box, s, n, traffic):
    early, accepted, took = 0, 0, []
    async with traffic:
        for i in range(n):
            s.configure(models=MODELS, model_defaults=SLOTS, limits={"body_size": f"{i + 2}KiB"})
            began = time.monotonic()
            await inside(box, "systemctl", "reload", "zerollamad.service")
            took.append(time.monotonic() - began)
            early += (await asyncio.to_thread(s.status))["limits"]["body_size"] != 1024 * (i + 2)
        for i in range(n):
            box.write(box.config_path, BROKEN[i % len(BROKEN)].format(i))
            done = await inside(box, "systemctl", "reload", "zerollamad.service", check=False)
            accepted += done.returncode == 0
        s.configure(models=MODELS, model_defaults=SLOTS)
    return early, accepted, took


def reload(box, s, report, args):
    t = Traffic(box, 100, 8, chat_once(s))
    pid = box.main_pid()
    early, accepted, took = asyncio.run(reloads(box, s, args.reloads, t))
    failed = box.journal("-u", "zerollamad.service", "MESSAGE_ID=9f0c5a73e2b846d1b7a83c64f19d20e5")
    report.row("systemctl reload under load (median)", 1e3 * common.percentile(took, 50), "ms")
    report.must(early == 0, f"0 of {args.reloads} reloads returned before the new configuration was in force", early)
    report.must(accepted == 0, f"{args.reloads} broken configurations: systemctl reload fails", accepted)
    report.must(len(failed) == args.reloads and all(box.config_path in e["MESSAGE"] for e in failed), "each with its message in the journal", len(failed))
    report.must(not t.wrong, f"none of {t.counts['answered']} requests and {t.counts['streams']} streams was lost", dict(t.wrong))
    report.must(box.main_pid() == pid, "by one and the same daemon", box.main_pid())


async def recovery(box, s, sig, pid, traffic):
    """Seconds until a request that begins after the signal is answered by somebody who can."""
    async with traffic:
        await inside(box, "kill", f"-{int(sig)}", str(pid))
        c = Client(box.socket)
        began = time.monotonic()
        while time.monotonic() < began + PATIENCE:
            try:
                await c.connect()
                status, text, _, _ = await asyncio.wait_for(c.stream(CHAT, STORY), PATIENCE)
                if status == 200 and text == traffic.expected:
                    return time.monotonic() - began
            except (Cut, OSError):
                c.close()
            await asyncio.sleep(0.05)
    raise AssertionError("it does not recover")


def stall(box, s, report, args):
    box.write("/etc/systemd/system/zerollamad.service.d/bench.conf", "[Service]\nWatchdogSec=4s\n")
    box.systemctl("daemon-reload")
    s.configure(models=MODELS, model_defaults=SLOTS, limits={"stall_timeout": "2s"})
    s.restart()
    expected = chat_once(s)
    t = Traffic(box, 50, 8, expected)
    took = asyncio.run(recovery(box, s, signal.SIGSTOP, s.engine_pid(), t))
    report.row("engine stopped (stall_timeout 2 s): a stream that began then was whole after", took, "s")
    report.must(not t.wrong, "engine stopped: nothing lost", dict(t.wrong))
    t = Traffic(box, 50, 8, expected)
    pid = box.main_pid()
    took = asyncio.run(recovery(box, s, signal.SIGSTOP, pid, t))
    report.row("daemon stopped (WatchdogSec=4s): a stream that began after that was whole after", took, "s")
    report.row("daemon stopped: requests and streams that it had and that were lost", sum(t.wrong.values()))
    report.must(box.main_pid() != pid, "daemon stopped: replaced by systemd")
    report.must(t.lost("not even connected") == 0, "daemon stopped: nobody was turned away", dict(t.wrong))
    os.unlink(box.root + "/etc/systemd/system/zerollamad.service.d/bench.conf")
    box.systemctl("daemon-reload")


async def kills(box, s, seconds, victim, traffic, every):
    n = 0
    async with traffic:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(every * (0.5 + random.random()))
            with contextlib.suppress(Exception):
                pid = await asyncio.to_thread(victim)
                if pid:
                    n += (await inside(box, "kill", "-9", str(pid), check=False)).returncode == 0
    return n


def kill(box, s, report, args):
    s.configure(models=MODELS, model_defaults=SLOTS, limits={"restarts": 100})
    s.restart()
    expected = chat_once(s)
    t = Traffic(box, 50, 8, expected)
    n = asyncio.run(kills(box, s, args.kill_seconds, s.engine_pid, t, 1.0))
    report.row(f"kill -9 of the engine, times in {args.kill_seconds} s", n)
    report.must(not t.wrong, f"none of {t.counts['answered']} requests and {t.counts['streams']} streams was lost", dict(t.wrong))
    t = Traffic(box, 50, 8, expected)
    n = asyncio.run(kills(box, s, args.kill_seconds, box.main_pid, t, 2.0))
    report.row(f"kill -9 of the daemon, times in {args.kill_seconds} s", n)
    report.row("requests answered meanwhile", t.counts["answered"])
    report.row("requests lost that the daemon had", t.lost("request sent"))
    report.row("streams lost, of 8 that always run", t.lost("stream cut"))
    report.must(t.lost("not even connected") == 0, "nobody was turned away: who waits in the socket is served", dict(t.wrong))
    report.must(sum(t.wrong.values()) == t.lost("request sent") + t.lost("stream cut"), "nothing else went wrong", dict(t.wrong))
    report.must(chat_once(s) == expected, "it serves afterwards")


def idle(box, s, report, args):
    s.configure(idle_exit="1s", pools=[{"name": "default", "idle_exit": "1s"}], model_defaults={"keep_alive": "1s"})
    s.restart()
    chat_once(s)
    began = time.monotonic()
    harness.wait_until(lambda: box.show("ActiveState") == "inactive", "the daemon to end")
    report.row("idle_exit 1 s: everything gone after", time.monotonic() - began, "s")
    left = box.run("pgrep", "-c", "zerollama", check=False).stdout.strip()
    report.must(left == "0", "no process is left", left)
    s.configure(idle_exit="1s")
    failed, served = 0, set()
    for i in range(40):
        time.sleep(0.95 + 0.005 * i)  # somebody comes around the moment at which it goes
        try:
            answer = s.get("/zerollama/status")
            failed += answer.status != 200
            served.add(answer.json()["pid"])
        except OSError:
            failed += 1
    report.must(failed == 0, f"40 requests around the moment of the exit, answered by {len(served)} daemons", failed)


def memory(box, s, report, args):
    s.configure(models=MODELS, model_defaults=SLOTS, idle_exit="forever")
    s.restart()
    command = [os.path.join(harness.BUILD, "zerollama"), "--socket", box.socket, "bench", "null", "-c", "64", "-n", "1", "-p", "x", "--raw", "--json"]

    def run(n):
        done = subprocess.run([*command, "-r", str(n)], capture_output=True, text=True)
        if done.returncode:
            raise AssertionError(done.stdout + done.stderr)

    def look():
        time.sleep(1.5)
        pid = int(subprocess.run(["pgrep", "-n", "-x", "zerollamad", "--ns", str(box.pid), "--nslist", "pid"], capture_output=True, text=True, check=True).stdout)
        return s.rss(pid), s.fds(pid)

    run(20000)
    rss, fds = look()
    began = time.monotonic()
    run(args.requests)
    took = time.monotonic() - began
    rss_after, fds_after = look()
    report.row("null requests", args.requests)
    report.row("of them a second", args.requests / took)
    report.row("resident before", rss / 1024, "MiB")
    report.row("growth", (rss_after - rss) / 1024, "MiB", "<= 1 MiB")
    report.must(rss_after - rss <= 1024, "resident memory grew by at most 1 MiB", f"{rss_after - rss} KiB")
    report.must(fds_after == fds, "descriptors as before", f"{fds} before, {fds_after} after")


PARTS = {f.__name__: f for f in (start, restart, sandbox, reload, stall, kill, idle, memory)}


def main():
    p = common.parser(__doc__)
    p.add_argument("parts", nargs="*", metavar="PART")
    p.add_argument("--restarts", type=int, default=20)
    p.add_argument("--pause", type=float, default=4, metavar="SECONDS", help="between two of them; there are 100 requests a second")
    p.add_argument("--reloads", type=int, default=100)
    p.add_argument("--kill-seconds", type=int, default=60)
    p.add_argument("--requests", type=int, default=1000000, help="of the part memory")
    args = p.parse_args()
    for name in set(args.parts) - PARTS.keys():
        p.error(f"there is no part '{name}', only {', '.join(PARTS)}")
    report = common.Report("service", args)
    try:
        box = sdbox.Box()
    except sdbox.Absent as e:
        sys.exit(f"service.py: {e}")
    try:
        box.enter_network()
        s = sdbox.Service(box)
        for name in args.parts or PARTS:
            s.configure(models=MODELS, model_defaults=SLOTS)
            box.systemctl("start", "zerollamad.socket", "zerollamad-tcp.socket", check=False)
            s.restart()
            PARTS[name](box, s, report, args)
            print(f"{name}: done", file=sys.stderr, flush=True)
    finally:
        box.close()
    report.end()


if __name__ == "__main__":
    main()
