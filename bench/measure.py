"""What the measurements share: programs under test in a directory of their own, the load generator, and what must be
known of a machine to read its figures."""

import contextlib
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import threading
import time

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TICK = os.sysconf("SC_CLK_TCK")
PATIENCE = 30  # seconds until a server that does not come up is given up


def fail(text):
    sys.exit(f"{os.path.relpath(sys.argv[0])}: {text}")


class Build:
    """A build directory, with the programs that are measured."""

    def __init__(self, path):
        self.path = os.path.abspath(path)
        self.daemon = os.path.join(self.path, "zerollamad")
        self.cli = os.path.join(self.path, "zerollama")
        for program in (self.daemon, self.cli, os.path.join(self.path, "zerollama-engine")):
            if not os.access(program, os.X_OK):
                fail(f"{program} is not there; build zerollama, and name its build directory with --build")

    def commit(self):
        """What was built: of the source directory that the Makefile names, which need not be this one."""
        with contextlib.suppress(OSError), open(os.path.join(self.path, "Makefile"), encoding="utf-8") as f:
            for line in f:
                name, _, value = line.partition(" = ")
                if name == "abs_top_srcdir":
                    return first_line("git", "-C", value.strip(), "describe", "--always", "--dirty")
        return None


# ---- Processes ----


def children(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return [int(word) for word in f.read().split()]
    return []


def cpu_seconds(pid):
    """Processor time of all threads of a process, user and system; in steps of 10 ms."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
        fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK
    return 0.0


def busy_seconds():
    """Processor time of everything on the machine, and what the hypervisor kept from it."""
    with open("/proc/stat", encoding="ascii") as f:
        user, nice, system, _, _, irq, softirq, steal = map(int, f.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICK


class Server:
    """A program that listens on self.socket; ended, with what it started, when the `with` is left."""

    def __init__(self, command, env=None):
        self.temporary = tempfile.TemporaryDirectory(prefix="zl-bench-")
        self.dir = self.temporary.name
        self.socket = os.path.join(self.dir, "api.sock")
        self.command = command
        self.env = env or {}
        self.process = None

    def __enter__(self):
        self.log = os.path.join(self.dir, "log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [word.replace("@SOCKET@", self.socket).replace("@DIR@", self.dir) for word in self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.env},
            )
        try:
            self.wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def wait(self):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self.process.poll() is None:
            with socket.socket(socket.AF_UNIX) as s, contextlib.suppress(OSError):
                s.connect(self.socket)
                return
            time.sleep(0.02)
        with open(self.log, encoding="utf-8", errors="replace") as f:
            fail(f"{' '.join(self.command)} did not start:\n{f.read()}")

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.temporary.cleanup()

    def cpu(self):
        """Of the server itself, and of the processes it started."""
        return cpu_seconds(self.process.pid), sum(map(cpu_seconds, children(self.process.pid)))


class Daemon(Server):
    """zerollamad on its own socket with load-test models only; limits as wide as the bench needs them."""

    def __init__(self, build, models):
        super().__init__(
            [build.daemon, "--config", "@DIR@/zerollamad.yaml", "--log-level", "warning"],
            {"ZEROLLAMA_LIBEXEC": build.path},
        )
        config = {
            "listen": [{"unix": self.socket}],
            "models_path": self.dir,
            "pools": [{"name": "default", "device": "cpu"}],
            "models": models,
            "limits": {"connections": 16384, "connections_per_user": 16384, "memory_per_user": "4GiB"},
        }
        with open(os.path.join(self.dir, "zerollamad.yaml"), "w", encoding="utf-8") as f:
            json.dump(config, f, indent=1)  # YAML understands JSON


# ---- Load ----


def run_load(build, server, model, clients, requests, *options):
    """One stage of `zerollama bench`, as the object it prints, with the processor time it took: `client`, `server` and
    `engine` (what the server started) in seconds per request, `others` in processors kept busy by anything else."""
    command = [build.cli, "--json", "bench", model, "--clients", str(clients)]
    command += ["--requests", str(requests), *map(str, options)]
    busy, cpu, begin = busy_seconds(), server.cpu(), time.monotonic()
    env = {**os.environ, "ZEROLLAMA_HOST": server.socket}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        errors = []
        reader = threading.Thread(target=lambda: errors.append(process.stderr.read()))
        reader.start()
        output = process.stdout.read()
        reader.join()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - begin
    server_cpu, engine_cpu = (after - before for before, after in zip(cpu, server.cpu()))
    if not output.strip():
        fail(f"{' '.join(command)} failed: {errors[0].strip()}")
    row = json.loads(output)
    own = server_cpu + engine_cpu + usage.ru_utime + usage.ru_stime
    row["cpu"] = {
        "client": row.pop("client_cpu"),
        "server": server_cpu / requests,
        "engine": engine_cpu / requests,
        "others": max(0.0, busy_seconds() - busy - own) / seconds,
    }
    return row


# ---- The machine ----


def percentile(values, p):
    """The smallest value that so many of the others do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-p * len(ordered) // 1) - 1)]


def timer_lateness(n=200, seconds=0.005):
    """By how much a sleep of 5 ms is too long, in seconds: what the machine adds to every wait."""
    late = []
    for _ in range(n):
        begin = time.monotonic()
        time.sleep(seconds)
        late.append(time.monotonic() - begin - seconds)
    return {"p50": percentile(late, 0.5), "p99": percentile(late, 0.99), "max": max(late)}


def first_line(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return (done.stdout or done.stderr).strip().partition("\n")[0]


def describe_machine(build):
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        names = [line.partition(":")[2].strip() for line in f if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.machine(),
        "processors": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "zerollama": first_line(build.cli, "--version"),
        "commit": build.commit(),
        "load_average": os.getloadavg(),
        "timer_lateness": timer_lateness(),
    }


def table(header, rows):
    """In Markdown, lined up to be read as it is."""
    widths = [max(map(len, column)) for column in zip(header, *rows)]
    lines = [header, ["-" * (w - 1) + ":" for w in widths], *rows]
    return "".join("| " + " | ".join(c.rjust(w) for c, w in zip(cells, widths)) + " |\n" for cells in lines)


def save(name, text):
    path = os.path.join(SOURCE, "bench", "results", name)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    print(f"written: {os.path.relpath(path)}")
