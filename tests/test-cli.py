#!/usr/bin/env python3
"""The zerollama command against a scripted daemon: every subcommand, its JSON and its tables, exit codes, mistyped
words, Ctrl-C, the conversation on a terminal, and the manual pages against the tables they must agree with."""
import ast
import base64
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest
import xml.dom.minidom

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fake_daemon import FakeDaemon, document, text, text_then_silence  # noqa: E402

SRC = os.environ.get("top_srcdir", os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("top_builddir", ".")
COMMAND = os.path.join(BUILD, "zerollama")

MODELS = {"models": [
    {"name": "tiny:latest", "model": "tiny:latest", "size": 1536 * 1024,
     "modified_at": "2020-05-04T03:02:01.123456+02:00",
     "details": {"family": "llama", "parameter_size": "15M", "quantization_level": "Q8_0"}},
    {"name": "große:7b", "model": "große:7b", "size": 5 * 1024**3, "modified_at": "nonsense\u001b[31m",
     "details": {"family": "qwen2", "quantization_level": "Q4_K_M"}}]}


def lines_of(path):
    try:
        with open(path, "rb") as f:
            return f.read().count(b"\n")
    except FileNotFoundError:
        return 0


class CliTest(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.socket = os.path.join(self.dir.name, "api.sock")
        self.daemon = FakeDaemon(self.socket)
        self.daemon.answers = {"/api/tags": document(MODELS), "/api/version": document({"version": "9.8.7"}),
                               "/api/generate": text()}
        self.env = {**os.environ, "ZEROLLAMA_HOST": self.socket, "XDG_STATE_HOME": self.dir.name, "LC_ALL": "C.UTF-8",
                    "TERM": "xterm", "HOME": self.dir.name}
        self.env.pop("NO_COLOR", None)

    def tearDown(self):
        self.daemon.stop()
        self.dir.cleanup()

    def run_cli(self, *args, code=0, stdin="", env=None):
        p = subprocess.run([COMMAND, *args], input=stdin, capture_output=True, text=True, timeout=60,
                           env={**self.env, **(env or {})})
        self.assertEqual(p.returncode, code, f"{args}: {p.stdout}{p.stderr}")
        return p

    def last(self, path):
        return [r for _, p, r in self.daemon.requests if p == path][-1]

    # ---- Text ----

    def test_run_once(self):
        self.daemon.answers["/api/chat"] = text("Hel", "lo ", "Wörld")
        p = self.run_cli("run", "tiny", "Say", "hello", "--temperature", "0", "-n", "7", "--system=Be brief",
                         "--stop", "a", "--stop", "b", "--seed", "-3")
        self.assertEqual(p.stdout, "Hello Wörld\n")
        self.assertEqual(p.stderr, "")
        sent = self.last("/api/chat")
        self.assertEqual(sent["model"], "tiny")
        self.assertEqual(sent["messages"], [{"role": "system", "content": "Be brief"},
                                            {"role": "user", "content": "Say hello"}])
        self.assertEqual(sent["options"], {"temperature": 0.0, "num_predict": 7, "stop": ["a", "b"], "seed": -3})
        self.assertIs(sent["stream"], True)

    def test_run_from_stdin(self):
        self.daemon.answers["/api/chat"] = text("ok")
        self.run_cli("run", "tiny", stdin="from a pipe\n")
        self.assertEqual(self.last("/api/chat")["messages"], [{"role": "user", "content": "from a pipe"}])
        self.run_cli("run", "tiny", "Sum up:", "-", stdin="a text")
        self.assertEqual(self.last("/api/chat")["messages"][0]["content"], "Sum up: a text")

    def test_run_default_model(self):
        self.daemon.answers["/api/chat"] = text("ok")
        p = self.run_cli("run", "which model is this?", code=2)
        self.assertIn("there are 2 models", p.stderr)
        self.daemon.answers["/api/tags"] = document({"models": [{"name": "a"}, {"name": "demo:latest"}]})
        self.run_cli("run", "which model is this?")
        self.assertEqual(self.last("/api/chat")["model"], "demo:latest")
        self.daemon.answers["/api/tags"] = document({"models": [{"name": "only"}]})
        self.run_cli("run", stdin="hello")
        self.assertEqual(self.last("/api/chat")["model"], "only")
        self.daemon.answers["/api/tags"] = document({"models": []})
        self.assertIn("has no model", self.run_cli("run", "-", code=2).stderr)

    def test_generate(self):
        self.daemon.answers["/api/generate"] = text("one\n", "two\n")
        p = self.run_cli("generate", "tiny", "Count", "--raw", "--top-k", "4", "--top-p", "0.5", "--min-p", "0.25",
                         "--repeat-penalty", "1.5", "--presence-penalty", "-1", "--frequency-penalty", "2",
                         "--keep-alive", "0", "--timeout", "2.5", "--priority", "batch", "--verbose")
        self.assertEqual(p.stdout, "one\ntwo\n")
        for words in ("prompt: 12 tokens (4 cached) in 1.000 s, 8.0/s",
                      "answer: 2 tokens in 0.500 s, 4.0/s; ended by: stop",
                      "in all: 3.000 s, load 0.500 s"):
            self.assertIn(words, p.stderr)
        sent = self.last("/api/generate")
        self.assertEqual((sent["prompt"], sent["raw"], sent["keep_alive"]), ("Count", True, 0))
        self.assertEqual((sent["timeout"], sent["priority"]), (2.5, "batch"))
        self.assertEqual(sent["options"], {"top_k": 4, "top_p": 0.5, "min_p": 0.25, "repeat_penalty": 1.5,
                                           "presence_penalty": -1.0, "frequency_penalty": 2.0})
        self.run_cli("generate", "tiny", "--", "--not-an-option")
        self.assertEqual(self.last("/api/generate")["prompt"], "--not-an-option")
        self.assertNotIn("priority", self.last("/api/generate"))

    def test_generate_json(self):
        self.daemon.answers["/api/generate"] = text("one", "two")
        lines = self.run_cli("generate", "tiny", "x", "--json").stdout.splitlines()
        self.assertEqual([json.loads(line)["response"] for line in lines], ["one", "two", ""])
        self.assertTrue(json.loads(lines[-1])["done"])
        p = self.run_cli("generate", "tiny", "x", "--json", "--no-stream")
        self.assertEqual(json.loads(p.stdout)["response"], "onetwo")
        self.assertIs(self.last("/api/generate")["stream"], False)
        self.assertEqual(self.run_cli("generate", "tiny", "x", "--no-stream").stdout, "onetwo\n")

    def test_pieces_are_flushed(self):
        self.daemon.answers["/api/generate"] = text_then_silence("first piece")
        p = subprocess.Popen([COMMAND, "generate", "tiny", "x"], stdout=subprocess.PIPE, env=self.env)
        self.assertEqual(os.read(p.stdout.fileno(), 100), b"first piece")
        p.send_signal(signal.SIGINT)
        self.assertEqual(p.wait(20), 130)
        self.assertTrue(self.daemon.hangups.wait(20), "the daemon was not told")
        p.stdout.close()

    def test_reader_leaves(self):
        def endless(handler, request):
            handler.begin_stream()
            while True:
                handler.send_piece({"response": "x" * 1000, "done": False})
        self.daemon.answers["/api/generate"] = endless
        p = subprocess.Popen([COMMAND, "generate", "tiny", "x"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env=self.env)
        os.read(p.stdout.fileno(), 10)
        p.stdout.close()
        self.assertEqual(p.wait(20), 1)
        self.assertEqual(p.stderr.read(), b"")
        self.assertTrue(self.daemon.hangups.wait(20), "the daemon was not told")
        p.stderr.close()

    def test_error_in_mid_stream(self):
        def broken(handler, request):
            handler.begin_stream()
            handler.send_piece({"response": "half", "done": False})
            handler.send_piece({"error": "the engine died too often"})
            handler.end_stream()
        self.daemon.answers["/api/generate"] = broken
        p = self.run_cli("generate", "tiny", "x", code=1)
        self.assertEqual(p.stdout, "half\n")
        self.assertEqual(p.stderr, "zerollama: the engine died too often\n")

    # ---- Models and the daemon ----

    def test_list(self):
        lines = self.run_cli("list").stdout.splitlines()
        self.assertEqual(lines[0], "NAME            SIZE  FAMILY  QUANTIZATION  MODIFIED")
        self.assertRegex(lines[1], r"^tiny:latest  1\.5 MiB  llama   Q8_0          \d+ years ago$")
        self.assertEqual(lines[2], "große:7b     5.0 GiB  qwen2   Q4_K_M        nonsense?[31m")
        self.assertEqual(json.loads(self.run_cli("list", "--json").stdout), MODELS)
        fox = {"name": "fox:latest", "size": 1, "modified_at": "", "details": {"family": "llama", "parent_model": "tiny"}}
        self.daemon.answers["/api/tags"] = document({"models": MODELS["models"] + [fox]})
        lines = self.run_cli("list").stdout.splitlines()
        self.assertTrue(lines[0].endswith("  VARIANT OF"))
        self.assertRegex(lines[3], r"^fox:latest +- +llama +- +.*  tiny$")

    def test_ps(self):
        running = {"models": [
            {"name": "tiny:latest", "size": 1024, "state": "ready", "device": "cuda:0", "context": 4096, "slots": 8,
             "running": 3, "waiting": 2, "users": 2, "prompt_tokens": 80, "cached_tokens": 20, "expires_at": "2318-01-01T00:00:00Z"},
            {"name": "big", "size": 2048, "state": "loading", "progress": 0.25, "device": "cpu"}]}
        self.daemon.answers["/api/ps"] = document(running)
        lines = [line.split() for line in self.run_cli("ps").stdout.splitlines()]
        self.assertEqual(lines[0], ["NAME", "STATE", "SIZE", "DEVICE", "CONTEXT", "RUNNING", "WAITING",
                                    "USERS", "CACHED", "UNLOADED"])
        self.assertEqual(lines[1], ["tiny:latest", "ready", "1.0", "KiB", "cuda:0", "4096", "3/8", "2", "2", "25%", "never"])
        self.assertEqual(lines[2][:4], ["big", "loading", "25%", "2.0"])
        self.assertEqual(lines[2][-3:], ["0", "-", "-"])
        self.assertEqual(json.loads(self.run_cli("ps", "--json").stdout), running)

    def test_show(self):
        shown = {"details": {"family": "llama"}, "capabilities": ["completion", "tools"],
                 "model_info": {"llama.context_length": 2048, "general.name": "Tiny", "tokens": [1, 2]}}
        self.daemon.answers["/api/show"] = document(shown)
        out = self.run_cli("show", "tiny").stdout
        for row in (r"family +llama", r"capabilities +completion, tools", r"llama\.context_length +2048",
                    r"tokens +2 of them"):
            self.assertRegex(out, row)
        self.assertEqual(json.loads(self.run_cli("show", "tiny", "--json").stdout), shown)
        self.daemon.answers["/api/show"] = document({**shown, "from": "base", "system": "Be a fox.\nRun.", "messages": [{}, {}],
                                                     "parameters": "temperature 0\nstop \"a\"\n"})
        out = self.run_cli("show", "tiny").stdout
        for row in ("from +base", "system +Be a fox", "system +Run", "parameters +temperature 0", 'parameters +stop "a"', "messages +2 of them"):
            self.assertRegex(out, row)

    def test_tokenize(self):
        self.daemon.answers["/tokenize"] = document({"tokens": [5, 7], "count": 2, "max_model_len": 9})
        self.assertEqual(self.run_cli("tokenize", "tiny", "zwölf", "b").stdout, "2\n")
        self.assertEqual(self.last("/tokenize"), {"model": "tiny", "content": "zwölf b", "with_pieces": False})
        self.assertEqual(json.loads(self.run_cli("tokenize", "tiny", "--json", stdin="a\n").stdout)["tokens"], [5, 7])
        self.assertEqual(self.last("/tokenize")["content"], "a\n")
        told = {"tokens": [{"id": 5, "piece": "ö\n"}, {"id": 1234, "piece": [195]}], "count": 2, "max_model_len": 9}
        self.daemon.answers["/tokenize"] = document(told)
        self.assertEqual(self.run_cli("tokenize", "tiny", "x", "--pieces").stdout, '      5  "ö\\n"\n   1234  [195]\n')
        self.assertTrue(self.last("/tokenize")["with_pieces"])
        self.daemon.answers["/tokenize"] = document({"error": {"message": "no tokens"}}, 400)
        self.assertEqual(self.run_cli("tokenize", "tiny", "x", code=1).stderr, "zerollama: no tokens\n")

    def test_create_and_rm(self):
        removed = {"status": "success", "removed": ["/m/x.gguf", "/m/x.json"]}
        self.daemon.answers.update({"/api/create": document({"status": "success", "from": "base"}), "/api/delete": document(removed)})
        path = os.path.join(self.dir.name, "words")
        with open(path, "w") as f:
            f.write("Be brief.\n")
        out = self.run_cli("create", "short", "--from", "tiny", "--system", "@" + path, "-t", "0", "--stop", "a", "--stop", "b")
        self.assertEqual(out.stdout, "short is a variant of base\n")
        self.assertEqual(self.last("/api/create"), {"model": "short", "from": "tiny", "stream": False, "system": "Be brief.\n",
                                                    "parameters": {"temperature": 0, "stop": ["a", "b"]}})
        self.run_cli("create", "short", "--from", "tiny", "--system", "@-", stdin="Be long.\n")
        self.assertEqual(self.last("/api/create")["system"], "Be long.\n")
        self.run_cli("create", "plain", "--from", "tiny")
        self.assertEqual(self.last("/api/create"), {"model": "plain", "from": "tiny", "stream": False, "parameters": {}})
        self.assertIn("--from", self.run_cli("create", "short", code=2).stderr)
        self.assertEqual(self.run_cli("rm", "short", "plain").stdout,
                         "".join(f"{m} is removed: /m/x.gguf and /m/x.json\n" for m in ("short", "plain")))
        self.assertEqual([r for r in self.daemon.requests if r[0] == "DELETE"],
                         [("DELETE", "/api/delete", {"model": m}) for m in ("short", "plain")])
        self.daemon.answers["/api/delete"] = document({"error": "only root may"}, 403)
        self.assertEqual(self.run_cli("rm", "tiny", "short", code=1).stderr, "zerollama: only root may\n")
        self.daemon.answers["/api/delete"] = document({"error": "model 'tinny' cannot be used: line 1"}, 404)
        self.assertEqual(self.run_cli("rm", "tinny", code=1).stderr.count("\n"), 1)
        self.daemon.answers["/api/create"] = document({"error": "there is no model 'tinny'"}, 404)
        self.assertIn("'tiny'", self.run_cli("create", "short", "--from", "tinny", code=1).stderr)

    def test_load_and_unload(self):
        self.daemon.answers["/api/generate"] = text()
        self.assertEqual(self.run_cli("load", "tiny", "--keep-alive", "1h").stdout, "tiny is loaded\n")
        sent = self.last("/api/generate")
        self.assertEqual((sent["model"], sent["prompt"], sent["keep_alive"]), ("tiny", "", "1h"))
        self.assertEqual(self.run_cli("unload", "tiny").stdout, "tiny is unloaded\n")
        self.assertEqual(self.last("/api/generate")["keep_alive"], 0)
        self.assertEqual(json.loads(self.run_cli("load", "tiny", "--json").stdout), {"status": "loaded"})

    def test_status(self):
        status = {"version": "9.8.7", "uptime_seconds": 3723, "pid": 42, "event_loop": "sd-event",
                  "listeners": ["/run/zerollama/api.sock"],
                  "pools": [{"name": "default", "device": "cuda:0", "pid": 43, "state": "running", "restarts": 1,
                             "models": ["tiny"]}],
                  "jobs": {"running": 2, "waiting": 3, "completed": 4, "failed": 5, "cancelled": 6},
                  "users": [{"uid": 1000, "name": "ada", "running": 1, "waiting": 0, "priority": "batch"},
                            {"uid": 0, "name": None, "running": 2, "waiting": 3, "priority": "interactive"},
                            {"uid": 4294967290, "name": None, "running": 0, "waiting": 4}], "limits": {"connections": 512}}
        self.daemon.answers["/zerollama/status"] = document(status)
        out = self.run_cli("status").stdout
        self.assertIn("zerollamad 9.8.7, pid 42, up 1h2m3s, on sd-event\n", out)
        for row in (r"listens on /run/zerollama/api\.sock", r"default +cuda:0 +running +43 +1", r"completed +4",
                    r"ada +1000 +1 +0 +batch", r"root +0 +2 +3 +interactive",
                    r"- +4294967290 +0 +4", r"connections +512"):
            self.assertRegex(out, row)
        self.assertEqual(json.loads(self.run_cli("status", "--json").stdout), status)

    def test_ctl(self):
        self.daemon.answers["/zerollama/reload"] = document({"status": "reloaded"})
        self.daemon.answers["/zerollama/check"] = document({"error": "zerollamad.yaml:3:5: pools: what?"}, 409)
        self.assertEqual(self.run_cli("ctl", "reload").stdout, "the daemon uses the new configuration\n")
        self.assertEqual(json.loads(self.run_cli("ctl", "reload", "--json").stdout), {"status": "reloaded"})
        self.assertEqual(self.run_cli("ctl", "check", code=1).stderr, "zerollama: zerollamad.yaml:3:5: pools: what?\n")
        self.assertIn("did you mean reload", self.run_cli("ctl", "relaod", code=2).stderr)

    def test_version(self):
        self.assertRegex(self.run_cli("version").stdout, r"^zerollama \d+\.\d+\.\d+\nzerollamad 9\.8\.7\n$")
        self.assertEqual(json.loads(self.run_cli("version", "--json").stdout)["daemon"], "9.8.7")
        self.assertRegex(self.run_cli("--version").stdout, r"^zerollama \d+\.\d+\.\d+\n$")  # asks nobody

    def test_help(self):
        for command in self.commands():
            out = self.run_cli("help", command["name"]).stdout
            self.assertEqual(out, self.run_cli(command["name"], "--help").stdout)
            for option in command["options"]:
                self.assertIn("--" + option["name"], out)
            self.assertNotRegex(out, r"(?m) $")
            starts = re.findall(r"(?m)^  -.{25} (?=\S)", out)
            self.assertEqual(len(starts), len(re.findall(r"(?m)^  -", out)), "help begins in one column")
            self.assertLessEqual(max(map(len, out.splitlines())), 100)
        self.assertIn("generate", self.run_cli("help").stdout)
        self.assertIn("generate", self.run_cli("--help").stdout)
        self.assertIn("generate", self.run_cli(code=2).stderr)

    # ---- What goes wrong ----

    def test_usage(self):
        for args, words in ((["lsit"], "did you mean 'list'?"), (["xyzzyx"], "'zerollama help' lists them"),
                            (["list", "--jsno"], "did you mean --json?"), (["list", "-x"], "no option -x"),
                            (["run", "--seed"], "--seed needs a value"), (["run", "--json=1"], "takes no value"),
                            (["run", "m", "--top-p", "1.5"], "--top-p takes a number from 0 to 1, not '1.5'"),
                            (["run", "m", "--seed", "x"], "--seed takes a whole number"),
                            (["run", "m", "--temperature", "nan"], "--temperature takes a number"),
                            (["show"], "usage: zerollama show"), (["show", "a", "b"], "usage: zerollama show"),
                            (["ps", "a"], "usage: zerollama ps [OPTIONS]\n"),
                            (["list", "--socket", "nowhere"], "is no address"),
                            (["run", "m", "--grammar", "@/no/such/file"], "cannot read /no/such/file: No such file"),
                            (["help", "lits"], "did you mean 'list'?")):
            p = self.run_cli(*args, code=2)
            self.assertIn(words, p.stderr)
            self.assertEqual(p.stdout, "")

    def test_unknown_model(self):
        missing = document({"error": "model 'tinny' not found"}, 404)
        self.daemon.answers.update({"/api/chat": missing, "/api/show": missing, "/api/generate": missing})
        for args in (["run", "tinny", "hi"], ["show", "tinny"], ["generate", "tinny", "x"], ["load", "tinny"]):
            p = self.run_cli(*args, code=1)
            self.assertEqual(p.stderr, "zerollama: model 'tinny' not found\nzerollama: did you mean 'tiny'?\n")

    def test_unreachable(self):
        for args in (["list"], ["ps"], ["run", "m", "x"], ["show", "m"], ["load", "m"], ["status"], ["ctl", "check"],
                     ["version"]):
            p = self.run_cli(*args, "--socket", "/nonexistent/api.sock", code=3)
            self.assertIn("cannot connect to /nonexistent/api.sock: No such file or directory; is zerollamad running?",
                          p.stderr)

    def test_busy(self):
        self.daemon.answers["/api/ps"] = document({"error": "too many requests"}, 429, Retry_After="3600")
        self.assertEqual(self.run_cli("ps", code=1).stderr, "zerollama: too many requests (try again in 3600.0 s)\n")

    def test_full_disk(self):
        with open("/dev/full", "w") as full:
            p = subprocess.run([COMMAND, "list"], stdout=full, stderr=subprocess.PIPE, text=True, env=self.env,
                               timeout=20)
        self.assertEqual(p.returncode, 1)
        self.assertIn("No space left on device", p.stderr)

    def test_tcp_and_key(self):
        tcp = FakeDaemon(("127.0.0.1", 0))
        try:
            tcp.answers = self.daemon.answers
            host = "127.0.0.1:%d" % tcp.address[1]
            key = {"ZEROLLAMA_API_KEY": "sesame", "http_proxy": "http://127.0.0.1:1"}
            for address in (host, "http://" + host, f"http://{host}/"):
                self.assertIn("tiny", self.run_cli("list", "--socket", address, env=key).stdout)
                self.assertEqual(tcp.headers[-1]["Authorization"], "Bearer sesame")
            self.run_cli("bench", "tiny", "-r", "1", "--max-clients", "1", "--socket", host, env=key)
            self.assertEqual((tcp.headers[-1]["Authorization"], tcp.headers[-1]["Host"]), ("Bearer sesame", host))
            self.run_cli("list", env={"ZEROLLAMA_HOST": host})
            self.assertIsNone(tcp.headers[-1]["Authorization"])
            self.run_cli("list", env=key)
            self.assertIsNone(self.daemon.headers[-1]["Authorization"], "the Unix socket needs no key")
        finally:
            tcp.stop()

    def test_completion(self):
        def complete(*words):
            script = ('. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _zerollama; echo "${COMPREPLY[*]}"')
            path = os.path.abspath(BUILD) + os.pathsep + self.env["PATH"]
            source = os.path.join(SRC, "etc", "bash-completion", "zerollama")
            p = subprocess.run(["bash", "-c", script, "bash", source, *words], capture_output=True, text=True,
                               timeout=20, env={**self.env, "PATH": path})
            return p.stdout.split()
        self.assertEqual(complete("zerollama", "l"), ["list", "load"])
        self.assertEqual(complete("zerollama", "run", "ti"), ["tiny:latest"])
        self.assertEqual(complete("zerollama", "run", "tiny:"), ["latest"])
        self.assertEqual(complete("zerollama", "ctl", ""), ["reload", "check"])
        self.assertEqual(complete("zerollama", "generate", "m", "--top"), ["--top-k", "--top-p"])

    # ---- On a terminal ----

    def test_colour(self):
        self.assertNotIn("\033", self.run_cli("list").stdout)
        with Terminal(self, "list") as t:
            self.assertIn("\033[1mNAME", t.read_to_end())
        with Terminal(self, "list", env={"NO_COLOR": "1"}) as t:
            self.assertNotIn("\033", t.read_to_end())

    def test_control_characters(self):
        self.daemon.answers["/api/generate"] = text("a\x1b]0;title\x07b")
        self.assertIn("\x1b]0;", self.run_cli("generate", "tiny", "x").stdout)
        with Terminal(self, "generate", "tiny", "x") as t:
            self.assertIn("a]0;titleb", t.read_to_end())

    def test_progress(self):
        loading = {"models": [{"name": "tiny:latest", "state": "loading", "progress": 0.42}]}
        self.daemon.answers["/api/ps"] = document(loading)
        asked = []

        def slow(handler, request):
            while not any(path == "/api/ps" for _, path, _ in self.daemon.requests):
                time.sleep(0.01)
            time.sleep(0.1)
            asked.append(request)
            text("ready now")(handler, request)
        self.daemon.answers["/api/generate"] = slow
        with Terminal(self, "generate", "tiny", "x") as t:
            out = t.read_to_end()
        self.assertIn("loading tiny: 42%", out)
        self.assertRegex(out, r"\r\x1b\[Kready now")
        self.assertEqual(len(asked), 1)

    def test_chat(self):
        self.daemon.answers["/api/chat"] = text("I am ", "fine.")
        with Terminal(self, "run", "tiny") as t:
            t.expect(">>> ")
            t.type("How are you?\n")
            t.expect("I am fine.")
            t.expect(">>> ")
            t.type("/set temperature 0.5\n")
            t.expect(">>> ")
            t.type("/set system You are a clock.\n")
            t.expect(">>> ")
            t.type('"""Two\n')
            t.expect("... ")
            t.type('lines"""\n')
            t.expect("fine.")
            t.expect(">>> ")
            sent = self.last("/api/chat")
            self.assertEqual(sent["options"], {"temperature": 0.5})
            self.assertEqual(sent["messages"], [
                {"role": "system", "content": "You are a clock."}, {"role": "user", "content": "How are you?"},
                {"role": "assistant", "content": "I am fine."}, {"role": "user", "content": "Two\nlines"}])
            t.type("/show\n")
            t.expect("temperature: 0.5")
            t.type("/clera\n")
            t.expect("did you mean /clear")
            t.type("/clear\n")
            t.expect("forgotten")
            t.type("/help\n")
            t.expect("/bye")
            t.expect(">>> ")
            t.type('"""\nAgain\n\nand again"""\n')
            t.expect("fine.")
            t.expect(">>> ")
            self.assertEqual([m["content"] for m in self.last("/api/chat")["messages"]],
                             ["You are a clock.", "Again\n\nand again"])
            t.type("\x04")
            self.assertEqual(t.wait(), 0)
        path = os.path.join(self.dir.name, "zerollama", "history")
        with open(path) as f:
            self.assertIn("How", f.read())
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)

    def test_chat_interrupt(self):
        self.daemon.answers["/api/chat"] = text_then_silence("Once upon ")
        with Terminal(self, "run", "tiny") as t:
            t.expect(">>> ")
            t.type("Tell a story\n")
            t.expect("Once upon")
            t.type("\x03")
            self.assertTrue(self.daemon.hangups.wait(20), "the daemon was not told")
            t.expect(">>> ")
            t.type("half a line\x03")
            t.expect(">>> ")
            self.daemon.answers["/api/chat"] = text("The end.")
            t.type("Go on\n")
            t.expect("The end.")
            t.expect(">>> ")
            self.assertEqual([m["content"] for m in self.last("/api/chat")["messages"]],
                             ["Tell a story", "Once upon ", "Go on"])
            t.type("/bye\n")
            self.assertEqual(t.wait(), 0)

    def test_chat_needs_its_model(self):
        self.daemon.answers["/api/generate"] = document({"error": "model 'tinny' not found"}, 404)
        with Terminal(self, "run", "tinny") as t:
            self.assertEqual(t.wait(), 1)
            self.assertIn("did you mean 'tiny'?", t.all)
        with Terminal(self, "run", "tiny", "--socket", "/nonexistent/api.sock") as t:
            self.assertEqual(t.wait(), 3)

    def test_chat_survives_errors(self):
        self.daemon.answers["/api/chat"] = document({"error": "no memory for this"}, 500)
        with Terminal(self, "run", "tiny") as t:
            t.expect(">>> ")
            t.type("Hello\n")
            t.expect("no memory for this")
            t.expect(">>> ")
            self.daemon.answers["/api/chat"] = text("Hi.")
            t.type("Hello?\n")
            t.expect("Hi.")
            self.assertEqual([m["content"] for m in self.last("/api/chat")["messages"]], ["Hello?"])
            t.expect(">>> ")
            t.type("/bye\n")
            self.assertEqual(t.wait(), 0)

    # ---- bench ----

    def test_bench(self):
        self.daemon.answers["/api/generate"] = text("a", "b")
        self.daemon.answers["/api/ps"] = document({"models": [{"name": "tiny:latest", "slots": 2}]})
        plot = os.path.join(self.dir.name, "load.svg")
        args = ("bench", "tiny", "--clients", "1,2,4", "-r", "12", "--drop", "2", "--ideal-time", "0.5", "-n", "5",
                "--prompt", 'say "hi" & bye', "--plot", plot)
        p = self.run_cli(*args)
        lines = [line.split() for line in p.stdout.splitlines()]
        self.assertEqual(lines[0], ["CLIENTS", "QPS", "IDEAL", "MEAN", "ms", "P50", "ms", "P99", "ms", "MAX", "ms",
                                    "FIRST", "p50", "FIRST", "p99", "TOKENS/s", "ERRORS"])
        self.assertEqual([row[0] for row in lines[1:]], ["1", "2", "4"])
        self.assertEqual([row[2] for row in lines[1:]], ["2.00", "4.00", "4.00"])
        self.assertEqual(len({len(line) for line in p.stdout.splitlines()}), 1, "the rows are not aligned")
        asked = [r for _, path, r in self.daemon.requests if path == "/api/generate" and r["prompt"]]
        self.assertEqual(len(asked), 1 + 3 * 12)
        self.assertEqual((asked[-1]["model"], asked[-1]["prompt"], asked[-1]["stream"], asked[-1]["options"]),
                         ("tiny", 'say "hi" & bye', True, {"num_predict": 5}))
        svg = xml.dom.minidom.parse(plot)
        words = {"".join(n.data for n in t.childNodes) for t in svg.getElementsByTagName("text")}
        for word in ("tiny under load", "clients", "requests per second", "latency, ms", "measured", "ideal", "mean",
                     "1", "2", "4"):
            self.assertIn(word, words)
        self.assertEqual(len(svg.getElementsByTagName("path")), 5)
        stages = [json.loads(line) for line in self.run_cli(*args, "--json").stdout.splitlines()]
        self.assertEqual([s["clients"] for s in stages], [1, 2, 4])
        for s in stages:
            self.assertEqual((s["requests"], s["dropped"], s["errors"], s["rate"]), (8, 4, 0, None))
            self.assertAlmostEqual(s["qps"], s["requests"] / s["seconds"], places=3)
            self.assertAlmostEqual(s["tokens_per_second"], 2 * s["qps"], places=3)
            self.assertLessEqual(s["first"]["p50"], s["latency"]["p50"])
            self.assertTrue(0 < s["latency"]["p50"] <= s["latency"]["p99"] <= s["latency"]["max"])
        self.assertEqual(stages[2]["ideal_latency"], 1.0)

    def test_bench_time(self):
        self.daemon.answers["/api/generate"] = text("a")
        self.daemon.answers["/api/ps"] = document({"models": [{"name": "delay", "slots": 128}]})
        p = self.run_cli("bench", "delay", "--time", "100ms", "--clients", "8,200", "-r", "200", "--json")
        self.assertEqual([json.loads(line)["ideal_qps"] for line in p.stdout.splitlines()], [80, 1280])
        self.assertEqual(self.last("/api/generate")["prompt"], "100ms")

    def test_bench_rate(self):
        self.daemon.answers["/api/generate"] = text("a")
        p = self.run_cli("bench", "tiny", "--rate", "50,100", "-d", "200ms", "--json", "--warmup", "0")
        stages = [json.loads(line) for line in p.stdout.splitlines()]
        self.assertEqual([(s["rate"], s["requests"]) for s in stages], [(50, 10), (100, 20)])
        self.assertEqual(self.run_cli("bench", "tiny", "--rate", "100", "-r", "3").stdout.split()[0], "RATE")

    def test_bench_many_clients(self):
        """More connections than open files are allowed at first, all of them busy at once."""
        together = threading.Barrier(150)

        def meet(handler, request):
            if request["prompt"]:
                together.wait(20)
            text("a")(handler, request)
        self.daemon.answers["/api/generate"] = meet
        p = subprocess.run(["sh", "-c", 'ulimit -Sn 100; exec "$@"', "sh", COMMAND, "bench", "tiny", "--clients", "150",
                            "-r", "300", "--warmup", "0", "--json"], env=self.env, capture_output=True, text=True,
                           timeout=60)
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        self.assertEqual(json.loads(p.stdout)["requests"], 300)

    def test_bench_failures(self):
        def busy(handler, request):
            (text() if not request["prompt"] else document({"error": "the queue is full"}, 503))(handler, request)
        self.daemon.answers["/api/generate"] = busy
        p = self.run_cli("bench", "tiny", "-r", "4", code=1)
        self.assertEqual(p.stderr, "zerollama: no request is answered: 503: the queue is full\n")
        p = self.run_cli("bench", "tiny", "--clients", "2", "-r", "4", "--warmup", "0", "--json", code=1)
        self.assertEqual(json.loads(p.stdout)["errors"], 4)
        self.assertIn("4 of 4 requests failed; the first one: 503: the queue is full", p.stderr)
        self.daemon.answers["/zerollama/status"] = document({"limits": {"connections_per_user": 8}})
        self.daemon.answers["/api/generate"] = text("a")
        p = self.run_cli("bench", "tiny", "--clients", "8", "-r", "8")
        self.assertIn("the daemon's limits.connections_per_user is 8: 8 clients will not all be served", p.stderr)

    def test_bench_usage(self):
        for args, words in ((["--clients", "2,1"], "--clients takes ascending numbers"),
                            (["--clients", "1.5"], "--clients takes ascending numbers"),
                            (["--rate", "1,x"], "--rate takes ascending numbers"),
                            (["--clients", "1", "--rate", "1"], "two kinds of stages"),
                            (["-r", "10", "--drop", "4"], "--drop 4 leaves too little"),
                            (["-d", "soon"], "--duration takes a time"),
                            (["--time", "x"], "--time takes a time"),
                            (["--time", "1s", "--prompt", "x"], "one of them is enough"),
                            (["--prompt", ""], "the prompt is empty"),
                            (["--file", "/nonexistent"], "cannot read /nonexistent")):
            self.assertIn(words, self.run_cli("bench", "tiny", *args, code=2).stderr)

    def test_bench_interrupt(self):
        def silent(handler, request):
            (text_then_silence("a") if request["prompt"] else text())(handler, request)
        self.daemon.answers["/api/generate"] = silent
        with Terminal(self, "bench", "tiny", "--clients", "3", "--warmup", "0") as t:
            t.expect("stage 1 of 1: 3 clients, 0 answers")
            t.type("\x03")
            self.assertEqual(t.wait(), 130)
        self.assertTrue(self.daemon.hangups.wait(20), "the daemon was not told")

    # ---- embed and rerank ----

    @staticmethod
    def vectors(handler, request):
        """For each text its length and its number in the request, as numbers; "bad" is refused."""
        texts = request["input"] if isinstance(request["input"], list) else [request["input"]]
        if "bad" in texts:
            handler.send_document({"error": {"message": "no such thing"}}, 400)
            return
        data = [{"object": "embedding", "index": i,
                 "embedding": base64.b64encode(struct.pack("<3f", len(t), i, 0.1)).decode()} for i, t in enumerate(texts)]
        handler.send_document({"object": "list", "data": data, "usage": {"prompt_tokens": 2 * len(texts)}})

    def test_embed(self):
        self.daemon.answers["/v1/embeddings"] = self.vectors
        p = self.run_cli("embed", "tiny", "one", "zwölf", "--truncate", "-d", "3", "--priority", "batch", "--timeout", "9")
        self.assertEqual(self.results(p.stdout), [{"index": 0, "embedding": [3, 0, 0.100000001]},
                                                  {"index": 1, "embedding": [5, 1, 0.100000001]}])
        self.assertEqual(self.last("/v1/embeddings"), {
            "model": "tiny", "input": ["one", "zwölf"], "encoding_format": "base64", "dimensions": 3, "truncate": True,
            "priority": "batch", "timeout": 9.0})
        p = self.run_cli("embed", "tiny", "--json", stdin="a\r\n\nbb\nccc")
        self.assertEqual(json.loads(p.stdout), {"embeddings": [[1, 0, 0.100000001], [2, 1, 0.100000001], [3, 2, 0.100000001]],
                                                "usage": {"prompt_tokens": 6, "total_tokens": 6}})
        self.assertEqual(json.loads(self.run_cli("embed", "tiny", "--json", stdin="").stdout)["embeddings"], [])
        p = self.run_cli("embed", "tiny", "good", "bad", code=1)
        self.assertEqual((p.stdout, p.stderr), ("", "zerollama: no such thing\n"))

    def test_embed_files(self):
        self.daemon.answers["/v1/embeddings"] = self.vectors
        lines, out = os.path.join(self.dir.name, "lines"), os.path.join(self.dir.name, "out.npy")
        texts = ["x" * (1 + i % 50) for i in range(1000)]
        with open(lines, "w") as f:
            f.write("\n".join(texts))
        p = self.run_cli("embed", "tiny", "-f", lines, "-f", "-", stdin="last\n")
        results = self.results(p.stdout)
        self.assertEqual([(r["index"], r["embedding"][0]) for r in results],
                         [(i, len(t)) for i, t in enumerate(texts + ["last"])])
        self.assertGreater(len([1 for _, path, _ in self.daemon.requests if path == "/v1/embeddings"]), 3)
        self.assertEqual(self.run_cli("embed", "tiny", "-f", lines, "-o", out).stdout, "")
        with open(out, "rb") as f:
            data = f.read()
        self.assertEqual(data[:8], b"\x93NUMPY\x01\x00")
        length = struct.unpack_from("<H", data, 8)[0]
        self.assertEqual((10 + length) % 64, 0)
        self.assertEqual(ast.literal_eval(data[10:10 + length].decode()),
                         {"descr": "<f4", "fortran_order": False, "shape": (1000, 3)})
        self.assertEqual([v[0] for v in struct.iter_unpack("<3f", data[10 + length:])], [len(t) for t in texts])
        os.unlink(out)
        self.run_cli("embed", "tiny", "good", "bad", "-o", out, code=1)
        self.assertEqual([n for n in os.listdir(self.dir.name) if "npy" in n], [], "nothing half done is left")
        p = self.run_cli("embed", "tiny", "a", "-o", "vectors.json", code=2)
        self.assertIn("ends in .npy", p.stderr)
        self.assertIn("cannot read /nonexistent", self.run_cli("embed", "tiny", "-f", "/nonexistent", code=1).stderr)
        self.assertIn("NUL", self.run_cli("embed", "tiny", stdin="a\0b\n", code=1).stderr)

    def test_rerank(self):
        answer = {"results": [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.25}],
                  "usage": {"prompt_tokens": 8}}
        self.daemon.answers["/v1/rerank"] = document(answer)
        p = self.run_cli("rerank", "tiny", "what?", "first", "second\nline")
        self.assertEqual([line.split(None, 2) for line in p.stdout.splitlines()],
                         [["SCORE", "INDEX", "DOCUMENT"], ["0.9000", "1", "second?line"], ["0.2500", "0", "first"]])
        self.assertEqual(self.last("/v1/rerank"), {"model": "tiny", "query": "what?", "documents": ["first", "second\nline"]})
        p = self.run_cli("rerank", "tiny", "what?", "--json", "-n", "2", "--raw-scores", "--truncate", stdin="a\nb\n")
        self.assertEqual(json.loads(p.stdout), answer)
        self.assertEqual(self.last("/v1/rerank"), {"model": "tiny", "query": "what?", "documents": ["a", "b"], "top_n": 2,
                                                   "raw_scores": True, "truncate": True})
        self.run_cli("rerank", "tiny", "what?", stdin="")
        self.assertEqual(self.last("/v1/rerank")["documents"], [])
        self.daemon.answers["/v1/rerank"] = document({"error": {"message": "no reranker"}}, 400)
        self.assertEqual(self.run_cli("rerank", "tiny", "q", "d", code=1).stderr, "zerollama: no reranker\n")

    def test_map_numbers(self):
        self.daemon.answers["/api/generate"] = text()
        self.daemon.answers["/v1/embeddings"] = self.vectors
        self.daemon.answers["/v1/rerank"] = document({"results": [{"index": 0, "relevance_score": 0.5}], "usage": {"prompt_tokens": 3}})
        rows = [{"input": "four", "id": "a", "encoding_format": "float"}, {"input": ["a", "bb"], "dimensions": 3},
                {"query": "q", "documents": ["d"]}, {"input": "bad"}]
        p = self.run_cli("map", "tiny", "--ordered", stdin="\n".join(map(json.dumps, rows)), code=1)
        results = self.results(p.stdout)
        self.assertEqual(results[0], {"index": 0, "id": "a", "embedding": [4, 0, 0.100000001], "usage": {"prompt_tokens": 2}})
        self.assertEqual(results[1]["embeddings"], [[1, 0, 0.100000001], [2, 1, 0.100000001]])
        self.assertEqual(results[2], {"index": 2, "results": [{"index": 0, "relevance_score": 0.5}], "usage": {"prompt_tokens": 3}})
        self.assertEqual(results[3], {"index": 3, "error": "no such thing", "status": 400})
        sent = [r for _, path, r in self.daemon.requests if path == "/v1/embeddings"]
        self.assertEqual({r["priority"] for r in sent}, {"batch"})
        self.assertIn({"model": "tiny", "input": ["a", "bb"], "dimensions": 3, "encoding_format": "base64", "priority": "batch"}, sent)

    # ---- map ----

    def echo(self, handler, request):
        """Answers with the prompt; "bad" is refused."""
        if request.get("prompt") == "bad":
            handler.send_document({"error": "no such thing"}, 400)
        else:
            text("<", request.get("prompt") or str(request.get("messages")), ">")(handler, request)

    def results(self, stdout):
        return [json.loads(line) for line in stdout.splitlines()]

    def test_map(self):
        self.daemon.answers["/api/generate"] = self.daemon.answers["/api/chat"] = self.echo
        lines = [{"prompt": "one", "id": "a", "max_tokens": 3, "options": {"top_k": 1}}, {"prompt": "bad", "id": [2]},
                 {"messages": [{"role": "user", "content": "hi"}], "keep_alive": "1m"}, {"nothing": 1}]
        stdin = "\n".join([json.dumps(line) for line in lines] + ["", "{torn", '{"prompt":"last"}'])
        p = self.run_cli("map", "tiny", "--ordered", "-j", "4", "--temperature", "0.5", "--max-tokens", "9",
                         stdin=stdin, code=1)
        results = self.results(p.stdout)
        self.assertEqual([r["index"] for r in results], [0, 1, 2, 3, 5, 6])
        self.assertEqual(results[0], {"index": 0, "id": "a", "text": "<one>", "finish": "stop", "usage": {
            "prompt_tokens": 12, "cached_tokens": 4, "completion_tokens": 2}})
        self.assertEqual(results[1], {"index": 1, "id": [2], "error": "no such thing", "status": 400})
        self.assertIn("'content': 'hi'", results[2]["text"])
        self.assertIn("neither", results[3]["error"])
        self.assertIn("cannot be read", results[4]["error"])
        self.assertEqual(results[5]["text"], "<last>")
        self.assertEqual(p.stderr, "zerollama: 3 of 6 requests failed\n")
        sent = {r["prompt"]: r for _, path, r in self.daemon.requests if path == "/api/generate"}
        self.assertEqual(sent["one"]["options"], {"temperature": 0.5, "num_predict": 3, "top_k": 1})
        self.assertEqual(sent["last"]["options"], {"temperature": 0.5, "num_predict": 9})
        self.assertNotIn("id", sent["one"])
        self.assertEqual({r["priority"] for r in sent.values() if r["prompt"]}, {"batch"}, "unless told otherwise")
        self.assertEqual(self.last("/api/chat")["keep_alive"], "1m")

    def test_map_text(self):
        self.daemon.answers["/api/generate"] = self.echo
        path = os.path.join(self.dir.name, "in")
        with open(path, "w") as f:
            f.write("one\r\nzwölf\n\n{3}")
        results = self.results(self.run_cli("map", "tiny", path, "--text").stdout)
        self.assertEqual({r["index"]: r["text"] for r in results}, {0: "<one>", 1: "<zwölf>", 3: "<{3}>"})

    def test_map_goes_on(self):
        self.daemon.answers["/api/generate"] = self.echo
        out = os.path.join(self.dir.name, "out.jsonl")
        lines = [json.dumps({"prompt": f"p{i}", "id": i} if i % 2 else {"prompt": f"p{i}"}) for i in range(40)]
        self.run_cli("map", "tiny", "-o", out, stdin="\n".join(lines[:25]))
        with open(out) as f:
            whole = f.read()
        with open(out, "w") as f:
            f.write(whole[:-7])
        before = len(self.daemon.requests)
        self.run_cli("map", "tiny", "-o", out, stdin="\n".join(lines))
        self.assertEqual(len(self.daemon.requests) - before, 1 + 1 + 15)
        with open(out) as f:
            after = f.read()
        self.assertTrue(after.startswith(whole[:whole.rindex("\n", 0, -1) + 1]))
        results = self.results(after)
        self.assertEqual(sorted(r["index"] for r in results), list(range(40)))
        for r in results:
            self.assertEqual(r["text"], f"<p{r['index']}>")
        # With ids the order of the input may change; without, the number of the line counts.
        before = len(self.daemon.requests)
        self.run_cli("map", "tiny", "-o", out, stdin="\n".join(lines[2:] + lines[:2]))
        self.assertEqual(len(self.daemon.requests) - before, 1)

    def test_map_redo_failed(self):
        self.daemon.answers["/api/generate"] = self.echo
        out = os.path.join(self.dir.name, "out.jsonl")
        stdin = '{"prompt":"good"}\n{"prompt":"bad"}\n'
        self.run_cli("map", "tiny", "-o", out, stdin=stdin, code=1)
        self.run_cli("map", "tiny", "-o", out, stdin=stdin)
        self.daemon.answers["/api/generate"] = text("better")
        self.run_cli("map", "tiny", "-o", out, "--redo-failed", stdin=stdin)
        with open(out) as f:
            results = self.results(f.read())
        self.assertEqual([(r["index"], r.get("text")) for r in results if "text" in r], [(0, "<good>"), (1, "better")])
        self.assertEqual(len(results), 3)
        self.run_cli("map", "tiny", "--redo-failed", code=2)
        p = self.run_cli("map", "tiny", "/nonexistent", code=1)
        self.assertIn("cannot read /nonexistent: No such file", p.stderr)
        with open(out, "w") as f:
            f.write("my diary\n")
        p = self.run_cli("map", "tiny", "-o", out, stdin=stdin, code=1)
        self.assertIn("is no result of this command", p.stderr)

    def test_map_retries(self):
        asked = {}

        def busy(handler, request):
            n = asked[request["prompt"]] = asked.get(request["prompt"], 0) + 1
            if request["prompt"] and n <= 6:
                handler.send_document({"error": "later"}, 429 if n % 2 else 503, Retry_After_Ms="20")
            else:
                self.echo(handler, request)
        self.daemon.answers["/api/generate"] = busy
        self.run_cli("map", "tiny", "--text", stdin="a\nb\nc")
        self.assertEqual(asked, {"": 1, "a": 7, "b": 7, "c": 7})

    def test_map_interrupt(self):
        def slow(handler, request):
            if request["prompt"] == "slow":
                text_then_silence("a")(handler, request)
            else:
                self.echo(handler, request)
        self.daemon.answers["/api/generate"] = slow
        for more, kept in (([], ["<one>", "<three>", "<two>"]), (["--ordered"], ["<one>"])):
            self.daemon.requests.clear()
            self.daemon.hangups.clear()
            out = os.path.join(self.dir.name, "out.jsonl" + "".join(more))
            p = subprocess.Popen([COMMAND, "map", "tiny", "--text", "-o", out, "-j", "2", *more], stdin=subprocess.PIPE,
                                 env=self.env)
            p.stdin.write(b"one\nslow\ntwo\nthree\nslow\n")
            p.stdin.flush()
            end = time.monotonic() + 20
            while time.monotonic() < end and (lines_of(out) < len(kept) or len(self.daemon.requests) < 6):
                time.sleep(0.01)
            p.send_signal(signal.SIGINT)
            self.assertEqual(p.wait(20), 130)
            self.assertTrue(self.daemon.hangups.wait(20), "the daemon was not told")
            p.stdin.close()
            with open(out) as f:
                self.assertEqual(sorted(r["text"] for r in self.results(f.read())), kept)

    def test_map_is_bounded(self):
        """Nothing is read that no request can be made of soon; results come although the input goes on."""
        go = threading.Event()

        def wait(handler, request):
            if request["prompt"]:
                go.wait(20)
            text("x")(handler, request)
        self.daemon.answers["/api/generate"] = wait
        p = subprocess.Popen([COMMAND, "map", "tiny", "--text", "-j", "2"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, env=self.env)
        os.set_blocking(p.stdin.fileno(), False)
        line, sent, end = b"x" * 1023 + b"\n", 0, time.monotonic() + 1
        while time.monotonic() < end:
            sent += p.stdin.raw.write(line) or 0
        self.assertLess(sent, 512 * 1024)
        go.set()
        self.assertEqual(json.loads(p.stdout.readline())["text"], "x")
        p.kill()
        p.wait()
        p.stdin.close()
        p.stdout.close()

    def test_map_bar(self):
        self.daemon.answers["/api/generate"] = self.echo
        path = os.path.join(self.dir.name, "in")
        with open(path, "w") as f:
            f.write("a\n" * 20)
        with Terminal(self, "map", "tiny", path, "--text", "-o", os.path.join(self.dir.name, "out")) as t:
            out = t.read_to_end()
        self.assertRegex(out, r"\d+ done")
        self.assertIn("20 done, 0 failed, 0 there before", out)

    def test_map_without_daemon(self):
        self.run_cli("map", "tiny", "--socket", "/nonexistent", code=3)
        self.daemon.answers["/api/generate"] = document({"error": "model 'tinny' not found"}, 404)
        self.assertIn("did you mean 'tiny'?", self.run_cli("map", "tinny", code=1).stderr)

    # ---- top ----

    def watch(self):
        """Answers of a daemon whose counters grow by 50 and 30 each time they are asked for."""
        self.tokens = 0

        def figures(handler, request):
            self.tokens += 50
            body = ('# TYPE zerollama_generation_tokens_total counter\n'
                    'zerollama_generation_tokens_total{model="ti\\"ny"} %d\n'
                    'zerollama_generation_tokens_total{model="other"} 7\n' % self.tokens).encode()
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)

        def status(handler, request):
            handler.send_document({
                "version": "9.8.7", "uptime_seconds": 62, "connections": 5, "jobs": {"running": 3, "completed": 9},
                "pools": [{"name": "default", "device": "cuda:0", "state": "running", "pid": 4242, "running": 3}],
                "users": [{"uid": 0, "name": None, "running": 1, "connections": 2, "tokens": 7 + self.tokens * 3 // 5},
                          {"uid": 4294967295, "name": "tcp", "running": 2, "connections": 3, "tokens": 1}]})
        self.daemon.answers.update({"/metrics": figures, "/zerollama/status": status, "/api/ps": document({"models": [
            {"name": 'ti"ny:latest', "state": "loaded", "slots": 8, "running": 3, "waiting": 1, "kv_used": 0.25,
             "pool": "default"}, {"name": "big", "state": "loading", "progress": 0.5, "pool": "default"}]})})

    def test_top(self):
        self.watch()
        out = self.run_cli("top").stdout
        self.assertIn("zerollamad 9.8.7, up 1m2s, 5 connections, 3 running, 0 waiting, 9 answered", out)
        for row in (r"(?m)^default +cuda:0 +running +4242 +3 ", r'(?m)^ti"ny:latest +default +loaded +3/8 +1 +25% +-$',
                    r"(?m)^big +default +loading 50%", r"(?m)^root +2 +1 ", r"(?m)^tcp +3 +2 "):
            self.assertRegex(out, row)
        self.assertNotIn("\033", out)
        self.assertEqual(self.run_cli("top", "--once").stdout, out)
        self.assertEqual(self.run_cli("top", "-n", "2", "-d", "0.1").stdout.count("MODEL"), 2)

    def test_top_rates(self):
        self.watch()
        views = self.results(self.run_cli("top", "--json", "-n", "3", "-d", "0.2").stdout)
        self.assertEqual(len(views), 3)
        self.assertIsNone(views[0]["models"][0]["tokens_per_second"])
        for before, now in zip(views, views[1:]):
            seconds = now["time"] - before["time"]
            self.assertGreaterEqual(seconds, 0.2)
            tiny, big = now["models"]
            self.assertAlmostEqual(tiny["tokens_per_second"] * seconds / 50, 1, delta=0.7)
            self.assertIsNone(big["tokens_per_second"])
            self.assertAlmostEqual(now["users"][0]["tokens_per_second"] * seconds / 30, 1, delta=0.7)
            self.assertEqual(now["users"][1]["tokens_per_second"], 0)
            self.assertEqual(now["pools"][0]["pid"], 4242)

    def test_top_screen(self):
        self.watch()
        with Terminal(self, "top", "-d", "0.2") as t:
            t.expect("\033[?1049h")
            t.expect("\033[1mMODEL")
            t.expect("s sort (name)")
            t.type("s")
            t.expect("s sort (running)")
            t.type("p")
            t.expect("p go on")
            t.type("pq")
            self.assertEqual(t.wait(), 0)
            self.assertIn("\033[?1049l", t.seen)

    def test_top_resize(self):
        self.watch()
        with Terminal(self, "top", "-d", "3600") as t:
            t.expect("q quit")
            t.expect("\033[0m")
            fcntl.ioctl(t.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 7, 12, 0, 0))
            t.expect("\033[H")
            t.expect("\033[7;1H")
            t.expect("q quit  p pa\033[0m")
            t.type("q")
            self.assertEqual(t.wait(), 0)
            frame = t.all[t.all.rindex("\033[H"):t.all.rindex("\033[7;1H")]
            rows = re.sub(r"\033\[\w*?[mKHJ]", "", frame).split("\r\n")
            self.assertEqual((len(rows), max(map(len, rows))), (7, 12))

    def test_top_ends_well(self):
        self.watch()
        for sig, code in ((signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP)):
            with Terminal(self, "top") as t:
                t.expect("q quit")
                os.kill(t.pid, sig)
                self.assertEqual(t.wait(), code)
                self.assertIn("\033[?1049l", t.seen)

    def test_top_daemon_goes(self):
        self.watch()
        with Terminal(self, "top", "-d", "0.1") as t:
            t.expect("q quit")
            self.daemon.answers["/api/ps"] = document({"error": "out of order"}, 500)
            t.expect("out of order")
            self.watch()
            t.expect("q quit  p pause  s sort (name)\033[0m")
            t.type("q")
            self.assertEqual(t.wait(), 0)
        self.run_cli("top", "--socket", "/nonexistent", code=3)

    # ---- The manual ----

    def commands(self):
        return json.loads(self.run_cli("help", "--json").stdout)

    def test_manual_of_the_command(self):
        with open(os.path.join(SRC, "man", "zerollama.1")) as f:
            page = f.read().replace("\\-", "-")
        for command in self.commands():
            section = re.search(rf"^\.SS {command['name']}\b.*?(?=^\.S[SH] )", page, re.M | re.S)
            self.assertIsNotNone(section, f"{command['name']} is not in zerollama(1)")
        options = {o["name"]: o for c in self.commands() for o in c["options"]}
        documented = set(re.findall(r"^\.B[RI]? .*?--([a-z-]+)", page, re.M))
        self.assertEqual(set(options) | {"version"}, documented)  # that one stands in place of a command
        for code in ("0", "1", "2", "3", "130"):
            self.assertRegex(page, rf"(?m)^\.B {code}$")

    def test_manual_of_the_library(self):
        with open(os.path.join(SRC, "src", "client", "zerollama.h")) as f:
            functions = re.findall(r"^ZEROLLAMA_API .*?\b(zl_\w+)\(", f.read(), re.M)
        with open(os.path.join(SRC, "man", "libzerollama.3")) as f:
            page = f.read()
        self.assertGreater(len(functions), 20)
        for name in functions:
            self.assertRegex(page, rf"\b{name}\b", "missing in libzerollama(3)")
        library = os.path.join(BUILD, ".libs", "libzerollama.so")
        exported = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True)
        names = {line.split()[-1] for line in exported.stdout.splitlines()}
        self.assertEqual(names, set(functions))


