#!/usr/bin/env python3
"""The service inside a systemd that was booted for it: socket activation, sandbox, restarts under load, reload, watchdog,
idle exit, credentials, and who is calling. Skipped where no systemd can be booted; it-service.py speaks the same protocol
without one. bench/service.py asks the same questions at length."""

import os
import signal
import sys
import threading
import time
import unittest

sys.dont_write_bytecode = True
import harness  # noqa: E402
import sdbox  # noqa: E402
from harness import Answer, UnixConnection, chunk_text, figure, in_parallel, wait_until  # noqa: E402

UNITS = ("zerollamad.service", "zerollamad.socket", "zerollamad-tcp.socket")
RELOADED, RELOAD_FAILED = "6d41c07ab8e34f2f9b65d2a83f10c7e4", "9f0c5a73e2b846d1b7a83c64f19d20e5"
ENGINE_DIED = "c25b8e14f7a9403e8d6fb01753ea49c2"
USERS = {"zl-anna": 61001, "zl-bert": 61002, "zl-cora": 61003}
STREAM = {"model": "demo", "prompt": "Tell me a story about a fox", "max_tokens": 200, "ignore_eos": True, "temperature": 0}
DELAY = {"model": "delay", "prompt": "1ms"}
MODELS = [{"name": "delay", "path": "builtin:delay"}]
box = None


def setUpModule():
    box.run("id", "zerollama")  # made by systemd-sysusers; without it the service has a dynamic user, and that we test
    box.run("userdel", "zerollama")
    for name, uid in USERS.items():
        box.run("groupadd", "-g", str(uid), name)
        box.run("useradd", "-M", "-N", "-u", str(uid), "-g", str(uid), "-G", "users", name)


class Load:
    """Requests one after another, each on a connection of its own, until stop(); what went wrong is kept."""

    def __init__(self, s, clients):
        self.s, self.over = s, False
        self.done, self.pause, self.wrong = 0, 0.0, []
        self.threads = [threading.Thread(target=self.client, args=(i % 2,), daemon=True) for i in range(clients)]
        for t in self.threads:
            t.start()

    def connection(self, tcp):
        import http.client

        return http.client.HTTPConnection("127.0.0.1", 11434, timeout=harness.PATIENCE) if tcp else self.s.connect()

    def client(self, tcp):
        while not self.over:
            began = time.monotonic()
            try:
                c = self.connection(tcp)
                answer = self.s.post("/v1/completions", DELAY, connection=c)
                c.close()
                if answer.status != 200:
                    self.wrong.append(f"{answer.status}: {answer.text}")
            except Exception as e:  # noqa: B902: whatever it is, a request was lost
                self.wrong.append(repr(e))
            self.pause = max(self.pause, time.monotonic() - began)
            self.done += 1
            time.sleep(0.01)

    def stop(self):
        self.over = True
        for t in self.threads:
            t.join(harness.PATIENCE)
        return self.wrong


