#!/usr/bin/env python3
"""The Debian packages in a systemd booted for them, as people meet them: install, ask, bring a model, upgrade under load,
remove, purge. Started by package-check with the directory of the packages; skipped where no systemd can be booted."""

import glob
import os
import shutil
import sys
import tempfile
import threading
import time
import unittest

sys.dont_write_bytecode = True
import harness  # noqa: E402
import sdbox  # noqa: E402
from harness import SKIP, Answer, UnixConnection, figure  # noqa: E402

USER = "zl-somebody"
QUESTION = ("zerollama", "run", "demo", "-t", "0", "Who are you?")
KEPT = ("/etc/zerollama", "/run/zerollama", "/var/lib/zerollama", "/var/lib/private/zerollama", "/var/cache/zerollama",
        "/var/cache/private/zerollama", "/usr/sbin/zerollamad", "/lib/systemd/system/zerollamad.service",
        "/etc/systemd/system/sockets.target.wants/zerollamad.socket")  # fmt: skip
box = None


class PackageBox(sdbox.Box):
    """A box that has only the packages, to be installed inside."""

    def __init__(self, packages):
        self.tree = tempfile.TemporaryDirectory(prefix="zl-")
        os.chmod(self.tree.name, 0o755)  # it becomes the box's root directory
        os.makedirs(f"{self.tree.name}/var/tmp/zerollama")
        for name in ("zerollama", "libzerollama0"):
            shutil.copyfile(glob.glob(f"{packages}/{name}_*.deb")[0], f"{self.tree.name}/var/tmp/zerollama/{name}.deb")
        os.environ["ZEROLLAMA_TEST_STAGE"] = self.tree.name
        super().__init__()

    def read_paths(self):
        self.socket_path = "/run/zerollama/api.sock"

    def boot(self):
        super().boot()
        self.run("rm", "-f", "/usr/sbin/policy-rc.d")  # with which images of containers forbid services to start

    def apt(self, *args):
        return self.run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", *args, timeout=4 * harness.PATIENCE)

    def is_active(self, unit):
        return self.systemctl("is-active", unit, check=False).stdout.strip()


class PackageTest(unittest.TestCase):
    """One life, in order."""

    def test_1_install(self):
        box.apt("install", "--no-install-recommends", *(f"/var/tmp/zerollama/{n}.deb" for n in ("zerollama", "libzerollama0")))
        self.assertEqual(box.is_active("zerollamad.socket"), "active")
        self.assertEqual(box.is_active("zerollamad.service"), "inactive")
        self.assertEqual(box.is_active("zerollamad-tcp.socket"), "inactive")
        box.run("useradd", "-M", USER)
        began = time.monotonic()
        self.assertIn("zerollama demo model", box.run(*QUESTION, user=USER).stdout)
        figure(f"from a new installation to a first answer: {time.monotonic() - began:.2f} s")
        self.assertEqual(box.is_active("zerollamad.service"), "active")
        self.assertEqual(box.run("systemd-analyze", "verify", "zerollamad.service", "zerollamad.socket").stderr, "")

    def test_2_model(self):
        """Copied by root to where the page says, it is there for everybody, and still after a restart."""
        box.run("cp", "/usr/share/zerollama/models/demo.gguf", "/var/lib/zerollama/models/mine.gguf")
        for _ in range(2):
            self.assertIn("mine", box.run("zerollama", "list", user=USER).stdout)
            self.assertIn("zerollama", box.run("zerollama", "run", "mine", "-t", "0", "Who are you?", user=USER).stdout)
            box.systemctl("restart", "zerollamad.service")

    def test_3_upgrade(self):
        """While somebody asks all the time."""
        over, answers, failures = threading.Event(), [], []

        def ask():
            while not over.is_set():
                try:
                    c = UnixConnection(box.socket)
                    c.request("POST", "/api/generate", '{"model": "demo", "prompt": "Who are you?", "stream": false}')
                    answer = Answer(c.getresponse())
                    (answers if answer.status == 200 else failures).append(answer.text)
                    c.close()
                except Exception as e:  # noqa: B902: every failure counts, of whatever kind
                    failures.append(repr(e))

        asking = threading.Thread(target=ask)
        asking.start()
        before = box.main_pid()
        try:
            box.apt("install", "--reinstall", *(f"/var/tmp/zerollama/{n}.deb" for n in ("zerollama", "libzerollama0")))
        finally:
            over.set()
            asking.join()
        self.assertEqual(failures, [])
        self.assertNotEqual(box.main_pid(), before)
        self.assertGreater(len(answers), 0)
        figure(f"upgraded to itself during {len(answers)} requests: none failed")

    def test_4_remove_and_purge(self):
        box.apt("remove", "zerollama")
        for unit in ("zerollamad.socket", "zerollamad.service"):
            self.assertNotEqual(box.is_active(unit), "active")
        self.assertTrue(os.path.lexists(box.root + "/var/lib/zerollama"))
        self.assertFalse(os.path.lexists(box.root + "/run/zerollama"))
        box.run("rm", "/var/lib/zerollama/models/mine.gguf")
        box.apt("purge", "zerollama", "libzerollama0")
        self.assertEqual([path for path in KEPT if os.path.lexists(box.root + path)], [])
        self.assertEqual(box.run("getent", "passwd", "zerollama", check=False).stdout, "")


if __name__ == "__main__":
    try:
        box = PackageBox(sys.argv.pop(1))
    except sdbox.Absent as e:
        print(f"SKIP: {e}")
        sys.exit(SKIP)
    try:
        harness.main()
    finally:
        box.close()
