#!/usr/bin/env python3
"""Tokens: what llama-server's and vLLM's clients ask."""

import json
import os
import signal
import sys
import time

sys.dont_write_bytecode = True
from harness import CHAT, PROMPT, SLOW, STORIES, Case, data, frozen, main, wait_until  # noqa: E402

MESSAGES = [{"role": "user", "content": PROMPT}]
LONG = "Lily and Tom ran to the park. " * 40000


class TokensTest(Case):
    CONFIG = {"limits": {"memory_per_user": "64MiB"}}

    def tokenize(self, model=STORIES, **fields):
        return self.assertStatus(self.d.post("/tokenize", {"model": model, **fields}), 200).json()

    def detokenize(self, tokens, model=STORIES):
        got = self.assertStatus(self.d.post("/detokenize", {"model": model, "tokens": tokens}), 200).json()
        self.assertEqual(sorted(got), ["content", "prompt"])
        self.assertEqual(got["content"], got["prompt"])
        return got["content"]

    def test_recorded(self):
        """As ids that were computed elsewhere: with BOS, and for llama-server's clients without."""
        with open(data("models", STORIES + ".expected.json"), encoding="utf-8") as f:
            cases = json.load(f)
        self.assertGreater(len(cases), 1)
        for case in cases:
            got = self.tokenize(prompt=case["prompt"])
            self.assertEqual(got, {"tokens": case["prompt_ids"], "count": len(case["prompt_ids"]), "max_model_len": 512})
            without = self.tokenize(content=case["prompt"])
            self.assertEqual(without["tokens"], case["prompt_ids"][1:])
            self.assertEqual(self.tokenize(content=case["prompt"], add_special=True), got)
            self.assertEqual(self.tokenize(prompt=case["prompt"], add_special_tokens=False), without)
            self.assertEqual(self.detokenize(without["tokens"]), case["prompt"])
            self.assertEqual(self.detokenize(got["tokens"]), "<s>" + case["prompt"])
            used = self.assertStatus(
                self.d.post("/v1/completions", {"model": STORIES, "prompt": case["prompt"], "max_tokens": 1}), 200
            ).json()["usage"]
            self.assertEqual(used["prompt_tokens"], got["count"])

    def test_pieces(self):
        for model, text in ((STORIES, "Lily said: 日本 é!"), ("null", "日本 é\0!")):
            got = self.tokenize(model, content=text, with_pieces=True)
            whole = b"".join(
                t["piece"].encode() if isinstance(t["piece"], str) else bytes(t["piece"]) for t in got["tokens"]
            )
            self.assertEqual(whole.decode().removeprefix(" "), text)
            self.assertTrue(any(isinstance(t["piece"], list) for t in got["tokens"]), "part of a character is bytes")
            plain = self.tokenize(model, content=text)
            self.assertEqual([t["id"] for t in got["tokens"]], plain["tokens"])
            self.assertEqual(self.detokenize(plain["tokens"], model), text)
        self.assertEqual(self.tokenize(content="<s>")["tokens"], [1])
        self.assertGreater(self.tokenize(content="<s>", parse_special=False)["count"], 1)

    def test_messages(self):
        got = self.tokenize(CHAT, messages=MESSAGES)
        used = self.d.post("/v1/chat/completions", {"model": CHAT, "messages": MESSAGES, "max_tokens": 1}).json()["usage"]
        self.assertEqual(got["count"], used["prompt_tokens"])
        self.assertEqual(got["tokens"], self.tokenize(prompt=PROMPT + " ")["tokens"])
        self.assertEqual(self.tokenize(content="")["tokens"], [])
        self.assertEqual(self.detokenize([]), "")

    def test_refused(self):
        for path, body, param in (
            ("/tokenize", {}, "content"),
            ("/tokenize", {"content": "a", "prompt": "b"}, "prompt"),
            ("/tokenize", {"content": "a", "messages": MESSAGES}, "content"),
            ("/tokenize", {"content": ["a"]}, "content"),
            ("/tokenize", {"prompt": "a", "with_pieces": 1}, "with_pieces"),
            ("/tokenize", {"prompt": "a", "return_token_strs": True}, "return_token_strs"),
            ("/tokenize", {"prompt": "a", "priority": "high"}, "priority"),
            ("/tokenize", {"messages": []}, "messages"),
            ("/tokenize", {"messages": MESSAGES, "add_generation_prompt": False}, "add_generation_prompt"),
            ("/detokenize", {}, "tokens"),
            ("/detokenize", {"tokens": "abc"}, "tokens"),
            ("/detokenize", {"tokens": [[1], [2]]}, "tokens"),
            ("/detokenize", {"tokens": [1, -1]}, "tokens"),
        ):
            a = self.assertStatus(self.d.post(path, {"model": STORIES, **body}), 400)
            self.assertEqual(a.param, param, (path, body))
        a = self.assertStatus(self.d.post("/detokenize", {"model": STORIES, "tokens": [1, 512]}), 400)
        self.assertIn("512", a.error)
        self.assertIn("no chat template", self.assertStatus(
            self.d.post("/tokenize", {"model": STORIES, "messages": MESSAGES}), 400).error)
        self.assertStatus(self.d.post("/tokenize", {"model": "nothing", "content": "a"}), 404)

    def test_no_work_of_the_model(self):
        def work():
            return {k: v for k, v in self.d.metrics().items() if STORIES in k and "requests_total" not in k}

        self.tokenize(content=LONG[:30000])
        before = work()
        self.detokenize(self.tokenize(content=LONG[:30000])["tokens"])
        self.assertEqual(work(), before)

    def test_long(self):
        """Longer than any context, a client that reads late, engines that die meanwhile: the same tokens."""
        whole = self.tokenize(content=LONG)
        self.assertEqual(whole["count"], len(whole["tokens"]))
        self.assertEqual(self.detokenize(whole["tokens"][:100000]), LONG[: len(self.detokenize(whole["tokens"][:100000]))])
        c = self.d.connect()
        c.request("POST", "/tokenize", json.dumps({"model": STORIES, "content": LONG}))
        r = c.getresponse()
        self.assertEqual(r.status, 200)
        for _ in range(2):
            wait_until(lambda: self.d.status()["jobs"]["running"] == 1, "the job")
            time.sleep(0.3 * SLOW)  # the client does not read: so the job is paused, amid its tokens
            self.assertEqual(self.d.status()["jobs"]["running"], 1)
            old = self.d.engine_pid()
            os.kill(old, signal.SIGKILL)
            wait_until(lambda: self.d.engine_pid() not in (0, old), "another engine")
        self.assertEqual(json.load(r), whole)
        c.close()
        self.d.wait_idle()

    def test_gone(self):
        c = self.d.connect()
        c.request("POST", "/tokenize", json.dumps({"model": STORIES, "content": LONG}))
        self.assertEqual(c.getresponse().status, 200)
        before = self.d.outcomes()["cancelled"]
        c.sock.close()
        c.close()
        wait_until(lambda: self.d.outcomes()["cancelled"] == before + 1, "the job to be cancelled")
        self.d.wait_idle()

    def test_limits(self):
        d = self.start({"limits": {"restarts": 0}, "user_defaults": {"jobs": 2}})
        d.post("/tokenize", {"model": STORIES, "content": "a"})
        with frozen(d.engine_pid()):
            waiting = []
            for _ in range(3):
                c = d.connect()
                c.request("POST", "/tokenize", json.dumps({"model": STORIES, "content": PROMPT}))
                waiting.append(c)
            refused = waiting[2].getresponse()
            self.assertEqual(refused.status, 429)
            self.assertTrue(refused.getheader("Retry-After"))
        for c in waiting[:2]:
            self.assertEqual(json.load(c.getresponse())["count"], 4)
        for c in waiting:
            c.close()


if __name__ == "__main__":
    main(needs_data=True)
