#!/usr/bin/env python3
"""Embeddings and rerankings by the real daemon: shapes of every dialect, the same numbers everywhere, limits, wrong input,
fairness, cancelling, and engines that die in the middle."""

import base64
import json
import math
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
import bert  # noqa: E402
import gguf_file  # noqa: E402
from harness import (  # noqa: E402
    BUILD, PATIENCE, SANITIZED, STORIES, Case, data, figure, have_data, in_parallel, main, recv_all, wait_until,
)

DIMENSIONS = 32
TEXTS = ["", "ba", "Dan kes, mor!", "zur " * 100, "naïve 日本 x", bert.text(200, 1), bert.text(7, 2)]


def floats(text):
    raw = base64.b64decode(text)
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


def as_float32(values):
    return list(struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values)))


class EmbedCase(Case):
    MODELS = (STORIES,)
    CONFIG = {"models": [{"name": "short", "path": "embedder", "context": 16},
                         {"name": "int16", "path": "embedder", "precision": "int16"},
                         {"name": "int8", "path": "embedder", "precision": "int8"}]}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.add("embedder")

    @classmethod
    def add(cls, name, d=None, **options):
        bert.write(os.path.join((d or cls.d).models, name), **options)

    def embed(self, texts, model="embedder", d=None, **fields):
        """The vectors, to the bit."""
        answer = (d or self.d).post("/v1/embeddings", {"model": model, "input": texts, "encoding_format": "base64", **fields})
        self.assertStatus(answer, 200)
        items = answer.json()["data"]
        self.assertEqual([i["index"] for i in items], list(range(len(items))))
        return [floats(i["embedding"]) for i in items]

    def refused(self, status, path, body, *parts):
        answer = self.assertStatus(self.d.post(path, body), status)
        for part in parts:
            self.assertIn(part, answer.error)
        return answer