class SystemdTest(unittest.TestCase):
    def setUp(self):
        began = time.monotonic()
        self.addCleanup(lambda: figure(f"{time.monotonic() - began:.1f} s"))
        self.s = sdbox.Service(box)
        self.s.configure(models=MODELS)
        box.systemctl("stop", "zerollamad.service", *UNITS[1:], check=False)
        box.systemctl("start", *UNITS[1:])

    def is_active(self):
        return box.systemctl("is-active", "zerollamad.service", check=False).stdout.strip()

    def drop_in(self, text):
        path = "/etc/systemd/system/zerollamad.service.d/test.conf"
        box.write(path, text)
        box.systemctl("daemon-reload")

        def undo():
            os.unlink(box.root + path)
            box.systemctl("daemon-reload")

        self.addCleanup(undo)

    def test_verify_and_sandbox(self):
        done = box.run("systemd-analyze", "verify", *(f"{box.units}/{u}" for u in UNITS))
        self.assertEqual((done.stdout, done.stderr), ("", ""))
        out = box.run("systemd-analyze", "security", "--no-pager", "zerollamad.service", check=False).stdout
        exposure = float(out.rsplit("service: ", 1)[1].split()[0])
        figure(f"exposure {exposure}")
        self.assertLessEqual(exposure, 1.0)
        box.run("journalctl", "--update-catalog")
        self.assertIn("The configuration was not reloaded", box.run("journalctl", "--dump-catalog", RELOAD_FAILED).stdout)

    def test_activation(self):
        """An ordinary user, and nobody has started the service."""
        self.assertEqual(self.is_active(), "inactive")
        curl = ("curl", "-sS", "--unix-socket", box.socket_path, "http://localhost/health")
        self.assertEqual(box.run(*curl, user="zl-anna").stdout.strip(), '{"status":"ok"}')
        self.assertEqual(self.is_active(), "active")
        self.assertIn("I am the zerollama demo model", box.run(box.cli, "run", "demo", "Who are you?", user="zl-anna").stdout)
        self.assertIn("ok", box.run("curl", "-sS", "http://127.0.0.1:11434/health", user="zl-bert").stdout)
        wait_until(lambda: "demo loaded" in box.show("StatusText"), "a STATUS that tells of the model")
        self.assertRegex(box.show("StatusText"), r"\d+ running, \d+ waiting, \d+ tokens/s; demo loaded")
        self.assertEqual(set(self.s.status()["listeners"]), {os.path.realpath(box.socket_path), "127.0.0.1:11434"})
        self.assertEqual([e for e in box.journal() if int(e["PRIORITY"]) <= 3], [])

    def test_restart_under_load(self):
        """Requests and streams go on through restarts: what runs is finished, what comes waits in the socket."""
        expected = self.s.stream("/v1/completions", STREAM).text()
        load = Load(self.s, 4)
        cut, streams, over = [], [0], threading.Event()

        def stream():
            while not over.is_set():
                try:
                    text = self.s.stream("/v1/completions", STREAM).text()
                    if text != expected:
                        cut.append("another text")
                except Exception as e:  # noqa: B902
                    cut.append(repr(e))
                streams[0] += 1

        threads = [threading.Thread(target=stream, daemon=True) for _ in range(4)]
        for t in threads:
            t.start()
        pids = set()
        for _ in range(3):
            time.sleep(0.3)
            pids.add(box.main_pid())
            self.s.restart()
        over.set()
        for t in threads:
            t.join(harness.PATIENCE)
        wrong = load.stop()
        figure(f"3 restarts: {load.done} requests, {len(wrong)} failed, {streams[0]} streams, {len(cut)} cut; longest wait {load.pause:.1f} s")
        self.assertEqual((wrong, cut), ([], []))
        self.assertEqual(len(pids), 3)
        self.assertEqual(int(box.show("NRestarts")), 0)
        self.assertGreater(load.done, 0)

    def test_reload(self):
        self.s.get("/health")
        load = Load(self.s, 2)
        for i in range(5):
            self.s.configure(models=MODELS, limits={"body_size": f"{i + 2}KiB"}, reload=True)
            self.assertEqual(self.s.status()["limits"]["body_size"], 1024 * (i + 2), "the reload returned before it was done")
        for bad in ("limits:\n  conections: 5\n", "limits: [", "\x00", "models:\n  - name: a\n    pool: nowhere\n", "listen:\n  - tcp: 0.0.0.0:80\n"):
            box.write(box.config_path, bad)
            self.assertNotEqual(box.systemctl("reload", "zerollamad.service", check=False).returncode, 0)
            self.assertEqual(self.is_active(), "active")
            self.assertIn("the configuration in force is not that of the file", wait_until(
                lambda: "not that of" in box.show("StatusText") and box.show("StatusText"), "a STATUS that tells"))
        self.assertEqual(self.s.status()["limits"]["body_size"], 6 * 1024)
        self.assertEqual(load.stop(), [])
        failed = box.journal("-u", "zerollamad.service", f"MESSAGE_ID={RELOAD_FAILED}")
        self.assertEqual(len(failed), 5)
        self.assertIn(f"{box.config_path}:2:", failed[0]["MESSAGE"])
        self.assertIn("conections", box.systemctl("status", "-n", "200", "zerollamad.service").stdout)
        self.assertEqual(len(box.journal("-u", "zerollamad.service", f"MESSAGE_ID={RELOADED}")), 5)
        self.s.configure(reload=True)
        wait_until(lambda: "not that of" not in box.show("StatusText"), "a STATUS without the old error")

    def test_engine_dies_and_stalls(self):
        self.s.configure(limits={"stall_timeout": "3s", "restarts": 20})
        long = {**STREAM, "max_tokens": 450}
        expected = self.s.stream("/v1/completions", long).text()

        def interrupted(sig):
            """Whether the engine met its end in the middle: the stream may have been quicker than we."""
            stream = self.s.stream("/v1/completions", long)
            chunks = iter(stream)
            text = chunk_text(next(chunks))
            box.kill(sig, self.s.engine_pid())
            text += "".join(chunk_text(chunk) for chunk in chunks)
            stream.close()
            self.assertEqual(text, expected)
            return self.s.metrics()["zerollama_job_restarts_total"] > restarted

        for sig in (signal.SIGKILL, signal.SIGSTOP):
            restarted = self.s.metrics()["zerollama_job_restarts_total"]
            self.assertTrue(any(interrupted(sig) for _ in range(20)), "the engine never ended in the middle of a stream")
        self.assertGreaterEqual(len(box.journal("-u", "zerollamad.service", f"MESSAGE_ID={ENGINE_DIED}")), 2)
        self.assertEqual(int(box.show("NRestarts")), 0)

    def test_daemon_dies_and_stalls(self):
        """What waits in the socket is answered by the next; accounts go on."""
        self.drop_in("[Service]\nWatchdogSec=2s\n")
        self.s.complete(model="demo", max_tokens=4)
        for i, sig in enumerate((signal.SIGKILL, signal.SIGSTOP, signal.SIGKILL), 1):
            total = self.s.metrics()['zerollama_requests_total{model="demo"}']
            wait_until(lambda: "demo loaded" in box.show("StatusText"), "accounts to be kept")
            pid = box.main_pid()
            box.kill(sig, pid)
            c = UnixConnection(box.socket)
            c.request("GET", "/health")
            if sig == signal.SIGKILL:
                self.assertEqual(Answer(c.getresponse()).status, 200)
            wait_until(lambda: box.main_pid() not in (0, pid) and self.is_active() == "active", "another daemon")
            self.assertEqual(self.s.get("/health").status, 200)
            self.assertEqual(self.s.metrics()['zerollama_requests_total{model="demo"}'], total)
            self.assertEqual(int(box.show("NRestarts")), i)
            self.s.complete(model="demo", max_tokens=4)
        self.assertIn("watchdog", " ".join(e["MESSAGE"].lower() for e in box.journal()))

    def test_idle_exit(self):
        self.s.configure(idle_exit="1s", pools=[{"name": "default", "idle_exit": "1s"}], model_defaults={"keep_alive": "1s"})
        self.assertTrue(self.s.complete(model="demo", max_tokens=3))
        wait_until(lambda: self.is_active() == "inactive", "the service to end for idleness")
        self.assertEqual(box.show("Result"), "success")
        self.assertEqual(box.show("ControlGroup"), "")
        self.assertEqual(box.systemctl("is-active", *UNITS[1:]).stdout.split(), ["active", "active"])
        self.assertTrue(self.s.complete(model="demo", max_tokens=3))
        # Somebody comes exactly when it goes, again and again.
        for i in range(6):
            time.sleep(0.97 + i / 50)
            self.assertEqual(self.s.get("/health").status, 200)

    def test_who_is_calling(self):
        """The sandbox hides no caller; limits are theirs."""
        self.s.configure(log={"level": "debug"}, users=[{"name": "zl-bert", "jobs": 1}, {"name": "zl-cora", "tokens_per_minute": 20}])
        for name in USERS:
            box.run(box.cli, "run", "demo", "Who are you?", user=name)
        for name, uid in USERS.items():
            jobs = [e for e in box.journal("-u", "zerollamad.service", f"UID={uid}") if e.get("REQUEST_ID")]
            self.assertTrue(jobs, f"no job of {name} in the journal")
            self.assertEqual(jobs[0]["MODEL"], "demo")
            known = [e["MESSAGE"] for e in box.journal("-u", "zerollamad.service", f"UID={uid}") if "groups" in e["MESSAGE"]]
            self.assertIn(f"user {uid}: groups {uid} 100", known[0])
        refused = box.run(box.cli, "run", "demo", "Who are you?", user="zl-cora", check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("tokens per minute", refused.stderr)
        self.s.restart()
        refused = box.run(box.cli, "run", "demo", "Who are you?", user="zl-cora", check=False)
        self.assertIn("tokens per minute", refused.stderr, "a restart has forgotten what was spent")
        in_parallel([lambda n=n: box.run(box.cli, "run", "demo", "Who are you?", user=n) for n in ("zl-anna", "zl-bert")])

    def test_models_come_and_go(self):
        """Within its sandbox the daemon writes variants, and removes files that root has put there; for root alone. What is in
        root's directories it cannot remove, and leaves all of it."""
        models = "/var/lib/zerollama/models"
        box.run(box.cli, "list")  # its directories are made
        box.run("sh", "-c", f"cp $(find /usr -path '*zerollama/models/demo.gguf') {models}/mine.gguf")
        box.run("sh", "-c", f"mkdir {models}/dir && echo '{{}}' > {models}/dir/config.json")
        refused = box.run(box.cli, "create", "fox", "--from", "mine", user="zl-anna", check=False)
        self.assertIn("only root", refused.stderr)
        box.run(box.cli, "create", "fox", "--from", "mine", "--system", "Be a fox.", "-n", "4")
        self.s.restart()
        box.run(box.cli, "run", "fox", "Who are you?", user="zl-anna")
        refused = box.run(box.cli, "rm", "mine", check=False)
        self.assertIn("first: 'fox'", refused.stderr)
        refused = box.run(box.cli, "rm", "demo", check=False)
        self.assertIn("came with the installation", refused.stderr)
        box.run(box.cli, "rm", "fox", "mine")
        refused = box.run(box.cli, "rm", "dir", check=False)
        self.assertIn("by hand", refused.stderr)
        self.assertEqual(box.run("find", models, "-mindepth", "1").stdout, f"{models}/dir\n{models}/dir/config.json\n")
        box.run("rm", "-r", f"{models}/dir")

    def test_tcp_key(self):
        box.write("/etc/credstore/zerollama.key", "open sesame\n")
        self.addCleanup(os.unlink, box.root + "/etc/credstore/zerollama.key")
        curl = ("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:11434/api/tags")
        self.assertEqual(box.run(*curl).stdout, "401")
        self.assertEqual(box.run(*curl, "-H", "Authorization: Bearer open sesame").stdout, "200")
        self.assertEqual(self.s.get("/api/tags").status, 200)


if __name__ == "__main__":
    try:
        began = time.monotonic()
        box = sdbox.Box()
        box.enter_network()
        figure(f"a systemd was booted in {time.monotonic() - began:.1f} s")
    except sdbox.Absent as e:
        print(f"SKIP: {e}")
        sys.exit(harness.SKIP)
    try:
        result = unittest.main(verbosity=2, warnings="ignore", exit=False).result
        if not result.wasSuccessful():
            print(box.run("journalctl", "--no-pager", "-o", "short-precise", "-n", "300", check=False).stdout)
    finally:
        box.close()
    sys.exit(not result.wasSuccessful())
