#!/usr/bin/env python3
"""`zerollama pull` from a registry on the loopback that speaks as Ollama's and Hugging Face's do, and fails as networks do:
what is there in the end is whole and right, or was not there at all."""

import hashlib
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading

sys.dont_write_bytecode = True
from harness import BUILD, PATIENCE, SRC, Case, main, wait_until  # noqa: E402

MODEL, PROJECTOR, ADAPTER, PARAMS, SYSTEM = (
    "application/vnd.ollama.image." + kind for kind in ("model", "projector", "adapter", "params", "system")
)
PIECE = 1 << 20

with open(os.path.join(SRC, "demo", "demo.gguf"), "rb") as demo:
    DEMO = demo.read()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Registry(http.server.ThreadingHTTPServer):
    """Manifests by "library/name:tag" and blobs by digest. `plan` says what goes wrong with the next requests for blobs,
    one after the other: ("cut", n) the connection ends after n bytes, ("stall", n) it falls silent there, ("status", n),
    ("whole",) ranges are not understood, ("page",) something else is sent, ("elsewhere",) not the part that was asked for."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.manifests, self.blobs, self.plan, self.ranges = {}, {}, [], []
        self.over = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def add(self, name, data, kind=MODEL, **changes):
        layer = {"mediaType": kind, "digest": digest(data), "size": len(data), **changes}
        self.blobs[layer["digest"]] = data
        manifest = self.manifests.setdefault(name, {"schemaVersion": 2, "layers": []})
        manifest["layers"] += [{"mediaType": "application/vnd.ollama.image.license", "digest": digest(b"x"), "size": 1}, layer]

    def handle_error(self, request, client_address):
        pass  # who interrupts leaves in the middle

    def close(self):
        self.over.set()
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for key, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if m := re.fullmatch(r"/v2/(.+)/manifests/(.+)", self.path):
            manifest = self.server.manifests.get(f"{m[1]}:{m[2]}")
            body = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
            self.reply(200 if manifest is not None else 404, body if manifest is not None else b'{"errors":[]}')
        elif m := re.fullmatch(r"/v2/(.+)/blobs/(.+)", self.path):
            self.reply(307, Location="/files/" + m[2])
        elif m := re.fullmatch(r"/files/(.+)", self.path):
            self.blob(self.server.blobs[m[1]])

    def blob(self, data):
        plan = self.server.plan.pop(0) if self.server.plan else ("well",)
        start = self.headers["Range"]
        self.server.ranges.append(start)
        if plan[0] == "status":
            self.reply(plan[1], b"not\x1b[31m now")
            return
        if plan[0] == "page":
            self.reply(200, b"<html>Please log in")
            return
        at = int(re.fullmatch(r"bytes=(\d+)-", start)[1]) if start and plan[0] != "whole" else 0
        self.send_response(206 if at else 200)
        self.send_header("Content-Length", str(len(data) - at))
        if at:
            begins = 0 if plan[0] == "elsewhere" else at
            self.send_header("Content-Range", f"bytes {begins}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        n = plan[1] if plan[0] in ("cut", "stall") else len(data)
        self.wfile.write(data[at : at + n])
        if plan[0] == "stall":
            self.server.over.wait(PATIENCE)
        self.close_connection = n < len(data)


class PullTest(Case):
    CONFIG = {}
    MODELS = ()

    def setUp(self):
        self.registry = Registry()
        self.addCleanup(self.registry.close)
        self.addCleanup(self.clear)

    def clear(self):
        for name in os.listdir(self.d.models):
            if os.path.isfile(os.path.join(self.d.models, name)):
                os.unlink(os.path.join(self.d.models, name))

    def start_pull(self, model, *options):
        model = model if "://" in model else f"{self.registry.url}/library/{model}"
        command = [os.path.join(BUILD, "zerollama"), "--socket", self.d.socket, "pull", model, *options]
        env = {**os.environ, "NO_PROXY": "*", "no_proxy": "*"}
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env,
                                text=True)

    def end(self, process, code=0):
        out, err = process.communicate(timeout=2 * PATIENCE)
        self.assertEqual(process.returncode, code, out + err)
        return out, err

    def pull(self, model, *options, code=0):
        return self.end(self.start_pull(model, *options), code)

    def files(self):
        return sorted(os.listdir(self.d.models))

    def content(self, name):
        with open(os.path.join(self.d.models, name), "rb") as f:
            return f.read()

    def test_pull(self):
        self.registry.add("library/tiny:q8", DEMO)
        out, err = self.pull("tiny:q8")
        path = os.path.join(self.d.models, "tiny:q8.gguf")
        self.assertEqual(out, f"tiny:q8: 3.6 MiB, is now {path}\n")
        self.assertEqual(err, "")
        self.assertEqual(self.files(), ["tiny:q8.gguf"])
        self.assertEqual(self.content("tiny:q8.gguf"), DEMO)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o644)
        self.assertIn("tiny:q8", [m["name"] for m in self.d.get("/api/tags").json()["models"]])
        body = {"model": "tiny:q8", "prompt": "Who are you?", "stream": False, "options": {"temperature": 0}}
        self.assertIn("zerollama", self.d.post("/api/generate", body).json()["response"])

    def test_defaults(self):
        """What the registry says of how to use it counts when the model is asked for; what somebody has made of it stays."""
        params = {"stop": ["<|im_end|>"], "temperature": 0.25, "num_predict": 3, "num_gpu": 99, "mirostat": 2}
        self.registry.add("library/tiny:latest", DEMO)
        self.registry.add("library/tiny:latest", json.dumps(params).encode(), PARAMS)
        self.registry.add("library/tiny:latest", "Be a fox, é.".encode(), SYSTEM)
        path = os.path.join(self.d.models, "tiny.json")
        out, err = self.pull("tiny")
        self.assertIn(path, out)
        self.assertEqual(err, "")
        known = {k: v for k, v in params.items() if k not in ("num_gpu", "mirostat")}
        self.assertEqual(json.loads(self.content("tiny.json")), {"from": "tiny", "system": "Be a fox, é.", "parameters": known})
        names = [m["name"] for m in self.d.get("/api/tags").json()["models"]]
        self.assertEqual(names.count("tiny:latest"), 1)
        body = {"model": "tiny", "messages": [{"role": "user", "content": "Who are you?"}], "stream": False}
        self.assertEqual(self.d.post("/api/chat", body).json()["eval_count"], 3)
        tokens = [self.d.post("/tokenize", {"model": "tiny", "messages": m}).json()["tokens"]
                  for m in (body["messages"], [{"role": "system", "content": "Be a fox, é."}, *body["messages"]])]
        self.assertEqual(*tokens)
        with open(path, "w", encoding="utf-8") as f:
            f.write('{"from": "tiny"}')
        os.unlink(os.path.join(self.d.models, "tiny.gguf"))
        _, err = self.pull("tiny")
        self.assertIn("stays", err)
        self.assertEqual(json.loads(self.content("tiny.json")), {"from": "tiny"})
        os.unlink(os.path.join(self.d.models, "tiny.gguf"))
        out, _ = self.pull("tiny", "--replace", "--json")
        self.assertEqual(json.loads(out)["defaults"], path)
        self.assertEqual(json.loads(self.content("tiny.json"))["parameters"], known)
        subprocess.run([os.path.join(BUILD, "zerollama"), "--socket", self.d.socket, "rm", "tiny"], check=True, stdout=subprocess.DEVNULL)
        self.assertEqual(self.files(), [])

    def test_wrong_defaults(self):
        """Of what is not what its digest says there is nothing; what the one before said of its model goes with that."""
        self.registry.add("library/tiny:latest", DEMO)
        self.registry.add("library/tiny:latest", b"Be a fox", SYSTEM)
        self.registry.blobs[digest(b"Be a fox")] = b"Be a wolf"
        _, err = self.pull("tiny", code=1)
        self.assertIn("not what its digest says", err)
        self.assertEqual(self.files(), [])
        self.registry.blobs[digest(b"Be a fox")] = b"Be a fox"
        self.pull("tiny")
        self.assertEqual(self.files(), ["tiny.gguf", "tiny.json"])
        self.registry.add("library/other:latest", DEMO[:-1] + b"\0")  # of which nothing is said
        _, err = self.pull("other", "--name", "tiny", "--replace")
        self.assertEqual(self.files(), ["tiny.gguf"])

    def test_useless_defaults(self):
        """They are told of, and the model is served without them."""
        self.registry.add("library/tiny:latest", DEMO)
        self.registry.add("library/tiny:latest", b'{"top_k": -1, "temperature": null}', PARAMS)
        _, err = self.pull("tiny")
        self.assertIn("tiny.json cannot be used", err)
        self.assertStatus(self.d.post("/api/generate", {"model": "tiny", "prompt": "x", "stream": False}), 200)

    def test_again(self):
        self.registry.add("library/tiny:latest", DEMO)
        self.pull("tiny")
        out, _ = self.pull("tiny:latest")
        self.assertIn("was already", out)
        out, _ = self.pull("tiny", "--json")
        expected = {"model": "tiny", "path": os.path.join(self.d.models, "tiny.gguf"), "size": len(DEMO),
                    "digest": digest(DEMO), "fetched": False}
        self.assertEqual(json.loads(out), expected)
        self.assertEqual(len(self.registry.ranges), 1)
        with open(os.path.join(self.d.models, "tiny.gguf"), "r+b") as f:  # as long, but another
            f.seek(-1, 2)
            f.write(b"\0")
        _, err = self.pull("tiny", code=1)
        self.assertIn("--replace", err)
        out, _ = self.pull("tiny", "--json", "--replace")
        self.assertTrue(json.loads(out)["fetched"])
        self.assertEqual(self.content("tiny.gguf"), DEMO)

    def test_place_taken(self):
        """By what is no file: told before anything is fetched."""
        self.registry.add("library/tiny:latest", DEMO)
        os.mkdir(os.path.join(self.d.models, "tiny.gguf"))
        self.addCleanup(os.rmdir, os.path.join(self.d.models, "tiny.gguf"))
        for options in ((), ("--replace",)):
            _, err = self.pull("tiny", *options, code=1)
            self.assertIn("no file", err)
        self.assertEqual(self.registry.ranges, [])

    def test_somebody_between(self):
        """A page that is not the file, or another part of it, does not touch what there is."""
        self.registry.add("library/tiny:latest", DEMO)
        self.registry.plan = [("cut", PIECE), ("page",)]
        _, err = self.pull("tiny", code=1)
        self.assertIn("something else", err)
        self.registry.plan = [("elsewhere",)]
        _, err = self.pull("tiny", code=1)
        self.assertIn("something else", err)
        self.assertEqual(self.part(), DEMO[:PIECE])
        self.pull("tiny")
        self.assertEqual(self.content("tiny.gguf"), DEMO)

    def test_lost_connections(self):
        self.registry.add("library/tiny:latest", DEMO)
        self.registry.plan = [("cut", PIECE), ("status", 503), ("cut", 10)]
        _, err = self.pull("tiny")
        self.assertEqual(self.registry.ranges, [None, f"bytes={PIECE}-", f"bytes={PIECE}-", f"bytes={PIECE + 10}-"])
        self.assertIn("again in 1s", err)
        self.assertIn("answered 503: not [31m now", err)
        self.assertEqual(self.content("tiny.gguf"), DEMO)

    def test_interrupted(self):
        """And from there where ranges are understood, or from the beginning."""
        self.registry.add("library/tiny:latest", DEMO)
        for i, after in enumerate((("well",), ("whole",))):
            self.registry.plan, self.registry.ranges = [("stall", PIECE), after], []
            process = self.start_pull("tiny", "--name", f"tiny{i}")
            wait_until(lambda: [f for f in self.files() if f.endswith(".part")] and len(self.part()) == PIECE, "a part of it")
            _, err = self.end(self.start_pull("tiny", "--name", f"tiny{i}"), 1)
            self.assertIn("being fetched already", err)
            process.send_signal(signal.SIGINT)
            _, err = self.end(process, 130)
            self.assertIn("run again", err)
            self.assertNotIn(f"tiny{i}.gguf", self.files())
            self.assertNotIn(f"tiny{i}", [m["name"] for m in self.d.get("/api/tags").json()["models"]])
            self.pull("tiny", "--name", f"tiny{i}")
            self.assertEqual(self.registry.ranges, [None, f"bytes={PIECE}-"])
            self.assertEqual(self.content(f"tiny{i}.gguf"), DEMO)
            self.assertEqual([f for f in self.files() if f.endswith(".part")], [])

    def part(self):
        return self.content(next(f for f in self.files() if f.endswith(".part")))

    def test_not_what_it_should_be(self):
        wrong = DEMO[:-1] + b"\0"
        self.registry.add("library/wrong:latest", wrong, digest=digest(DEMO))
        self.registry.add("library/text:latest", b"<html>")
        self.registry.add("library/longer:latest", DEMO + b"more", size=len(DEMO))
        for model, why in (("wrong", "SHA-256"), ("text", "no GGUF file"), ("longer", "something else")):
            _, err = self.pull(model, code=1)
            self.assertIn(why, err)
            self.assertEqual([f for f in self.files() if f.endswith(".gguf")], [])
        self.assertEqual([f for f in self.files() if "longer" not in f and "text" not in f], [])

    def test_unusable(self):
        """It is right, but nothing that this version reads."""
        self.registry.add("library/odd:latest", b"GGUF" + bytes(100))
        _, err = self.pull("odd", code=1)
        self.assertIn("cannot be used", err)
        self.assertIn("odd", err)
        self.assertEqual(self.files(), ["odd.gguf"])

    def test_manifests(self):
        add = self.registry.add
        self.registry.manifests["library/garbage:latest"] = b"<html>"
        self.registry.manifests["library/list:latest"] = [1]
        self.registry.manifests["library/empty:latest"] = {}
        self.registry.manifests["library/huge:latest"] = b" " * (2 << 20)
        add("library/lora:latest", DEMO, ADAPTER)
        add("library/two:latest", DEMO)
        add("library/two:latest", DEMO)
        add("library/evil:latest", DEMO, digest="sha256:../../../../" + "a" * 52)
        add("library/short:latest", DEMO, digest="sha256:abc")
        add("library/nothing:latest", DEMO, size=0)
        add("library/negative:latest", DEMO, size=-5)
        add("library/vast:latest", DEMO, size=1 << 60)
        for model, why in (
            ("unknown", "has no model library/unknown:latest"),
            ("garbage", "no manifest"),
            ("list", "no manifest"),
            ("empty", "no GGUF file"),
            ("huge", "more than it should"),
            ("lora", "adapter"),
            ("two", "several files"),
            ("evil", "no SHA-256"),
            ("short", "no SHA-256"),
            ("nothing", "no size"),
            ("negative", "no size"),
            ("vast", "has room for"),
        ):
            with self.subTest(model):
                _, err = self.pull(model, code=1)
                self.assertIn(why, err)
        self.assertEqual([f for f in self.files() if not f.startswith(".vast")], [])
        self.assertEqual(self.registry.ranges, [])

    def test_images_are_left(self):
        self.registry.add("library/seer:latest", DEMO)
        self.registry.add("library/seer:latest", b"GGUFx", PROJECTOR)
        _, err = self.pull("seer")
        self.assertIn("text only", err)

    def test_place(self):
        self.registry.add("org/sub/Tiny-GGUF:Q8_0", DEMO)
        directory = os.path.join(self.d.dir, "other", "place")
        model = f"{self.registry.url}/org/sub/Tiny-GGUF:Q8_0"
        self.pull(model, "--directory", directory)
        self.assertEqual(os.listdir(directory), ["Tiny-GGUF:Q8_0.gguf"])
        _, err = self.pull(model, "--directory", self.d.config_path, code=1)
        self.assertIn("cannot write to", err)
        _, err = self.pull(model, "--socket", os.path.join(self.d.dir, "nowhere"), code=3)
        self.assertIn("--directory", err)
        self.pull(model, "--socket", os.path.join(self.d.dir, "nowhere"), "--directory", directory)

    def test_names(self):
        for model in ("", "http://", "http://127.0.0.1:1", "a b", "a:b:c", "../x", "a//b", "x/", ":tag", ".hidden", "a?b", "a:"):
            command = [os.path.join(BUILD, "zerollama"), "--socket", self.d.socket, "pull", model]
            self.end(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True), 2)
        self.pull("tiny", "--directory", "", code=2)
        for name in ("", ".x", "a/b", "a\nb", "x" * 200):
            self.pull("tiny", "--name", name, code=2)
        _, err = self.pull("http://127.0.0.1:1/library/x", code=1)
        self.assertIn("127.0.0.1:1", err)


if __name__ == "__main__":
    main()
