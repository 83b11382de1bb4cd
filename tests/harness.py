"""What the integration tests share: the real daemon in a directory of its own, and clients that look closely.

A Daemon is started with a configuration made for the test, says READY to a notify socket the test owns, and is ended
by the test, which then demands a clean exit and a log without sanitizer reports. Only processes started here are
signalled.

Models are tiny real ones from the test data; where there are none, the demo model stands in for each of them, and only
the tests that compare with texts computed elsewhere are skipped.
Times scale with $ZEROLLAMA_TEST_SLOW; builds with a sanitizer are found out and given five times as long.
"""

import array
import contextlib
import http.client
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

SRC = os.path.abspath(os.environ.get("top_srcdir", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")))
BUILD = os.path.abspath(os.environ.get("top_builddir", "."))
DATA = os.environ.get("ZEROLLAMA_TEST_DATA", os.path.join(SRC, "..", "shared", "data"))
ZEROLLAMAD = os.path.join(BUILD, "zerollamad")
SKIP = 77
GGUF_U32, GGUF_STRING = 4, 8  # types of keys

STORIES, BABY = "stories260K-f32", "babyllama105-f16"  # real, tiny, with texts computed elsewhere
PROMPT = "Once upon a time"
# Copies of STORIES with what it has not: a chat template, and tokens that mark where to fill in.
CHAT, FILL = "stories-chat", "stories-fill"
TEMPLATE = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
FILL_PREFIX, FILL_SUFFIX, FILL_MIDDLE = 3, 4, 5

SANITIZER_REPORT = re.compile(r"ERROR: AddressSanitizer|runtime error:|LeakSanitizer|ThreadSanitizer|MemorySanitizer")


def is_sanitized():
    with open(ZEROLLAMAD, "rb") as f:
        program = f.read()
    return any(s in program for s in (b"__asan_init", b"__tsan_init", b"__ubsan_handle"))


SANITIZED = is_sanitized() if os.path.exists(ZEROLLAMAD) else False
SLOW = float(os.environ.get("ZEROLLAMA_TEST_SLOW", "5" if SANITIZED else "1"))
PATIENCE = 30 * SLOW  # seconds until something that must happen is said not to


def have_data(*path):
    return os.path.exists(os.path.join(DATA, *path))


def data(*path):
    return os.path.join(DATA, *path)


def model_file(name):
    path = data("models", name + ".gguf")
    return path if os.path.exists(path) else os.path.join(SRC, "demo", "demo.gguf")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def figure(text):
    print(f"  figure: {text}", flush=True)


def main(needs_data=False):
    """Runs the tests of a file; 77 where what they need is not there."""
    if needs_data and not have_data("models", STORIES + ".gguf"):
        print(f"SKIP: no test data in {DATA}")
        sys.exit(SKIP)
    unittest.main(verbosity=2, warnings="ignore")


def wait_until(condition, what, timeout=None):
    end = time.monotonic() + (timeout or PATIENCE)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"still waiting for: {what}")
        time.sleep(0.01)


# ---- models ----


def with_keys(source, target, *entries):
    """Copies a GGUF file with keys added: (name, type, value as bytes). One more of spaces makes them as long as a multiple
    of the alignment, so that nothing else moves against it."""
    with open(source, "rb") as f:
        old = f.read()
    magic, version, n_tensors, n_keys = struct.unpack_from("<4sIQQ", old)

    def packed(key, kind, value):
        return struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + value

    new = b"".join(packed(*e) for e in entries)
    room = -(len(new) + len(packed("test.spaces", GGUF_STRING, gguf_string("")))) % 32
    new += packed("test.spaces", GGUF_STRING, gguf_string(" " * room))
    with open(target, "wb") as f:
        f.write(struct.pack("<4sIQQ", magic, version, n_tensors, n_keys + len(entries) + 1) + new + old[24:])


def gguf_string(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


COPIES = {
    CHAT: [("tokenizer.chat_template", GGUF_STRING, gguf_string(TEMPLATE))],
    FILL: [
        ("tokenizer.ggml.fim_pre_token_id", GGUF_U32, struct.pack("<I", FILL_PREFIX)),
        ("tokenizer.ggml.fim_suf_token_id", GGUF_U32, struct.pack("<I", FILL_SUFFIX)),
        ("tokenizer.ggml.fim_mid_token_id", GGUF_U32, struct.pack("<I", FILL_MIDDLE)),
    ],
}


# ---- HTTP ----


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=None):
        super().__init__("localhost", timeout=timeout or PATIENCE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Answer:
    """A whole answer: status, headers, body; json() where it is some."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def text(self):
        return self.body.decode()

    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """Of either dialect: the message."""
        e = self.json()["error"]
        return e if isinstance(e, str) else e["message"]

    @property
    def param(self):
        return self.json()["error"]["param"]


class Stream:
    """A streaming answer. Iterating yields its parsed chunks, each of which must be whole and valid UTF-8."""

    def __init__(self, connection, response):
        self.connection = connection
        self.response = response
        self.status = response.status
        self.type = response.getheader("Content-Type")
        self.done = False  # said [DONE], or "done": true

    def __iter__(self):
        for line in self.response:
            line = line.decode("utf-8").rstrip("\n")
            if self.type == "text/event-stream":
                if not line:
                    continue
                assert line.startswith("data: "), f"no event: {line!r}"
                line = line[6:]
                if line == "[DONE]":
                    self.done = True
                    continue
            assert not self.done, f"after the end: {line!r}"
            chunk = json.loads(line)
            self.done = bool(chunk.get("done"))
            yield chunk

    def text(self):
        """The rest of it, which must end in order."""
        text = ""
        for chunk in self:
            if "error" in chunk:
                raise AssertionError(f"error in mid-stream: {chunk['error']}")
            text += chunk_text(chunk)
        assert self.done, "the stream ended without its last chunk"
        self.close()
        return text

    def close(self):
        self.connection.close()


def chunk_text(chunk):
    if "choices" in chunk:
        return "".join(c["text"] if "text" in c else c["delta"].get("content") or "" for c in chunk["choices"])
    return chunk["message"]["content"] if "message" in chunk else chunk["response"]


# ---- the service manager ----


class Manager:
    """A notify socket, every message that came through it, and the descriptors it was asked to keep, by name."""

    def __init__(self, directory):
        self.path = os.path.join(directory, "notify.sock")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.messages = []
        self.store = {}
        self.changed = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            try:
                message, fds, _, _ = socket.recv_fds(self.socket, 65536, 16)
            except OSError:
                return
            if not message:
                return
            self.keep(message.decode().split("\n"), fds)
            with self.changed:
                self.messages.append((time.monotonic(), message.decode()))
                self.changed.notify_all()

    def keep(self, lines, fds):
        """FDSTORE=1 and its reverse; all other descriptors are closed at once, which is the answer to BARRIER=1."""
        name = next((line[7:] for line in lines if line.startswith("FDNAME=")), "stored")
        if "FDSTORE=1" in lines or "FDSTOREREMOVE=1" in lines:
            for fd in self.store.pop(name, []):
                os.close(fd)
        if "FDSTORE=1" in lines:
            self.store[name], fds = fds, []
        for fd in fds:
            os.close(fd)

    def find(self, word, since=0):
        """Index and time of the first message at or after `since` that has the line, or a line that starts with it."""
        for i, (when, message) in enumerate(self.messages[since:], since):
            if any(line == word or line.startswith(word) for line in message.split("\n")):
                return i, when
        return None

    def wait(self, word, since=0, timeout=None, alive=lambda: True):
        end = time.monotonic() + (timeout or PATIENCE)
        with self.changed:
            while not (found := self.find(word, since)):
                if time.monotonic() > end or not alive():
                    raise AssertionError(f"no {word} from the daemon")
                self.changed.wait(0.05)
            return found

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


# ---- the daemon ----


class Daemon:
    """zerollamad with `config` (a dict; the socket and the models are added), ready when made.

    sockets: listening sockets to pass, as a service manager does; stored: descriptors kept for it, {name: fd}.
    env: more environment; None removes."""

    def __init__(self, config=None, env=None, models=(STORIES, BABY, CHAT), sockets=(), stored=None, args=(), wait=True):
        self.temporary = tempfile.TemporaryDirectory(prefix="zl-")
        self.dir = self.temporary.name
        self.socket = os.path.join(self.dir, "api.sock")
        self.models = os.path.join(self.dir, "models")
        self.config_path = os.path.join(self.dir, "config.yaml")
        self.log_path = os.path.join(self.dir, "log")
        self.process = None
        self.stopped = False
        os.mkdir(self.models)
        for name in models:
            self.add_model(name)
        self.config = {}
        self.write_config(config or {})
        self.manager = Manager(self.dir)
        self.start(env or {}, sockets, stored or {}, args, wait)

    def add_model(self, name):
        path = os.path.join(self.models, name + ".gguf")
        if name in COPIES and have_data("models", STORIES + ".gguf"):
            with_keys(model_file(STORIES), path, *COPIES[name])
        else:
            os.symlink(model_file(name), path)

    def write_config(self, config):
        """YAML understands JSON."""
        self.config = {"listen": [{"unix": self.socket}], "models_path": self.models, **config}
        with open(self.config_path, "w", encoding="utf-8") as f:
            json.dump(self.config, f, indent=1)

    def change_config(self, **config):
        self.write_config({**self.config, **config})

    def start(self, env, sockets, stored, args, wait):
        environment = {**os.environ, "ZEROLLAMA_LIBEXEC": BUILD, "NOTIFY_SOCKET": self.manager.path, **env}
        environment = {k: v for k, v in environment.items() if v is not None}
        command = [ZEROLLAMAD, "--config", self.config_path, *args]
        passed = [s.fileno() for s in sockets] + list(stored.values())
        if passed:  # $LISTEN_PID must be the daemon's own: a shell that becomes it knows
            command = ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *command]
            environment["LISTEN_FDS"] = str(len(passed))
            environment["LISTEN_FDNAMES"] = ":".join(["api"] * len(sockets) + list(stored))

        def pass_fds():
            high = [os.dup(fd) for fd in passed]  # out of the way of where they go
            while high and min(high) < 3 + len(high):
                high = [os.dup(fd) for fd in high]
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i)

        self.started = time.monotonic()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                close_fds=not passed,
                preexec_fn=pass_fds if passed else None,
            )
        if wait:
            try:
                self.ready_after = (
                    self.manager.wait("READY=1", alive=lambda: self.process.poll() is None)[1] - self.started
                )
            except AssertionError:
                raise AssertionError(f"the daemon did not start: {self.log()}") from None

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    # Requests

    def connect(self, timeout=None):
        return UnixConnection(self.socket, timeout)

    def request(self, method, path, body=None, headers=None, connection=None, timeout=None):
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        c = connection or self.connect(timeout)
        c.request(method, path, body.encode() if isinstance(body, str) else body, headers or {})
        answer = Answer(c.getresponse())
        if not connection:
            c.close()
        return answer

    def get(self, path, **kw):
        return self.request("GET", path, **kw)

    def post(self, path, body, **kw):
        return self.request("POST", path, body, **kw)

    def stream(self, path, body):
        c = self.connect()
        c.request("POST", path, json.dumps({"stream": True, **body}))
        response = c.getresponse()
        if response.status != 200:
            raise AssertionError(f"{response.status}: {response.read().decode()}")
        return Stream(c, response)

    def complete(self, prompt=PROMPT, stream=False, model=STORIES, **fields):
        """The text that /v1/completions gives; greedy unless told otherwise."""
        body = {"model": model, "prompt": prompt, "temperature": 0, **fields}
        if stream:
            return self.stream("/v1/completions", body).text()
        answer = self.post("/v1/completions", body)
        if answer.status != 200:
            raise AssertionError(f"{answer.status}: {answer.text}")
        return answer.json()["choices"][0]["text"]

    # What is seen from outside

    @property
    def pid(self):
        return self.process.pid

    def status(self):
        return self.get("/zerollama/status").json()

    def engine_pid(self, pool=0):
        return self.status()["pools"][pool]["pid"]

    def metrics(self):
        """{"name{labels}": value}"""
        samples = (line.rsplit(" ", 1) for line in self.get("/metrics").text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    def outcomes(self):
        m = self.metrics()
        return {
            k: int(m[f'zerollama_jobs_total{{outcome="{k}"}}']) for k in ("completed", "failed", "cancelled", "refused")
        }

    def admitted(self):
        return sum(int(v) for k, v in self.metrics().items() if k.startswith("zerollama_requests_total{"))

    def fds(self, pid=None):
        return len(os.listdir(f"/proc/{pid or self.pid}/fd"))

    def rss(self, pid=None):
        """KiB"""
        with open(f"/proc/{pid or self.pid}/status", encoding="ascii") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read())[1])

    def wait_idle(self):
        """No jobs, and no connection but the one that asks."""

        def idle():
            s = self.status()
            return s["jobs"]["running"] == s["jobs"]["waiting"] == 0 and s["connections"] <= 1

        wait_until(idle, "the daemon to be idle")

    # The end

    def wait_exit(self, timeout=None):
        try:
            return self.process.wait(timeout or PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the daemon does not end; its log ends: {self.log()[-2000:]}") from None

    def stop(self, code=0):
        """Ends it in order, whatever state it is in; every test comes through here. Once is enough."""
        if self.stopped:
            return
        self.stopped = True
        try:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
            got = self.wait_exit()
            log = self.log()
            if SANITIZER_REPORT.search(log):
                raise AssertionError(f"a sanitizer reports:\n{log}")
            if got != code:
                raise AssertionError(f"the daemon exited with {got}, not {code}; its log ends:\n{log[-3000:]}")
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.manager.close()
            self.temporary.cleanup()


class Case(unittest.TestCase):
    """Tests against one daemon per class, made by config(); or per test, by start()."""

    CONFIG = None  # a dict: setUpClass starts a daemon with it
    MODELS = (STORIES, BABY, CHAT)

    @classmethod
    def setUpClass(cls):
        cls.d = Daemon(cls.CONFIG, models=cls.MODELS) if cls.CONFIG is not None else None

    @classmethod
    def tearDownClass(cls):
        if cls.d:
            cls.d.stop()

    def start(self, config=None, code=0, **kw):
        d = Daemon(config, **kw)
        self.addCleanup(d.stop, code)
        return d

    def assertStatus(self, answer, status):
        self.assertEqual(answer.status, status, answer.body[:500])
        return answer

    def connect_as(self, d, uid):
        """A connection made by a process of that user, with its user's group alone. The kernel tells the daemon who
        connected, not who writes."""
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            try:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
                s = socket.socket(socket.AF_UNIX)
                s.connect(d.socket)
                theirs.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [s.fileno()]))])
            finally:
                os._exit(0)
        theirs.close()
        fds = array.array("i")
        _, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_LEN(fds.itemsize))
        os.waitpid(pid, 0)
        ours.close()
        self.assertTrue(ancillary, f"uid {uid} cannot connect")
        fds.frombytes(ancillary[0][2][: fds.itemsize])
        c = UnixConnection(d.socket)
        c.sock = socket.socket(fileno=fds[0])
        c.sock.settimeout(PATIENCE)
        self.addCleanup(c.close)
        return c


# ---- many at once ----


def in_parallel(functions, timeout=None):
    """Runs them all at once; their results, in order. The first failure is raised."""
    results, errors = [None] * len(functions), []

    def run(i):
        try:
            results[i] = functions[i]()
        except BaseException as e:  # noqa: B902: raised again below
            errors.append(e)

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(len(functions))]
    for t in threads:
        t.start()
    end = time.monotonic() + (timeout or 3 * PATIENCE)
    for t in threads:
        t.join(max(0, end - time.monotonic()))
        if t.is_alive():
            raise AssertionError(f"{sum(t.is_alive() for t in threads)} of {len(threads)} clients hang")
    if errors:
        raise errors[0]
    return results


@contextlib.contextmanager
def frozen(pid):
    """A process that is stopped meanwhile: what runs stays in the middle of its work."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def recv_all(sock, timeout):
    """Everything until the other side closes (True) or nothing comes for so long (False)."""
    got = b""
    end = time.monotonic() + timeout
    while True:
        ready, _, _ = select.select([sock], [], [], max(0, end - time.monotonic()))
        if not ready:
            return got, False
        try:
            part = sock.recv(65536)
        except ConnectionResetError:
            return got, True
        if not part:
            return got, True
        got += part