DAEMON = os.path.join(BUILD, "zerollamad")
DEMO = os.path.join(SRC, "demo", "demo.gguf")


@unittest.skipUnless(os.access(DAEMON, os.X_OK) and os.access(os.path.join(BUILD, "zerollama-engine"), os.X_OK)
                     and os.path.exists(DEMO), "the daemon, its engine or the demo model is not here")
class RealDaemonTest(unittest.TestCase):
    """The commands that make many requests, against the daemon itself."""

    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.TemporaryDirectory()
        cls.socket = os.path.join(cls.dir.name, "api.sock")
        config = os.path.join(cls.dir.name, "zerollamad.yaml")
        with open(config, "w") as f:
            f.write(f"listen:\n  - unix: {cls.socket}\nmodels_path: {os.path.abspath(os.path.dirname(DEMO))}\n")
        cls.env = {**os.environ, "ZEROLLAMA_HOST": cls.socket, "ZEROLLAMA_LIBEXEC": os.path.abspath(BUILD),
                   "LC_ALL": "C.UTF-8"}
        cls.log = open(os.path.join(cls.dir.name, "log"), "w")
        cls.daemon = subprocess.Popen([DAEMON, f"--config={config}"], env=cls.env, stderr=cls.log)
        end = time.monotonic() + 30
        while not os.path.exists(cls.socket) and cls.daemon.poll() is None and time.monotonic() < end:
            time.sleep(0.02)

    @classmethod
    def tearDownClass(cls):
        cls.daemon.terminate()
        cls.daemon.wait(30)
        cls.log.close()
        cls.dir.cleanup()

    def run_cli(self, *args, stdin=""):
        p = subprocess.run([COMMAND, *args], input=stdin, capture_output=True, text=True, timeout=120, env=self.env)
        self.assertEqual(p.returncode, 0, f"{args}: {p.stdout}{p.stderr}")
        return p

    def test_bench(self):
        p = self.run_cli("bench", "demo", "--clients", "1,24", "-r", "48", "-n", "4", "--json")
        for stage in map(json.loads, p.stdout.splitlines()):
            self.assertEqual((stage["requests"], stage["errors"]), (48, 0))
            self.assertGreater(stage["tokens_per_second"], stage["qps"])

    def test_what_an_answer_must_be(self):
        schema = {"type": "object", "properties": {"age": {"enum": [7, 77]}}, "required": ["age"], "additionalProperties": False}
        source = os.path.join(self.dir.name, "schema.json")
        with open(source, "w") as f:
            json.dump(schema, f)
        for form in ("@" + source, json.dumps(schema)):
            for command in ("generate", "run"):
                said = json.loads(self.run_cli(command, "demo", "--format", form, "-n", "200", "How old are you?").stdout)
                self.assertIn(said["age"], (7, 77))
        p = self.run_cli("map", "demo", "--format", "@" + source, "-n", "200", stdin='{"prompt": "One"}\n{"prompt": "Two"}\n')
        for line in p.stdout.splitlines():
            self.assertIn(json.loads(json.loads(line)["text"])["age"], (7, 77))
        said = self.run_cli("run", "demo", "--grammar", 'root ::= "yes" | "no, " [a-z]{3}', "Are you sure?").stdout
        self.assertRegex(said, r"^(yes|no, [a-z]{3})\n$")
        for args, words in ((("--format", "{"), "neither"), (("--grammar", ""), "the grammar is empty")):
            p = subprocess.run([COMMAND, "run", "demo", *args, "x"], capture_output=True, text=True, timeout=120, env=self.env)
            self.assertEqual((p.returncode, p.stderr.count(words)), (1, 1))

    def test_map_says_what_generate_says(self):
        prompts = ["Once upon a time", "Who are you?", "Zwölf Boxkämpfer", "2 + 2 ="]
        answers = {}
        for prompt in prompts:
            p = self.run_cli("generate", "demo", "--temperature", "0", "-n", "8", "--json", "--no-stream", prompt)
            answers[prompt] = json.loads(p.stdout)["response"]
        lines = [json.dumps({"prompt": prompts[i % 4], "id": i}) for i in range(40)]
        p = self.run_cli("map", "demo", "-j", "12", "--temperature", "0", "-n", "8", stdin="\n".join(lines))
        results = [json.loads(line) for line in p.stdout.splitlines()]
        self.assertEqual(sorted(r["id"] for r in results), list(range(40)))
        for r in results:
            self.assertEqual(r["text"], answers[prompts[r["id"] % 4]])

    def test_map_killed_and_gone_on_with(self):
        out, source = os.path.join(self.dir.name, "out"), os.path.join(self.dir.name, "in")
        with open(source, "w") as f:
            f.writelines(f"Story number {i}\n" for i in range(300))
        args = ("map", "demo", "--text", "-n", "16", "-j", "8", "-o", out, source)
        for lines in (20, 60):
            p = subprocess.Popen([COMMAND, *args], env=self.env)
            end = time.monotonic() + 60
            while p.poll() is None and time.monotonic() < end:
                if lines_of(out) >= lines:
                    break
                time.sleep(0.002)
            p.kill()
            p.wait()
        self.run_cli(*args)
        with open(out) as f:
            self.assertEqual(sorted(json.loads(line)["index"] for line in f), list(range(300)))

    def test_top(self):
        self.run_cli("load", "demo")
        view = json.loads(self.run_cli("top", "--once", "--json").stdout)
        self.assertIn("demo", view["models"][0]["name"])
        self.assertEqual(view["pools"][0]["state"], "running")
        self.assertEqual([u["uid"] for u in view["users"]], [os.getuid()])
        views = self.run_cli("top", "--json", "-n", "2", "-d", "0.1").stdout.splitlines()
        self.assertEqual(json.loads(views[1])["models"][0]["tokens_per_second"], 0)


class Terminal:
    """The command on a pseudo-terminal."""

    def __init__(self, test, *args, env=None):
        self.test = test
        self.seen = ""
        self.all = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(COMMAND, [COMMAND, *args], {**test.env, **(env or {})})

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)

    def read_some(self):
        if not select.select([self.fd], [], [], 20)[0]:
            self.test.fail(f"nothing more on the terminal; so far: {self.all!r}")
        try:
            data = os.read(self.fd, 4096).decode(errors="replace")
        except OSError:
            data = ""
        self.seen += data
        self.all += data
        return data

    def expect(self, words):
        end = time.monotonic() + 60
        while words not in self.seen:
            if not self.read_some() or time.monotonic() > end:
                self.test.fail(f"no {words!r} on the terminal: {self.all!r}")
        self.seen = self.seen[self.seen.index(words) + len(words):]

    def type(self, keys):
        os.write(self.fd, keys.encode())

    def wait(self):
        while self.read_some():
            pass
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def read_to_end(self):
        self.test.assertEqual(self.wait(), 0)
        return self.all


if __name__ == "__main__":
    if not os.access(COMMAND, os.X_OK):
        print(f"{COMMAND} is not built: skipped")
        sys.exit(77)
    unittest.main()
