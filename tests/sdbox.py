"""A booted systemd with zerollama installed, in less than a second and gone without a trace.

The box is an overlay of this machine's own file system, with an installed tree on top, started by systemd-nspawn with a
network, processes, and users' services of its own. What is written inside lies in memory. The tree is what `make install`
makes, or the directory that $ZEROLLAMA_TEST_STAGE names (an unpacked package, say).

Needs root, systemd-nspawn, unshare, nsenter, and a kernel that lets us mount; Absent says which of them is not there.
It moves the calling process into a mount namespace of its own, and with Box.enter_network() into the box's network.
"""

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import harness  # noqa: E402

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
CGROUP = "/sys/fs/cgroup"
UNIT_PATH = ("/etc", "/usr", "/usr/local", "/")
BOOT = 60 * harness.SLOW  # seconds


class Absent(Exception):
    """What a box needs is not there."""


def namespace(call, *args):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, call)(*args) != 0:
        raise Absent(f"{call}: {os.strerror(ctypes.get_errno())}")


def command(*args):
    done = subprocess.run(args, capture_output=True, text=True)
    if done.returncode != 0:
        raise Absent(f"{' '.join(args[:2])}: {done.stderr.strip()}")


def stage_tree(directory):
    """The installed tree."""
    given = os.environ.get("ZEROLLAMA_TEST_STAGE")
    if given:
        return given
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "DESTDIR")}
    done = subprocess.run(
        ["make", "-C", harness.BUILD, "install", f"DESTDIR={directory}"], capture_output=True, text=True, env=environment
    )
    if done.returncode != 0:
        raise AssertionError(f"make install: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return directory


def check_tools():
    if os.geteuid() != 0:
        raise Absent("it takes root to boot a systemd")
    if harness.SANITIZED:
        raise Absent("sanitizers do what the sandbox forbids")
    for tool in ("systemd-nspawn", "unshare", "nsenter", "setpriv"):
        if not shutil.which(tool):
            raise Absent(f"{tool} is not installed (Debian: systemd-container, util-linux)")


def cgroup_hierarchies():
    """Of version 1 those that matter to systemd; of version 2 the one there is."""
    if os.path.exists(f"{CGROUP}/cgroup.procs"):
        return [CGROUP]
    names = ("systemd", "unified", "devices", "memory", "pids")
    return [f"{CGROUP}/{n}" for n in names if os.path.exists(f"{CGROUP}/{n}/cgroup.procs")]


class Box:
    def __init__(self):
        self.nspawn = self.pid = self.dir = self.stage = None
        check_tools()
        try:
            self.boot()
        except BaseException:
            self.close()
            raise

    # Up

    def boot(self):
        namespace("unshare", CLONE_NEWNS)
        command("mount", "--make-rprivate", "/")
        self.dir = tempfile.mkdtemp(prefix="zl-box-")
        self.name = os.path.basename(self.dir)
        self.mount()
        self.read_paths()
        with open(f"{self.dir}/console", "wb") as console:
            self.nspawn = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "systemd-nspawn", "-q", "-D", f"{self.dir}/m", "-M", f"zl-{os.getpid()}",
                 "--register=no", "--keep-unit", "--private-network", "--link-journal=no", "--console=pipe",
                 "--kill-signal=SIGRTMIN+4", "--capability=CAP_IPC_LOCK", "-b", "systemd.unit=basic.target"],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, preexec_fn=self.enter_cgroup,
            )  # fmt: skip
        self.wait_booted()
        for controller in ("devices", "memory", "pids"):  # else the limits of services would not be enforced
            self.run("mount", "-o", "remount,bind,rw", f"{CGROUP}/{controller}", check=False)
        self.run("systemctl", "daemon-reexec")
        self.run("ldconfig")

    def mount(self):
        command("mount", "-t", "tmpfs", "-o", "size=2g", "zl-box", self.dir)
        for part in ("u", "w", "m", "stage"):
            os.mkdir(f"{self.dir}/{part}")
        command("cp", "-a", f"{stage_tree(self.dir + '/stage')}/.", f"{self.dir}/u/")
        command("mount", "-t", "overlay", "-o", f"lowerdir=/,upperdir={self.dir}/u,workdir={self.dir}/w", "zl-box", f"{self.dir}/m")

    def read_paths(self):
        """Where this build installs what, as its units say."""
        found = [f"{p}/lib/systemd/system" for p in UNIT_PATH if os.path.exists(f"{self.dir}/u{p}/lib/systemd/system/zerollamad.service")]
        if not found:
            raise Absent("this build installs no units where systemd looks for them (see configure --prefix)")
        self.units = found[0]
        with open(f"{self.dir}/u{self.units}/zerollamad.service", encoding="utf-8") as f:
            service = f.read()
        self.daemon = re.search(r"^ExecStart=(\S+)", service, re.M)[1]
        self.cli = re.search(r"^ExecReload=(\S+)", service, re.M)[1]
        self.socket_path = re.search(r"--socket (\S+)", service)[1]
        usage = subprocess.run([self.dir + "/u" + self.daemon, "--help"], capture_output=True, text=True).stdout
        self.config_path = re.search(r"\[(\S+) where it exists\]", usage)[1]

    def enter_cgroup(self):
        for h in cgroup_hierarchies():
            os.makedirs(f"{h}/{self.name}", exist_ok=True)
            with open(f"{h}/{self.name}/cgroup.procs", "w", encoding="ascii") as f:
                f.write("0")

    def wait_booted(self):
        end = time.monotonic() + BOOT
        while time.monotonic() < end:
            if self.nspawn.poll() is not None:
                break
            with contextlib.suppress(OSError):
                with open(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children", encoding="ascii") as f:
                    self.pid = int((f.read().split() or ["0"])[0])
            if self.pid and self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded"):
                return
            time.sleep(0.02)
        with open(f"{self.dir}/console", encoding="utf-8", errors="replace") as f:
            raise Absent(f"systemd does not boot in a container here: {f.read()[-500:].strip()}")

    # Inside

    @property
    def root(self):
        return f"/proc/{self.pid}/root"

    @property
    def socket(self):
        return self.root + os.path.realpath(self.socket_path)

    def run(self, *args, user=None, check=True, timeout=None, **kw):
        """A command inside; output is captured."""
        who = ["runuser", "-u", user, "--"] if user else []
        done = subprocess.run(
            ["nsenter", "-t", str(self.pid), "-a", "--", *who, *args],
            capture_output=True, text=True, timeout=timeout or 2 * harness.PATIENCE, stdin=subprocess.DEVNULL, **kw,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(args)}: exit status {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def systemctl(self, *args, **kw):
        return self.run("systemctl", *args, **kw)

    def show(self, name, unit="zerollamad.service"):
        return self.run("systemctl", "show", "-p", name, "--value", unit).stdout.strip()

    def write(self, path, text):
        os.makedirs(os.path.dirname(self.root + path), exist_ok=True)
        with open(self.root + path, "w", encoding="utf-8") as f:
            f.write(text)

    def journal(self, *matches):
        """The entries of the service, as dicts."""
        import json

        self.run("journalctl", "--sync", check=False)
        out = self.run("journalctl", "-o", "json", "-q", *(matches or ("-u", "zerollamad.service"))).stdout
        return [json.loads(line) for line in out.splitlines()]

    def main_pid(self):
        """Of the service, as the box numbers it; 0: none."""
        return int(self.show("MainPID") or 0)

    def kill(self, sig, pid):
        self.run("kill", f"-{int(sig)}", str(pid))

    def enter_network(self):
        with open(f"/proc/{self.pid}/ns/net", encoding="ascii") as f:
            namespace("setns", f.fileno(), CLONE_NEWNET)

    # Down

    def close(self):
        if self.nspawn and self.nspawn.poll() is None:
            self.nspawn.terminate()  # the inner systemd is told to power off
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.nspawn.wait(15)
            for pid in (self.pid, self.nspawn.pid):
                with contextlib.suppress(ProcessLookupError, TypeError):
                    if self.nspawn.poll() is None:
                        os.kill(pid, signal.SIGKILL)
            self.nspawn.wait()
        if not self.dir:
            return
        for mounted in (f"{self.dir}/m", self.dir):
            subprocess.run(["umount", "-l", mounted], capture_output=True)
        with contextlib.suppress(OSError):
            os.rmdir(self.dir)
        for h in cgroup_hierarchies():
            for path, _, _ in os.walk(f"{h}/{self.name}", topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(path)


class Service(harness.Daemon):
    """The daemon as the box's systemd runs it: requests and looks as of any other."""

    def __init__(self, box):
        self.box = box
        self.socket = box.socket

    def configure(self, reload=False, **config):
        """Puts a configuration in force."""
        import json

        self.box.write(self.box.config_path, json.dumps(config))
        if reload:
            self.box.systemctl("reload", "zerollamad.service")

    def restart(self):
        self.box.systemctl("restart", "zerollamad.service")
