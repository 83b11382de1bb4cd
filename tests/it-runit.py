#!/usr/bin/env python3
"""The runit service of etc/runit, run as runsv runs it: in its directory, a log on standard output, told what to do by
signals. Its ./conf says where the programs and directories of the test are."""

import os
import shutil
import pwd
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from harness import BUILD, PATIENCE, SRC, Answer, Case, UnixConnection, main, wait_until  # noqa: E402

SERVICE = os.path.join(SRC, "etc", "runit", "zerollamad")


class RunitTest(Case):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="zl-")
        self.addCleanup(temporary.cleanup)
        self.dir = temporary.name
        self.service = os.path.join(self.dir, "zerollamad")
        self.socket = os.path.join(self.dir, "run", "api.sock")
        self.log_path = os.path.join(self.dir, "log")
        shutil.copytree(SERVICE, self.service)
        for directory in (self.service, os.path.join(self.service, "log")):
            os.chmod(directory, 0o755)  # those of the source may be read-only
        os.makedirs(os.path.join(self.dir, "state", "models"))
        os.symlink(os.path.join(SRC, "demo", "demo.gguf"), os.path.join(self.dir, "state", "models", "demo.gguf"))
        self.configure(f"user={pwd.getpwuid(os.getuid()).pw_name}")

    def configure(self, *lines):
        lines += (f"zerollamad={BUILD}/zerollamad", f"RUNTIME_DIRECTORY={self.dir}/run", f"STATE_DIRECTORY={self.dir}/state")
        with open(os.path.join(self.service, "conf"), "w", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")

    def runsv(self):
        with open(self.log_path, "ab") as log:
            p = subprocess.Popen(["./run"], cwd=self.service, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.DEVNULL,
                                 env={**os.environ, "ZEROLLAMA_LIBEXEC": BUILD})
        self.addCleanup(lambda: p.poll() is None and p.kill())
        return p

    def check(self):
        environment = {**os.environ, "PATH": BUILD + ":" + os.environ["PATH"]}
        return subprocess.run(["./check"], cwd=self.service, env=environment, timeout=PATIENCE).returncode

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def test_life(self):
        self.assertNotEqual(self.check(), 0)
        p = self.runsv()
        wait_until(lambda: p.poll() is not None or os.path.exists(self.socket) and self.check() == 0, "the service to be up")
        c = UnixConnection(self.socket)
        c.request("POST", "/api/generate", '{"model": "demo", "prompt": "Who are you?", "stream": false}')
        self.assertIn("zerollama", Answer(c.getresponse()).json()["response"])
        p.send_signal(signal.SIGHUP)
        wait_until(lambda: "configuration reloaded" in self.log(), "the reload")
        p.send_signal(signal.SIGTERM)
        self.assertEqual(p.wait(PATIENCE), 0, self.log())
        self.assertIn("listening on " + self.socket, self.log())
        self.assertFalse(os.path.exists(self.socket))

    def test_no_such_user(self):
        """It says what is wrong, in the log, and does not start as somebody else."""
        self.configure("user=zerollama-nobody-has-this-name")
        self.assertNotEqual(self.runsv().wait(PATIENCE), 0)
        self.assertIn("zerollama-nobody-has-this-name", self.log())
        self.assertFalse(os.path.exists(self.socket))


if __name__ == "__main__":
    main()
