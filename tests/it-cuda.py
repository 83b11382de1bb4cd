#!/usr/bin/env python3
"""The engine for GPUs in the real daemon, on a GPU that is not there: the program's own code with the fake CUDA runtime
and emulated kernels (tests/fake-gpu.c), whose memory is short and whose kernels go wrong when the test wants it."""

import argparse
import base64
import json
import os
import struct
import sys
import tempfile

sys.dont_write_bytecode = True
from harness import BUILD, SANITIZED, SKIP, SLOW, SRC, Case, figure, in_parallel, main, wait_until  # noqa: E402

sys.path.insert(0, os.path.join(SRC, "bench"))
import bert  # noqa: E402
import random_model  # noqa: E402

MODEL, TOKENS = "tiny", 6
STALL = 4 * SLOW


class CudaTest(Case):
    def start_gpu(self, env=None, models=(), **pool):
        """A daemon with a pool on the GPU and one on the CPU, both with the same models."""
        libexec = self.folder()
        os.symlink(os.path.join(BUILD, "zerollama-engine"), os.path.join(libexec, "zerollama-engine"))
        os.symlink(os.path.join(BUILD, "tests", "engine-fake-gpu"), os.path.join(libexec, "zerollama-engine-cuda"))
        self.trouble = os.path.join(libexec, "trouble")
        pools = [{"name": "gpu", "device": "cuda:0", **pool}, {"name": "cpu", "device": "cpu"}]
        named = [{"name": f"{m}-{p['name']}", "path": m, "pool": p["name"], "slots": 2}
                 for m in (MODEL, "embedder") for p in pools]
        d = self.start({"pools": pools, "models": [*named, *models], "limits": {"stall_timeout": f"{int(STALL)}s"}}, models=(),
                       env={"ZEROLLAMA_LIBEXEC": libexec, "FAKE_GPU_TROUBLE": self.trouble, **(env or {})})
        self.write_model(d, MODEL)
        bert.write(os.path.join(d.models, "embedder"), layers=1)
        return d

    def folder(self):
        t = tempfile.TemporaryDirectory(prefix="zl-")
        self.addCleanup(t.cleanup)
        return t.name

    def write_model(self, d, name, heads=2, width=32):
        shape = argparse.Namespace(context=64, layers=1, width=width, hidden=32, heads=heads, kv_heads=1)
        random_model.write(os.path.join(d.models, name), shape)

    def make_trouble(self, what):
        with open(self.trouble + ".new", "w", encoding="ascii") as f:
            f.write(what)
        os.rename(self.trouble + ".new", self.trouble)

    def complete(self, d, where, prompt="Tell me", **fields):
        return d.complete(prompt, model=f"{MODEL}-{where}", max_tokens=TOKENS, ignore_eos=True, **fields)

    def embed(self, d, where):
        body = {"model": f"embedder-{where}", "input": ["ba", "ba da. gan?", "lu"], "encoding_format": "base64"}
        vectors = self.assertStatus(d.post("/v1/embeddings", body), 200).json()["data"]
        return [struct.unpack("<32f", base64.b64decode(v["embedding"])) for v in vectors]

    def gpu(self, d):
        return next(p for p in d.status()["pools"] if p["name"] == "gpu")

    def test_results(self):
        d = self.start_gpu()
        prompts = ["Tell me", "Why is it so", "A"]
        alone = [self.complete(d, "gpu", p) for p in prompts]
        self.assertEqual(alone, [self.complete(d, "cpu", p) for p in prompts])
        self.assertEqual(in_parallel([lambda p=p: self.complete(d, "gpu", p) for p in prompts]), alone)
        drawn = {"temperature": 1, "seed": 5, "top_p": 0.9, "top_k": 50, "repeat_penalty": 1.2}
        self.assertEqual(self.complete(d, "gpu", **drawn), self.complete(d, "cpu", **drawn))
        # What repeats itself is guessed, several rows of one sequence at a time.
        again, guesses = "Tell me, tell me, tell me", 'zerollama_spec_decode_num_draft_tokens_total{model="tiny-gpu"}'
        for fields in ({}, {"repeat_penalty": 1.2}):
            self.assertEqual(self.complete(d, "gpu", again, **fields), self.complete(d, "cpu", again, **fields))
        wait_until(lambda: d.metrics()[guesses] > 0, "guesses")
        ours, right = self.embed(d, "gpu"), self.embed(d, "cpu")
        worst = max(abs(a - b) for v, w in zip(ours, right) for a, b in zip(v, w))
        figure(f"vectors: greatest difference from the CPU {worst:.2g}")
        self.assertLess(worst, 2e-6)
        self.assertIn("cuda:0 Fake", self.gpu(d)["device"])
        shown = {m["name"].split(":")[0]: m for m in d.get("/api/ps").json()["models"]}
        self.assertGreater(shown[f"{MODEL}-gpu"]["size_vram"], 0)
        self.assertEqual(shown[f"{MODEL}-cpu"]["size_vram"], 0)

    def broken(self, d, trouble, reason):
        """The job at hand goes on in another engine, with the text that it would have had."""
        right = self.complete(d, "gpu")
        before = self.gpu(d)["pid"]

        def break_it():
            wait_until(lambda: d.status()["jobs"]["running"], "a job to run")
            self.make_trouble(trouble)

        text, _ = in_parallel([lambda: self.complete(d, "gpu", stream=True), break_it])
        if os.path.exists(self.trouble):  # the job was quicker
            os.unlink(self.trouble)
            self.skipTest("the job had ended before the trouble began")
        self.assertEqual(text, right)
        self.assertNotEqual(self.gpu(d)["pid"], before)
        self.assertEqual(d.metrics()['zerollama_engine_deaths_total{pool="gpu"}'], 1)
        self.assertIn(reason, json.dumps(self.gpu(d)) + d.log())

    def test_bad_kernel(self):
        self.broken(self.start_gpu(), "bad kernel", "device")

    def test_hang(self):
        self.broken(self.start_gpu(), "hang", "makes no progress")

    def test_out_of_memory(self):
        """What does not fit is refused, and says what it needs; what fits is served as before."""
        d = self.start_gpu(env={"FAKE_GPU_MIB": "160"}, models=[{"name": "large", "path": "large", "pool": "gpu"}])
        self.write_model(d, "large", width=4096)
        answer = d.post("/v1/completions", {"model": "large", "prompt": "x"})
        self.assertStatus(answer, 500)
        self.assertIn("for its weights", answer.error)
        self.assertTrue(self.complete(d, "gpu"))
        self.assertEqual(d.metrics()['zerollama_engine_deaths_total{pool="gpu"}'], 0)

    def test_too_wide(self):
        """A model that the GPU's kernels are not made for is refused in words, and its pool goes on."""
        d = self.start_gpu(models=[{"name": "wide", "path": "wide", "pool": "gpu"}])
        self.write_model(d, "wide", heads=1, width=258)
        answer = d.post("/v1/completions", {"model": "wide", "prompt": "x"})
        self.assertStatus(answer, 500)
        self.assertIn("it has 258 values in an attention head, and cuda:0 Fake computes with at most 256", answer.error)
        self.assertTrue(self.complete(d, "gpu"))
        self.assertEqual(d.metrics()['zerollama_engine_deaths_total{pool="gpu"}'], 0)

    def test_no_gpu(self):
        """Without one the CPU stands in and says why, unless it must not."""
        d = self.start_gpu(env={"FAKE_GPUS": "0"}, device="auto")
        self.assertTrue(self.complete(d, "gpu"))
        self.assertIn("CPU", self.gpu(d)["device"])
        self.assertIn("computing on the CPU: no GPU can be used", json.dumps(self.gpu(d)))
        self.assertStatus(d.get("/ready"), 200)

    def test_no_gpu_but_required(self):
        d = self.start_gpu(env={"FAKE_GPUS": "0"}, device="auto", require=True)
        answer = self.assertStatus(d.post("/v1/completions", {"model": f"{MODEL}-gpu", "prompt": "x"}), 503)
        self.assertIn("no GPU can be used", answer.error)
        self.assertIn("no GPU can be used", self.assertStatus(d.get("/ready"), 503).json()["reason"])


if __name__ == "__main__":
    if SANITIZED:
        print("SKIP: the sanitizers have the device's own tests; emulated kernels would take minutes here")
        sys.exit(SKIP)
    main()