class ShapesTest(EmbedCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.add("reranker", reranker=True, seed=2)
        cls.add("usual", usual=16)
        cls.add("matryoshka", matryoshka_dimensions=[8, 16])
        for name in ("tiny_bert",):
            if have_data("models", "tiny_bert_random", name):
                shutil.copytree(data("models", "tiny_bert_random", name), os.path.join(cls.d.models, name))

    def test_one_text(self):
        answer = self.assertStatus(self.d.post("/v1/embeddings", {"model": "embedder", "input": "ba da"}), 200).json()
        self.assertEqual((answer["object"], answer["model"]), ("list", "embedder"))
        self.assertEqual(answer["usage"], {"prompt_tokens": 4, "total_tokens": 4})
        (item,) = answer["data"]
        self.assertEqual((item["object"], item["index"], len(item["embedding"])), ("embedding", 0, DIMENSIONS))
        self.assertAlmostEqual(math.hypot(*item["embedding"]), 1, 5)
        self.assertEqual([as_float32(item["embedding"])], self.embed(["ba da"]))

    def test_numbers_are_the_same_everywhere(self):
        """In one batch or alone, in every dialect and encoding, by the command and by its map."""
        together = self.embed(TEXTS)
        self.assertEqual(together, [self.embed(t)[0] for t in TEXTS])
        self.assertEqual(together[::-1], self.embed(TEXTS[::-1]))
        as_text = self.d.post("/v1/embeddings", {"model": "embedder", "input": TEXTS, "encoding_format": "float"}).json()
        self.assertEqual(together, [as_float32(i["embedding"]) for i in as_text["data"]])
        ollama = self.assertStatus(self.d.post("/api/embed", {"model": "embedder:latest", "input": TEXTS}), 200).json()
        self.assertEqual(together, [as_float32(v) for v in ollama["embeddings"]])
        self.assertEqual(ollama["prompt_eval_count"], as_text["usage"]["prompt_tokens"])
        self.assertGreater(ollama["total_duration"], 0)
        old = self.assertStatus(self.d.post("/api/embeddings", {"model": "embedder", "prompt": TEXTS[2]}), 200).json()
        self.assertEqual(together[2], as_float32(old["embedding"]))
        lines = [json.loads(x) for x in self.command("embed", "embedder", *TEXTS).splitlines()]
        self.assertEqual(together, [as_float32(x["embedding"]) for x in lines])
        rows = "\n".join(json.dumps({"input": t}) for t in TEXTS)
        mapped = [json.loads(x) for x in self.command("map", "embedder", "--ordered", stdin=rows).splitlines()]
        self.assertEqual(together, [as_float32(x["embedding"]) for x in mapped])

    def command(self, *args, stdin=""):
        p = subprocess.run([os.path.join(BUILD, "zerollama"), *args], input=stdin, capture_output=True, text=True, check=False,
                           timeout=PATIENCE, env={**os.environ, "ZEROLLAMA_HOST": self.d.socket})
        self.assertEqual(p.returncode, 0, p.stderr)
        return p.stdout

    def test_precision(self):
        """Coarser numbers give almost the same vectors."""
        exact = self.embed(TEXTS)
        for model, least in (("int16", 0.9999), ("int8", 0.99)):
            vectors = self.embed(TEXTS, model)
            self.assertNotEqual(vectors, exact)
            cosines = [sum(a * b for a, b in zip(x, y)) for x, y in zip(vectors, exact)]
            figure(f"{model}: least cosine with float32 {min(cosines):.6f}")
            self.assertGreater(min(cosines), least)

    def test_token_ids(self):
        """They are taken as they are; the tokenizer would have put two more around the text's own."""
        ids = {t: i for i, t in enumerate(bert.VOCABULARY)}
        text = [ids[t] for t in ("[CLS]", "ba", "##ban", ".", "[SEP]")]
        whole = [ids["[CLS]"], ids["ban"], ids["."], ids["[SEP]"]]
        self.assertEqual(self.embed(whole), self.embed("ban."))
        self.assertEqual(self.embed([whole, text]), [self.embed(whole)[0], self.embed(text)[0]])
        self.refused(400, "/v1/embeddings", {"model": "embedder", "input": [[1], [1, 99999]]}, "token 1 of input 1 is 99999")
        self.refused(400, "/v1/embeddings", {"model": "embedder", "input": [[]]}, "input 0 has no tokens")

    def test_reference(self):
        """Vectors that numpy computed."""
        if not have_data("models", "tiny_bert_random", "expected.json"):
            self.skipTest("no test data")
        with open(data("models", "tiny_bert_random", "expected.json"), encoding="utf-8") as f:
            cases = json.load(f)
        worst = 0
        for case, vector in zip(cases, self.embed([c["text"] for c in cases], "tiny_bert")):
            worst = max(worst, *(abs(a - b) for a, b in zip(case["mean_pooled_l2"], vector)))
            self.assertEqual(self.embed([case["input_ids"]], "tiny_bert"), [vector])
        figure(f"tiny_bert: {len(cases)} vectors, largest difference {worst:.1e}")
        self.assertLess(worst, 1e-5)

    def test_gguf(self):
        """The same model in one file gives the same vectors."""
        folders = [os.path.join(self.d.models, "embedder")]
        if have_data("models", "all-MiniLM-L6-v2", "tokenizer.json"):
            folders.append(data("models", "all-MiniLM-L6-v2"))
        for folder in folders:
            name = os.path.basename(folder)
            if name != "embedder":
                shutil.copytree(folder, os.path.join(self.d.models, name))
            gguf_file.of_bert(folder, os.path.join(self.d.models, f"{name}-file.gguf"))
            self.assertEqual(self.embed(TEXTS, f"{name}-file"), self.embed(TEXTS, name))
            shown = self.assertStatus(self.d.post("/api/show", {"model": f"{name}-file"}), 200).json()
            self.assertEqual((shown["details"]["format"], shown["details"]["family"]), ("gguf", "bert"))
            self.assertEqual(shown["capabilities"], ["embedding"])
            of_folder = self.d.post("/api/show", {"model": name}).json()["understood"]
            of_folder.pop("usual_cut", None)  # which only sentence-transformers' files tell
            self.assertEqual(shown["understood"], of_folder)

    def test_shown(self):
        for model, wanted in (
            ("usual", {"tokenizer": "WordPiece", "vocabulary": len(bert.VOCABULARY), "dimensions": DIMENSIONS, "pooling": "mean",
                       "normalised": True, "longest_text": 512, "usual_cut": 16, "precision": "float32"}),
            ("int8", {"tokenizer": "WordPiece", "vocabulary": len(bert.VOCABULARY), "dimensions": DIMENSIONS, "pooling": "mean",
                      "normalised": True, "longest_text": 512, "precision": "int8"}),
            ("reranker", {"tokenizer": "WordPiece", "vocabulary": len(bert.VOCABULARY), "scores": 1, "pooling": "first token",
                          "sigmoid": True, "longest_text": 512, "precision": "float32"}),
        ):
            self.assertEqual(self.d.post("/api/show", {"model": model}).json()["understood"], wanted)
        self.assertIn("longest_text", self.command("show", "usual"))
        self.add("surplus")
        path = os.path.join(self.d.models, "surplus", "tokenizer.json")
        with open(path, encoding="utf-8") as f:
            tokenizer = json.load(f)
        tokenizer["model"]["vocab"]["more"] = len(bert.VOCABULARY)
        with open(path, "w", encoding="utf-8") as f:
            json.dump(tokenizer, f)
        n = len(bert.VOCABULARY)
        self.refused(500, "/api/show", {"model": "surplus"}, f"the vocabulary has {n + 1} tokens, the weights are for {n}")

    def test_too_long(self):
        long = bert.text(511, 3)  # 513 tokens
        self.assertEqual(len(self.embed([bert.text(510, 3)])), 1)
        answer = self.refused(400, "/v1/embeddings", {"model": "embedder", "input": ["ba", long]},
                              "input 1 has 513 tokens", "at most 512", "truncate")
        self.assertEqual(answer.json()["error"]["code"], "context_length_exceeded")
        self.refused(400, "/api/embed", {"model": "embedder", "input": long, "truncate": False}, "at most 512")
        self.assertEqual(self.embed(long, truncate=True), self.embed(bert.text(511, 3).rsplit(" ", 1)[0]))
        cut = self.d.post("/api/embed", {"model": "embedder", "input": long}).json()  # Ollama's clients expect that
        self.assertEqual(cut["prompt_eval_count"], 512)
        self.refused(400, "/v1/embeddings", {"model": "short", "input": "ba " * 20}, "at most 16")
        # What fits is not cut, also where sentence-transformers would.
        words = bert.text(100, 4)
        self.assertEqual(self.embed(words, "usual", truncate=True), self.embed(words, "usual"))
        self.assertEqual(self.embed(words, "short", truncate=True), self.embed(" ".join(words.split()[:14])))

    def test_dimensions(self):
        whole = self.embed("ba da", "matryoshka")[0]
        for n in (8, 16):
            (cut,) = self.embed("ba da", "matryoshka", dimensions=n)
            length = math.hypot(*whole[:n])
            self.assertEqual(len(cut), n)
            for a, b in zip(cut, whole):
                self.assertAlmostEqual(a, b / length, 6)
        self.assertEqual(self.embed("ba da", dimensions=DIMENSIONS), self.embed("ba da"))
        for model, n, why in (("matryoshka", 9, "none of them"), ("embedder", 8, "not trained"), ("embedder", 64, "makes 32, not 64")):
            self.refused(400, "/v1/embeddings", {"model": model, "input": "ba", "dimensions": n}, "dimensions", why)
        self.refused(400, "/v1/embeddings", {"model": "embedder", "input": "ba", "dimensions": 0}, "dimensions")

    def test_wrong_input(self):
        for body, part in (({}, "input: is missing"), ({"input": []}, "empty"), ({"input": {}}, "must be"), ({"input": ["a", 1]}, "element 1"),
                           ({"input": [[1, "a"]]}, "no token id"), ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
                           ({"input": "a", "truncate": 1}, "truncate"), ({"input": "a", "timeout": -1}, "timeout")):
            self.refused(400, "/v1/embeddings", {"model": "embedder", **body}, part)
        self.refused(404, "/v1/embeddings", {"model": "nobody", "input": "a"}, "no model")
        for body, part in (({"query": "a"}, "documents: is missing"), ({"documents": ["a"]}, "query: is missing"),
                           ({"query": "a", "documents": "b"}, "must be a list"), ({"query": "a", "documents": [{}]}, "element 0"),
                           ({"query": "a", "documents": ["b"], "top_n": 0}, "top_n")):
            self.refused(400, "/v1/rerank", {"model": "reranker", **body}, part)
        self.refused(400, "/api/embeddings", {"model": "embedder", "prompt": ["a"]}, "prompt")
        self.refused(400, "/api/embed", {"model": "embedder", "input": 1}, "input")

    def test_wrong_model(self):
        """Each kind says what it is for."""
        chat = {"messages": [{"role": "user", "content": "ba"}], "stream": False}
        for model, instead in (("embedder", "/v1/embeddings"), ("reranker", "/v1/rerank")):
            for path, body in (("/v1/chat/completions", chat), ("/api/chat", chat), ("/v1/completions", {"prompt": "ba"}),
                               ("/api/generate", {"prompt": "ba", "stream": False})):
                self.refused(400, path, {"model": model, **body}, "generates no text", instead)
        self.refused(400, "/v1/embeddings", {"model": STORIES, "input": "ba"}, "generates text and makes no embeddings")
        self.refused(400, "/v1/rerank", {"model": STORIES, "query": "ba", "documents": ["da"]}, "generates text and makes no scores")
        self.refused(400, "/v1/embeddings", {"model": "reranker", "input": "ba"}, "is a reranker", "/v1/rerank")
        self.refused(400, "/v1/rerank", {"model": "embedder", "query": "ba", "documents": ["da"]}, "no reranker")
        for model, why in ((STORIES, "makes no scores"), ("embedder", "no reranker")):  # nor with nothing to do
            self.refused(400, "/v1/rerank", {"model": model, "query": "ba", "documents": []}, why)
        for model, why in ((STORIES, "makes no embeddings"), ("reranker", "is a reranker")):
            self.refused(400, "/api/embed", {"model": model, "input": []}, why)
            self.refused(400, "/api/embeddings", {"model": model}, why)
        for path in ("/v1/rerank", "/api/embed", "/rerank"):
            self.refused(404, path, {"model": "nobody", "query": "ba", "documents": [], "input": []}, "no model")

    def test_capabilities(self):
        def listed(path, key):
            items = self.d.get(path).json()
            return {m[key].split(":")[0]: m.get("capabilities") for m in items.get("models") or items["data"]}

        for path, key in (("/api/tags", "name"), ("/v1/models", "id")):
            self.assertEqual(listed(path, key)["matryoshka"], ["embedding"], "a directory's files say so")
        for model, can in (("embedder", ["embedding"]), ("reranker", ["rerank"]), (STORIES, ["completion"])):
            shown = self.d.post("/api/show", {"model": model}).json()
            self.assertEqual(shown["capabilities"], can)
            self.assertNotIn("capabilities", shown["details"])
            for path, key in (("/api/tags", "name"), ("/v1/models", "id")):
                self.assertEqual(listed(path, key)[model], can)

    def test_loading_and_unloading(self):
        for path, empty in (("/api/embed", "embeddings"), ("/api/embeddings", "embedding")):
            self.assertEqual(self.d.post(path, {"model": "embedder"}).json()[empty], [])
            loaded = [m["name"] for m in self.d.get("/api/ps").json()["models"]]
            self.assertIn("embedder:latest", loaded)
            self.assertEqual(self.d.post(path, {"model": "embedder", "keep_alive": 0}).json()[empty], [])
            loaded = [m["name"] for m in self.d.get("/api/ps").json()["models"]]
            self.assertNotIn("embedder:latest", loaded)
        for nothing in ("", []):
            self.assertEqual(self.d.post("/api/embed", {"model": "embedder", "input": nothing}).json()["embeddings"], [])
        self.assertEqual(self.d.post("/api/embeddings", {"model": "embedder", "prompt": ""}).json()["embedding"], [])

    def test_empty_texts_in_a_list(self):
        """Each has its embedding, also where there is one."""
        (empty,) = self.embed("")
        for n in (1, 2):
            answer = self.assertStatus(self.d.post("/api/embed", {"model": "embedder", "input": [""] * n}), 200).json()
            self.assertEqual([as_float32(v) for v in answer["embeddings"]], [empty] * n)
        self.refused(400, "/api/embed", {"model": "embedder", "input": [[]]}, "input 0 has no tokens")

    # Rerankings

    DOCUMENTS = ["ba", "da nor", {"text": "zus ker", "title": "not looked at"}, bert.text(60, 5), "ba"]

    def rank(self, path="/v1/rerank", **fields):
        answer = self.d.post(path, {"model": "reranker", "query": "ba da?", "documents": self.DOCUMENTS, **fields})
        return self.assertStatus(answer, 200).json()

    def test_rerank(self):
        answer = self.rank()
        scores = [r["relevance_score"] for r in answer["results"]]
        self.assertEqual(scores, sorted(scores, reverse=True))
        self.assertEqual(sorted(r["index"] for r in answer["results"]), list(range(5)))
        self.assertEqual(answer["model"], "reranker")
        self.assertEqual(answer["usage"]["total_tokens"], 5 * (3 + 3) + 1 + 2 + 2 + 60 + 1)  # [CLS] query [SEP] document [SEP]
        self.assertNotIn("document", answer["results"][0])
        raw = self.rank(raw_scores=True)
        for a, b in zip(raw["results"], answer["results"]):
            self.assertEqual(a["index"], b["index"])
            self.assertAlmostEqual(1 / (1 + math.exp(-a["relevance_score"])), b["relevance_score"], 6)
        same = {r["index"]: r["relevance_score"] for r in answer["results"]}
        self.assertEqual(same[0], same[4])
        self.assertLess([r["index"] for r in answer["results"]].index(0), [r["index"] for r in answer["results"]].index(4))
        for path in ("/v2/rerank", "/rerank"):
            self.assertEqual(self.rank(path), answer)
        best = self.rank(top_n=2, return_documents=True)["results"]
        self.assertEqual([r["index"] for r in best], [r["index"] for r in answer["results"]][:2])
        for r in best:
            d = self.DOCUMENTS[r["index"]]
            self.assertEqual(r["document"], {"text": d if isinstance(d, str) else d["text"]})
        empty = self.rank(documents=[], top_n=3, return_documents=True)
        self.assertEqual((empty["results"], empty["usage"]["total_tokens"]), ([], 0))
        one = self.rank(documents=[self.DOCUMENTS[3]])["results"][0]["relevance_score"]
        self.assertEqual(one, same[3], "whatever else is in the batch")

    def test_long_documents_in_the_answer(self):
        """They are few numbers and much text: that is a stream, too, which the loop does not write at one go."""
        documents = ["ba " * 60000, "\u0001" * 50000, "\u65e5" * 50000] * 4
        answer = self.d.post("/v1/rerank", {"model": "reranker", "query": "ba", "documents": documents, "truncate": True,
                                            "return_documents": True})
        self.assertStatus(answer, 200)
        self.assertEqual(answer.headers["Transfer-Encoding"], "chunked")
        results = answer.json()["results"]
        self.assertEqual(sorted(r["index"] for r in results), list(range(12)))
        for r in results:
            self.assertEqual(r["document"]["text"], documents[r["index"]])

    def test_text_embeddings_inference(self):
        """Its shape: a list, of texts."""
        texts = [d if isinstance(d, str) else d["text"] for d in self.DOCUMENTS]
        got = self.d.post("/rerank", {"model": "reranker", "query": "ba da?", "texts": texts, "return_text": True}).json()
        expected = [{"index": r["index"], "score": r["relevance_score"], "text": texts[r["index"]]} for r in self.rank()["results"]]
        self.assertEqual(got, expected)

    def test_rerank_too_long(self):
        long = bert.text(600, 6)
        self.refused(400, "/v1/rerank", {"model": "reranker", "query": "ba", "documents": ["ba", long]}, "input 1 has 604 tokens")
        answer = self.rank(documents=[long], truncate=True)
        self.assertEqual(answer["usage"]["total_tokens"], 512)

    def test_metrics(self):
        self.embed(["ba"])
        self.d.wait_idle()
        before = self.d.metrics()
        self.embed(["ba"] * 100)
        self.d.wait_idle()

        def grown(name):
            key = f'zerollama_{name}{{model="embedder"}}'
            return self.d.metrics()[key] - before[key]

        self.assertEqual((grown("inputs_total"), grown("prompt_tokens_total"), grown("requests_total")), (100, 300, 1))
        wait_until(lambda: grown("batches_total") >= 1, "the engine to say how many batches there were")


class LifeTest(EmbedCase):
    """With a model that takes its time."""

    CONFIG = {"models": [{"name": "embedder", "path": "slow", "queue": 16}], "users": []}
    WIDTH = 192
    LARGE = [bert.text(3 + i % 60, i) for i in range(1000)]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        size = {"layers": 1, "ff": 192} if SANITIZED else {"layers": 4, "ff": 768}
        cls.add("slow", hidden=cls.WIDTH, **size, seed=3)

    @classmethod
    def add(cls, name, d=None, **options):
        if name != "embedder":  # the configuration has it
            super().add(name, d, **options)

    def send(self, body, path="/v1/embeddings"):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(PATIENCE)
        s.connect(self.d.socket)
        text = json.dumps({"model": "embedder", **body})
        s.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
        return s

    def running(self):
        return self.d.status()["jobs"]["running"]

    def in_background(self, function):
        box = []
        thread = threading.Thread(target=lambda: box.append(function()))
        thread.start()

        def result():
            thread.join(5 * PATIENCE)
            self.assertTrue(box, "it failed or hangs")
            return box[0]

        return thread, result

    def test_large_answer(self):
        """It is made in pieces, and says the same."""
        many = self.embed(self.LARGE)
        for i in (0, 1, 500, 999):
            self.assertEqual(self.embed(self.LARGE[i]), [many[i]])
        as_text = self.d.post("/v1/embeddings", {"model": "embedder", "input": self.LARGE}).json()
        self.assertEqual([as_float32(i["embedding"]) for i in as_text["data"]], many)
        self.d.wait_idle()
        self.assertEqual(self.d.status()["users"][0]["memory"], 0)

    def test_small_requests_beside_a_large_one(self):
        """They are answered while it runs, though it is the same user's."""
        self.embed("ba")
        thread, large = self.in_background(lambda: self.embed(self.LARGE))
        wait_until(lambda: self.running() == 1, "the large request to run")
        small = [self.embed(self.LARGE[-1 - i])[0] for i in range(5)]
        self.assertTrue(thread.is_alive(), "the large one was done before five small ones")
        self.assertEqual(small, large()[:-6:-1])

    def test_a_long_text(self):
        """It takes longer than an engine may be without progress, and shows progress all along."""
        if SANITIZED:
            self.skipTest("an eighth of it would take longer than that, too")
        texts = [bert.text(6000, 7)]
        patient = self.start({}, models=())
        self.add("long", patient, layers=32, positions=8192)
        began = time.monotonic()
        self.embed(texts, "long", patient)
        took = time.monotonic() - began
        d = self.start({"limits": {"stall_timeout": f"{max(1, took / 2):.1f}s", "restarts": 0}}, models=())
        self.add("long", d, layers=32, positions=8192)
        self.assertEqual(len(self.embed(texts, "long", d)[0]), DIMENSIONS)
        figure(f"a text of 6002 tokens took {took:.1f} s, and stall_timeout was half of that")
        self.assertEqual(d.status()["jobs"]["restarted"], 0)

    def test_the_engine_dies(self):
        """In the middle of several requests, twice: each is answered, with the same numbers and counts."""
        texts = [self.LARGE[i::6] for i in range(6)]
        bodies = [{"model": "embedder", "input": t, "encoding_format": "base64"} for t in texts]
        expected = [self.d.post("/v1/embeddings", b).json() for b in bodies]
        restarted = self.d.status()["jobs"]["restarted"]
        work = [self.in_background(lambda b=b: self.d.post("/v1/embeddings", b, timeout=5 * PATIENCE)) for b in bodies]
        done = 'zerollama_prompt_tokens_total{model="embedder"}'
        for _ in range(2):
            wait_until(lambda: self.running() == 6, "all to run")
            os.kill(self.d.engine_pid(), signal.SIGKILL)
            wait_until(lambda: self.running() < 6, "the engine's death to be seen")
        self.assertTrue(any(thread.is_alive() for thread, _ in work), "it died in the middle")
        for (_, result), e in zip(work, expected):
            self.assertEqual(self.assertStatus(result(), 200).json(), e)
        self.assertGreater(self.d.status()["jobs"]["restarted"], restarted)
        self.assertGreater(self.d.metrics()[done], 0)

    def test_another_precision(self):
        """A reload, and then the engine's death amid an answer: all of it is of one precision, the new one."""
        exact = self.embed(self.LARGE[:50])
        batches = 'zerollama_batches_total{model="embedder"}'
        before = self.d.metrics()[batches]
        body = {"model": "embedder", "input": self.LARGE, "encoding_format": "base64"}
        _, result = self.in_background(lambda: self.d.post("/v1/embeddings", body, timeout=5 * PATIENCE))
        wait_until(lambda: self.d.metrics()[batches] > before + 1, "some of it to be computed")
        models = self.d.config["models"]
        self.d.change_config(models=[{**models[0], "precision": "int16"}])
        self.assertStatus(self.d.post("/zerollama/reload", ""), 200)
        os.kill(self.d.engine_pid(), signal.SIGKILL)
        answer = self.assertStatus(result(), 200).json()
        again = self.d.post("/v1/embeddings", body, timeout=5 * PATIENCE).json()
        self.assertTrue(answer == again)
        self.assertNotEqual([floats(i["embedding"]) for i in answer["data"][:50]], exact)
        self.d.change_config(models=models)
        self.assertStatus(self.d.post("/zerollama/reload", ""), 200)
        self.assertEqual(self.embed(self.LARGE[:50]), exact)

    def test_clients_leave(self):
        """Before, amid and after the work: it is not done for nobody, and nothing is left behind."""
        self.embed("ba")
        cancelled = self.d.outcomes()["cancelled"]
        for _ in range(3):
            sockets = [self.send({"input": self.LARGE}) for _ in range(2)]
            wait_until(lambda: self.running() == 2, "both to run")
            for s in sockets:
                s.close()
            wait_until(lambda: self.running() == 0, "both to be cancelled")
        self.assertEqual(self.d.outcomes()["cancelled"], cancelled + 6)
        s = self.send({"input": self.LARGE[:500]})
        s.recv(1000)  # the answer has begun
        s.close()
        self.embed("ba")
        self.d.wait_idle()
        wait_until(lambda: self.d.status()["users"][0]["memory"] == 0, "all memory to be given back")

    def test_a_client_that_does_not_read(self):
        """It holds back its own answer, which is whole once it reads on; others are served. What is held is its numbers, all of
        them and no more: they are not text before the client takes it."""
        self.embed("ba")
        n, before = 2000 if SANITIZED else 10000, self.d.rss()
        s = self.send({"input": ["ba"] * n})
        wait_until(lambda: self.running() == 1, "it to run")
        wait_until(lambda: self.running() == 0, "it to be computed", 5 * PATIENCE)
        held, numbers = self.d.status()["users"][0]["memory"], n * self.WIDTH * 4
        figure(f"{n} vectors that nobody reads: {held // 1024} KiB charged, {numbers // 1024} KiB of numbers, "
               f"the daemon grew by {self.d.rss() - before} KiB")
        self.assertGreater(held, numbers)
        self.assertLess(held, numbers + 2**20)
        if not SANITIZED:
            self.assertLess(self.d.rss() - before, numbers // 1024 + 4096)
        for i in range(5):
            self.embed(f"ba {i}")
        got, closed = recv_all(s, PATIENCE)
        self.assertTrue(closed)
        self.assertIn(b'"total_tokens"', got[-200:])
        s.close()

    def test_limits(self):
        self.embed("ba")
        large = [self.send({"input": self.LARGE}) for _ in range(1)]
        wait_until(lambda: self.running() == 1, "it to run")
        answer = self.d.post("/v1/embeddings", {"model": "embedder", "input": self.LARGE, "timeout": "50ms"})
        self.assertEqual((answer.status, answer.json()["error"]["code"]), (504, "deadline_exceeded"))
        for s in large:
            s.close()
        wait_until(lambda: self.running() == 0, "the end of it")
        uid = os.getuid()
        self.d.change_config(users=[{"id": uid, "jobs": 2}])
        self.assertStatus(self.d.post("/zerollama/reload", ""), 200)
        large = [self.send({"input": self.LARGE}) for _ in range(2)]
        wait_until(lambda: self.running() == 2, "both to run")
        answer = self.d.post("/v1/embeddings", {"model": "embedder", "input": "ba"})
        self.assertEqual(answer.status, 429)
        self.assertIn("Retry-After", answer.headers)
        for s in large:
            s.close()
        self.d.change_config(users=[], limits={"memory_per_user": "2MiB"})
        self.assertStatus(self.d.post("/zerollama/reload", ""), 200)
        self.d.wait_idle()
        answer = self.d.post("/v1/embeddings", {"model": "embedder", "input": ["ba"] * 5000})
        self.assertEqual(answer.status, 413, answer.text[:300])  # whatever else the user has running
        self.assertIn("memory_per_user", answer.error)
        self.assertNotIn("Retry-After", answer.headers)
        waiting = self.send({"input": ["ba"] * 1800})
        recv_some = waiting.recv(1)  # 1.4 MB of numbers, until all of their text is taken
        self.assertEqual(recv_some, b"H")
        answer = self.d.post("/v1/embeddings", {"model": "embedder", "input": ["ba"] * 1800})
        self.assertEqual(answer.status, 429, answer.text[:300])
        self.assertIn("Retry-After", answer.headers)
        waiting.close()
        wait_until(lambda: self.d.status()["users"][0]["memory"] == 0, "all memory to be given back")
        self.embed("ba")
        self.d.change_config(limits={})
        self.assertStatus(self.d.post("/zerollama/reload", ""), 200)


if __name__ == "__main__":
    main()
