#!/usr/bin/env python3
"""Every route of both dialects: shapes, counts, fields and their bounds, errors, keep_alive, keys on TCP, metrics."""

import datetime
import http.client
import json
import os
import re
import socket
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True
from harness import (  # noqa: E402
    BABY, CHAT, FILL, FILL_MIDDLE, FILL_PREFIX, FILL_SUFFIX, PATIENCE, PROMPT, STORIES, Answer, Case, chunk_text, data, figure, frozen,
    have_data, in_parallel, main, wait_until,
)

GREEDY = {"temperature": 0}
MESSAGES = [{"role": "user", "content": PROMPT}]
CONFIG = {
    "models": [
        {"name": "org/alias-test", "aliases": ["gpt-4o"], "path": STORIES + ".gguf"},
        {"name": "short", "path": STORIES + ".gguf", "context": 64},
        {"name": "lazy", "path": BABY + ".gguf", "keep_alive": "1s"},
    ]
}


def same_shape(expected, got, path="$"):
    """What of `expected`'s keys is missing in `got`, or of another type; lists by their first elements."""
    if isinstance(expected, dict):
        if not isinstance(got, dict):
            return [f"{path} is {type(got).__name__}"]
        return [
            e
            for k, v in expected.items()
            for e in ([f"{path}.{k} is missing"] if k not in got else same_shape(v, got[k], f"{path}.{k}"))
        ]
    if isinstance(expected, list):
        if not isinstance(got, list):
            return [f"{path} is {type(got).__name__}"]
        return same_shape(expected[0], got[0], path + "[0]") if expected and got else []
    number = isinstance(expected, (int, float)) and isinstance(got, (int, float)) and not isinstance(got, bool)
    return [] if number or expected is None or isinstance(got, type(expected)) else [f"{path} is {type(got).__name__}"]


class ApiCase(Case):
    CONFIG = CONFIG

    def completions(self, **fields):
        return self.assertStatus(
            self.d.post("/v1/completions", {"model": STORIES, "prompt": PROMPT, **GREEDY, **fields}), 200
        ).json()

    def chat(self, **fields):
        return self.assertStatus(
            self.d.post("/v1/chat/completions", {"model": CHAT, "messages": MESSAGES, **GREEDY, **fields}), 200
        ).json()

    def generate(self, **fields):
        body = {
            "model": STORIES,
            "prompt": PROMPT,
            "raw": True,
            "stream": False,
            "options": {"num_predict": 12, **GREEDY},
            **fields,
        }
        return self.assertStatus(self.d.post("/api/generate", body), 200).json()

    def chunks(self, path, **body):
        stream = self.d.stream(path, {"model": CHAT if "chat" in path else STORIES, **body})
        chunks = list(stream)
        self.assertTrue(stream.done)
        stream.close()
        return stream, chunks


class OpenaiTest(ApiCase):
    def test_models(self):
        a = self.assertStatus(self.d.get("/v1/models"), 200)
        self.assertEqual(a.headers["Content-Type"], "application/json")
        listed = a.json()
        self.assertEqual(listed["object"], "list")
        ids = [m["id"] for m in listed["data"]]
        self.assertEqual(ids, sorted(ids))
        self.assertLessEqual({STORIES, BABY, CHAT, "org/alias-test", "short", "lazy"}, set(ids))
        if have_data("api", "wire_fixtures"):
            with open(data("api", "wire_fixtures", "models_list.json"), encoding="utf-8") as f:
                self.assertEqual(same_shape(json.load(f), listed), [])
        for name in (STORIES, STORIES + ":latest", "org/alias-test", "org%2Falias-test", "gpt-4o"):
            self.assertEqual(self.assertStatus(self.d.get(f"/v1/models/{name}"), 200).json()["object"], "model")
        a = self.assertStatus(self.d.get("/v1/models/nothing"), 404)
        self.assertEqual(a.json()["error"]["code"], "model_not_found")

    def test_completion(self):
        got = self.completions(max_tokens=9)
        self.assertEqual(got["usage"]["prompt_tokens"], 5)
        self.assertEqual(got["usage"]["completion_tokens"], 9)
        self.assertEqual(got["usage"]["total_tokens"], 14)
        self.assertEqual(got["object"], "text_completion")
        self.assertEqual(got["model"], STORIES)
        self.assertEqual(got["choices"][0]["finish_reason"], "length")
        self.assertLess(abs(got["created"] - time.time()), PATIENCE)
        self.assertEqual(self.completions()["usage"]["completion_tokens"], 16, "OpenAI's default")
        stream, chunks = self.chunks(
            "/v1/completions", prompt=PROMPT, max_tokens=9, stream_options={"include_usage": True}, **GREEDY
        )
        self.assertEqual(stream.type, "text/event-stream")
        self.assertEqual("".join(map(chunk_text, chunks)), got["choices"][0]["text"])
        self.assertEqual(
            chunks[-1]["usage"], {**got["usage"], "prompt_tokens_details": chunks[-1]["usage"]["prompt_tokens_details"]}
        )
        self.assertEqual(chunks[-1]["choices"], [])
        self.assertTrue(all(c["usage"] is None for c in chunks[:-1]))
        self.assertEqual(
            [c["choices"][0]["finish_reason"] for c in chunks[:-1] if c["choices"][0]["finish_reason"]], ["length"]
        )
        self.assertEqual(len({c["id"] for c in chunks}), 1)
        _, chunks = self.chunks("/v1/completions", prompt=PROMPT, max_tokens=3, **GREEDY)
        self.assertTrue(all("usage" not in c for c in chunks))

    def test_chat(self):
        got = self.chat(max_tokens=9)
        message = got["choices"][0]["message"]
        self.assertEqual((got["object"], message["role"]), ("chat.completion", "assistant"))
        self.assertTrue(message["content"])
        _, chunks = self.chunks(
            "/v1/chat/completions", messages=MESSAGES, max_tokens=9, stream_options={"include_usage": True}, **GREEDY
        )
        self.assertEqual(chunks[0]["choices"][0]["delta"]["role"], "assistant")
        self.assertEqual("".join(map(chunk_text, chunks)), message["content"])
        self.assertEqual(chunks[-1]["usage"]["completion_tokens"], 9)
        self.assertEqual(chunks[-2]["choices"][0]["finish_reason"], "length")
        # The template of this copy writes each message and a space: the same as a completion of that text.
        self.assertEqual(
            message["content"], self.completions(model=STORIES, prompt=PROMPT + " ", max_tokens=9)["choices"][0]["text"]
        )
        parts = [
            {"role": "user", "content": [{"type": "text", "text": "Once upon "}, {"type": "text", "text": "a time"}]}
        ]
        self.assertEqual(self.chat(messages=parts, max_tokens=9)["choices"][0]["message"], message)
        self.assertEqual(self.chat(max_completion_tokens=4)["usage"]["completion_tokens"], 4)
        a = self.assertStatus(self.d.post("/v1/chat/completions", {"model": BABY, "messages": MESSAGES}), 400)
        self.assertIn("template", a.error)

    def test_wire_fixtures(self):
        """Every key that public fixtures of this API show is there, with its type."""

        def fixture(name):
            with open(data("api", "wire_fixtures", name), encoding="utf-8") as f:
                return json.load(f)

        if not have_data("api", "wire_fixtures"):
            self.skipTest("no fixtures")
        _, chunks = self.chunks(
            "/v1/chat/completions", messages=MESSAGES, max_tokens=5, stream_options={"include_usage": True}, **GREEDY
        )
        logprobs = self.chat(max_tokens=5, logprobs=True, top_logprobs=2)
        pairs = (
            ("completion_resp.json", self.completions(max_tokens=5)),
            ("chat_resp_logprobs.json", logprobs),
            ("chat_chunk_stream.json", chunks[0]),
            ("chat_chunk_final_usage.json", chunks[-1]),
            (
                "error_envelope.json",
                self.d.post("/v1/chat/completions", {"model": "no-such-model", "messages": MESSAGES}).json(),
            ),
        )
        for name, got in pairs:
            with self.subTest(name):
                self.assertEqual(same_shape(fixture(name), got), [])
        for name in ("chat_req_string.json", "completion_req.json"):
            body = {**fixture(name), "model": CHAT, "max_tokens": 4}
            path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
            self.assertStatus(self.d.post(path, body), 200)
        for name, word in (("chat_req_parts_tools.json", "image_url"), ("chat_req_toolchoice_string.json", "does not support tools")):
            a = self.assertStatus(self.d.post("/v1/chat/completions", {**fixture(name), "model": CHAT}), 400)
            self.assertIn(word, a.error)

    def test_logprobs(self):
        plain = self.completions(max_tokens=8)
        got = self.completions(max_tokens=8, logprobs=3)["choices"][0]
        self.assertEqual(got["text"], plain["choices"][0]["text"])
        lp = got["logprobs"]
        self.assertEqual("".join(lp["tokens"]), got["text"])
        self.assertEqual([len(lp[k]) for k in ("tokens", "token_logprobs", "top_logprobs", "text_offset")], [8] * 4)
        for token, logprob, top, offset in zip(
            lp["tokens"], lp["token_logprobs"], lp["top_logprobs"], lp["text_offset"]
        ):
            self.assertEqual(len(top), 3)
            self.assertLessEqual(logprob, 0)
            self.assertEqual(max(top.values()), logprob, "greedy takes the best")
            self.assertEqual(got["text"][offset : offset + len(token)], token)
        self.assertEqual(self.completions(max_tokens=3, logprobs=0)["choices"][0]["logprobs"]["top_logprobs"], [{}] * 3)
        content = self.chat(max_tokens=8, logprobs=True, top_logprobs=2)["choices"][0]["logprobs"]["content"]
        self.assertEqual(len(content), 8)
        for t in content:
            self.assertEqual(bytes(t["bytes"]).decode(), t["token"])
            self.assertEqual(t["top_logprobs"][0]["token"], t["token"])
            self.assertEqual(len(t["top_logprobs"]), 2)
        _, chunks = self.chunks("/v1/completions", prompt=PROMPT, max_tokens=8, logprobs=3, **GREEDY)
        streamed = [c["choices"][0]["logprobs"] for c in chunks if c["choices"][0]["logprobs"]]
        for key in lp:
            self.assertEqual(sum((s[key] for s in streamed), []), lp[key], key)

    def test_n(self):
        got = self.completions(n=4, temperature=1, seed=5, max_tokens=12)
        texts = [c["text"] for c in got["choices"]]
        self.assertEqual([c["index"] for c in got["choices"]], [0, 1, 2, 3])
        self.assertEqual(len(set(texts)), 4)
        self.assertEqual(got["usage"]["completion_tokens"], 48)
        self.assertEqual(
            [c["text"] for c in self.completions(n=4, temperature=1, seed=5, max_tokens=12)["choices"]], texts
        )
        _, chunks = self.chunks("/v1/completions", prompt=PROMPT, n=4, temperature=1, seed=5, max_tokens=12)
        for i in range(4):
            self.assertEqual(
                "".join(c["choices"][0]["text"] for c in chunks if c["choices"][0]["index"] == i), texts[i]
            )
        self.assertEqual(len({c["text"] for c in self.completions(n=3)["choices"]}), 1, "greedy choices are alike")

    def test_prompts(self):
        one = [self.completions(prompt=p, max_tokens=8)["choices"][0]["text"] for p in (PROMPT, "The dog")]
        got = self.completions(prompt=[PROMPT, "The dog"], max_tokens=8)
        self.assertEqual([c["text"] for c in got["choices"]], one)
        got = self.completions(prompt=[PROMPT, "The dog"], max_tokens=8, n=2)
        self.assertEqual([c["text"] for c in got["choices"]], [one[0], one[0], one[1], one[1]])
        ids = [1, 403, 407, 261, 378]
        self.assertEqual(self.completions(prompt=ids, max_tokens=8)["choices"][0]["text"], one[0])
        self.assertEqual(
            [c["text"] for c in self.completions(prompt=[ids, ids[:3]], max_tokens=8)["choices"]][0], one[0]
        )
        echo = self.completions(prompt=[PROMPT, "The dog"], max_tokens=8, echo=True)
        self.assertEqual([c["text"] for c in echo["choices"]], [PROMPT + one[0], "The dog" + one[1]])
        _, chunks = self.chunks("/v1/completions", prompt=PROMPT, max_tokens=8, echo=True, **GREEDY)
        self.assertEqual("".join(map(chunk_text, chunks)), PROMPT + one[0])

    def test_stop(self):
        whole = self.completions(max_tokens=60)["choices"][0]["text"]
        for stop in ("Lily", ["girl", "Lily"], ["e g"], ["She", "nothing of this"], [". She loved"], "\n"):
            strings = [stop] if isinstance(stop, str) else stop
            ends = [whole.index(s) for s in strings if s in whole]
            expected = whole[: min(ends)] if ends else whole
            with self.subTest(stop=stop):
                got = self.completions(max_tokens=60, stop=stop)["choices"][0]
                self.assertEqual((got["text"], got["finish_reason"]), (expected, "stop" if ends else "length"))
                _, chunks = self.chunks("/v1/completions", prompt=PROMPT, max_tokens=60, stop=stop, **GREEDY)
                self.assertEqual("".join(map(chunk_text, chunks)), expected)

    def test_seeds(self):
        def text(seed):
            return self.completions(temperature=1, seed=seed, max_tokens=24)["choices"][0]["text"]

        texts = [text(s) for s in (0, 1, 2, 3, -1, -7, 2**62)]
        self.assertEqual([text(s) for s in (0, 1, 2, 3)], texts[:4])
        self.assertEqual(len(set(texts)), len(texts))
        unseeded = {self.completions(temperature=1, max_tokens=24)["choices"][0]["text"] for _ in range(4)}
        self.assertEqual(len(unseeded), 4)
        together = in_parallel([lambda s=s: text(s) for s in (0, 1, 2, 3)])
        self.assertEqual(together, texts[:4], "a seed's text does not depend on what runs beside it")

    def test_sampling_fields(self):
        greedy = self.completions(max_tokens=20)["choices"][0]["text"]
        self.assertEqual(self.completions(max_tokens=20, temperature=1.5, top_k=1)["choices"][0]["text"], greedy)
        self.assertEqual(self.completions(max_tokens=20, temperature=1.5, top_p=0)["choices"][0]["text"], greedy)
        self.assertEqual(self.completions(max_tokens=20, temperature=1.5, min_p=1)["choices"][0]["text"], greedy)
        first = {432: ","}
        self.assertTrue(greedy.startswith(first[432]))
        self.assertFalse(self.completions(logit_bias={"432": -100})["choices"][0]["text"].startswith(","))
        self.assertEqual(self.completions(logit_bias={"432": 100}, max_tokens=5)["choices"][0]["text"], ",,,,,")
        self.assertNotEqual(self.completions(max_tokens=60, frequency_penalty=2)["choices"][0]["text"][:60], greedy)
        self.assertNotEqual(self.completions(max_tokens=120, presence_penalty=2), self.completions(max_tokens=120))
        self.assertNotEqual(self.completions(max_tokens=120, repeat_penalty=1.5), self.completions(max_tokens=120))

    def test_context_limit(self):
        """512 tokens: too long a prompt is refused with the numbers, never cut; an answer ends with the context."""
        for fields in ({}, {"stream": True}):
            a = self.assertStatus(
                self.d.post("/v1/completions", {"model": STORIES, "prompt": "a cat " * 600, **fields}), 400
            )
            self.assertEqual(a.json()["error"]["code"], "context_length_exceeded")
            self.assertIn("512", a.error)
        a = self.assertStatus(
            self.d.post("/api/generate", {"model": STORIES, "prompt": "a cat " * 600, "raw": True}), 400
        )
        self.assertIn("512", a.error)
        self.assertIsInstance(a.json()["error"], str)
        got = self.completions(max_tokens=10000, ignore_eos=True)
        self.assertEqual((got["usage"]["total_tokens"], got["choices"][0]["finish_reason"]), (512, "length"))
        got = self.completions(model="short", max_tokens=10000, ignore_eos=True)
        self.assertEqual(got["usage"]["total_tokens"], 64)
        ids = [1] + [432] * 510
        self.assertEqual(self.completions(prompt=ids, max_tokens=5)["usage"]["completion_tokens"], 1)
        self.assertStatus(self.d.post("/v1/completions", {"model": STORIES, "prompt": ids + [432] * 2}), 400)
        got = self.generate(prompt="a cat " * 600, truncate=True)
        self.assertLess(got["prompt_eval_count"], 512)
        self.assertGreater(got["prompt_eval_count"], 256)

    def test_ends_of_text(self):
        a = self.assertStatus(self.d.post("/v1/completions", {"model": STORIES, "prompt": [432, 511, 512]}), 400)
        self.assertIn("512", a.error)
        self.assertStatus(self.d.post("/v1/completions", {"model": STORIES, "prompt": [1, 2**31]}), 400)
        self.assertStatus(self.d.post("/v1/completions", {"model": STORIES, "prompt": [], "max_tokens": 3}), 200)
        self.assertStatus(self.d.post("/v1/completions", {"model": STORIES, "prompt": "", "max_tokens": 3}), 200)
        got = self.completions(logit_bias={"2": 100})
        self.assertEqual((got["choices"][0]["text"], got["choices"][0]["finish_reason"]), ("", "stop"))
        self.assertEqual(
            self.completions(logit_bias={"2": 100}, ignore_eos=True, max_tokens=4)["usage"]["completion_tokens"], 4
        )

    # field, values that are refused; the last column is what is fine
    BOUNDS = (
        ("temperature", (-0.1, 101, "1", [], True), (0, 2, 0.5)),
        ("top_p", (-0.1, 1.1, "x"), (0, 1)),
        ("min_p", (-1, 2), (0, 1)),
        ("top_k", (-1, 1.5, "3", 2**31), (0, 40, 40.0)),
        ("presence_penalty", (-2.1, 2.1, {}), (-2, 2)),
        ("frequency_penalty", (-2.1, 2.1), (-2, 2)),
        ("repeat_penalty", (0, 101), (1.1,)),
        ("repetition_penalty", (0,), (1.1,)),
        ("max_tokens", (0, -1, 2**31, "7", 1.5), (1, None)),
        ("max_completion_tokens", (0, -5), (3,)),
        ("seed", ("7", 1.5, 1e30), (0, -1, 7, None)),
        ("stop", (7, [7], {}, ["a"] * 17, [None]), ("", "a", ["a"] * 16, None)),
        ("n", (0, 33, "1", 1.5), (1, 2)),
        ("stream", ("yes", 1, []), (False, None)),
        ("logit_bias", ([], "x", {"a": 1}, {"-1": 1}, {"1": "x"}, {"1": 101}, {"99999999999": 1}), ({}, {"1": -100})),
        ("stream_options", (), ({"include_usage": True}, None)),
        ("user", (), ("somebody",)),
        ("priority", ("high", 1), ("batch", "interactive")),
        ("ignore_eos", (1, "true"), (True, False)),
        ("grammar", (7, {}), (None, "", 'root ::= "a"')),
    )
    OF_COMPLETIONS = (
        ("prompt", (7, {}, None, [1, "a"], [-1], [None], [[1], "a", 7], ["a"] * 257), ("", [], [5], [[5], [6]])),
        ("logprobs", (-1, 21, True, "1"), (0, 20)),
        ("best_of", (2, 0), (1,)),
        ("echo", (1, "x"), (True,)),
        ("suffix", (7, ["x"]), ("", None)),
    )
    OF_CHAT = (
        (
            "messages",
            (
                None,
                [],
                {},
                "hi",
                [7],
                [{}],
                [{"role": "user", "content": 7}],
                [{"role": "pope", "content": "x"}],
                [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
                [{"content": "x"}],
            ),
            (),
        ),
        ("logprobs", (1, "true"), (True, False)),
        ("tools", ([{"type": "function"}],), ([], None)),
        (
            "response_format",
            ({"type": "xml"}, {"type": "json_schema", "json_schema": {}}, {"type": "json_schema", "json_schema": {"schema": 7}}, {"type": 1}, "text", {}),
            ({"type": "text"}, {"type": "json_object"}, {"type": "json_schema", "json_schema": {"schema": {}}}, None),
        ),
        ("functions", ([{"name": "f"}],), ([],)),
        ("chat_template_kwargs", (7, "x"), ({"enable_thinking": False},)),
        ("modalities", (["audio"],), (None,)),
        ("audio", ({"voice": "x"},), (None,)),
    )

    def check_bounds(self, path, base, rows):
        n = 0
        for field, wrong, right in rows:
            for value in wrong:
                with self.subTest(path=path, field=field, value=str(value)[:60]):
                    a = self.assertStatus(self.d.post(path, {**base, field: value}), 400)
                    self.assertIn(field, a.param)
                    self.assertIn(field, a.error)
                    self.assertEqual(a.json()["error"]["type"], "invalid_request_error")
                    n += 1
            for value in right:
                with self.subTest(path=path, field=field, value=value):
                    self.assertStatus(self.d.post(path, {**base, field: value}), 200)
                    n += 1
        figure(f"{path}: {n} values of {len(rows)} fields")

    def test_bounds(self):
        self.check_bounds(
            "/v1/completions", {"model": STORIES, "prompt": "x", "max_tokens": 1}, self.BOUNDS + self.OF_COMPLETIONS
        )
        self.check_bounds(
            "/v1/chat/completions", {"model": CHAT, "messages": MESSAGES, "max_tokens": 1}, self.BOUNDS + self.OF_CHAT
        )

    def test_more_errors(self):
        for body, param in (
            ({"model": STORIES, "messages": MESSAGES, "top_logprobs": 3}, "top_logprobs"),
            ({"messages": MESSAGES}, "model"),
            ({"model": 7, "messages": MESSAGES}, "model"),
        ):
            self.assertEqual(self.assertStatus(self.d.post("/v1/chat/completions", body), 400).param, param)
        self.assertStatus(self.d.post("/v1/completions", {"model": STORIES, "prompt": [5], "echo": True}), 400)
        self.assertStatus(
            self.d.post(
                "/v1/completions", {"model": STORIES, "prompt": "x", "unknown_field": {"a": [1]}, "max_tokens": 1}
            ),
            200,
        )
        a = self.assertStatus(self.d.post("/v1/completions", {"model": "storys260K-f32", "prompt": "x"}), 404)
        self.assertIn(STORIES, a.error)
        self.assertEqual((a.param, a.json()["error"]["code"]), ("model", "model_not_found"))
        a = self.assertStatus(self.d.post("/v1/completions", {"model": "gpt-4o", "prompt": "x", "max_tokens": 1}), 200)
        self.assertEqual(a.json()["model"], "gpt-4o", "as the client wrote it")


class OllamaTest(ApiCase):
    DURATIONS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")

    def check_done(self, done, n):
        self.assertEqual((done["done"], done["eval_count"], done["done_reason"]), (True, n, "length"))
        for key in self.DURATIONS:
            self.assertIsInstance(done[key], int)
        self.assertGreater(done["total_duration"], 1000)
        datetime.datetime.fromisoformat(done["created_at"])

    def test_generate(self):
        got = self.generate()
        self.check_done(got, 12)
        self.assertEqual(got["prompt_eval_count"], 5)
        self.assertEqual(got["response"], self.d.complete(max_tokens=12))
        stream, chunks = self.chunks("/api/generate", prompt=PROMPT, raw=True, options={"num_predict": 12, **GREEDY})
        self.assertEqual(stream.type, "application/x-ndjson")
        self.assertEqual("".join(c["response"] for c in chunks), got["response"])
        self.assertTrue(all(c["done"] is False for c in chunks[:-1]))
        self.check_done(chunks[-1], 12)
        a = self.d.post(
            "/api/generate", {"model": STORIES, "prompt": PROMPT, "raw": True, "options": {"num_predict": 3}}
        )
        self.assertGreater(a.body.count(b"\n"), 1, "a stream is the default")
        self.assertEqual(self.generate(options={"num_predict": 12, "stop": ["girl"], **GREEDY})["done_reason"], "stop")
        seeded = {"num_predict": 12, "seed": 4}
        self.assertEqual(self.generate(options=seeded)["response"], self.generate(options=seeded)["response"])
        self.assertTrue(
            self.generate(raw=False, model=BABY)["response"], "a model without a template takes the prompt as it is"
        )

    def test_chat(self):
        body = {"model": CHAT, "messages": MESSAGES, "options": {"num_predict": 7, **GREEDY}}
        got = self.assertStatus(self.d.post("/api/chat", {**body, "stream": False}), 200).json()
        self.check_done(got, 7)
        self.assertEqual(got["message"]["role"], "assistant")
        _, chunks = self.chunks("/api/chat", messages=MESSAGES, options={"num_predict": 7, **GREEDY})
        self.assertEqual("".join(c["message"]["content"] for c in chunks), got["message"]["content"])
        openai = self.chat(max_tokens=7)["choices"][0]["message"]["content"]
        self.assertEqual(
            openai,
            self.assertStatus(
                self.d.post(
                    "/api/chat",
                    {**body, "stream": False, "options": {"num_predict": 7, "temperature": 0, "repeat_penalty": 1}},
                ),
                200,
            ).json()["message"]["content"],
        )

    def test_logprobs(self):
        got = self.generate(logprobs=True, top_logprobs=2)
        self.assertEqual("".join(t["token"] for t in got["logprobs"]), got["response"])
        self.assertTrue(all(len(t["top_logprobs"]) == 2 for t in got["logprobs"]))

    def test_lists(self):
        models = self.assertStatus(self.d.get("/api/tags"), 200).json()["models"]
        for m in models:
            self.assertEqual(m["name"], m["model"])
            self.assertIn(":", m["name"])
            self.assertRegex(m["digest"], "^[0-9a-f]{64}$")
            self.assertGreater(m["size"], 0)
            datetime.datetime.fromisoformat(m["modified_at"])
            for key in ("format", "family", "families", "parameter_size", "quantization_level", "parent_model"):
                self.assertIn(key, m["details"])
        self.assertIn(STORIES + ":latest", [m["name"] for m in models])
        self.assertRegex(self.d.get("/api/version").json()["version"], r"^\d+\.\d+\.\d+$")

    def test_show(self):
        for name in (STORIES, BABY, "babyllama105-f16:latest", CHAT, "gpt-4o"):
            with self.subTest(name):
                got = self.assertStatus(self.d.post("/api/show", {"model": name}), 200).json()
                self.assertEqual(got["model_info"]["general.architecture"], "llama")
                self.assertEqual(got["details"]["format"], "gguf")
                self.assertIn("capabilities", got)
                self.assertIn("template", got)
        self.assertIn("messages", self.d.post("/api/show", {"name": CHAT}).json()["template"])
        self.assertStatus(self.d.post("/api/show", {"model": "nothing"}), 404)
        self.assertStatus(self.d.post("/api/show", {}), 400)

    def test_load_and_unload(self):
        def loaded():
            return [m["name"] for m in self.d.get("/api/ps").json()["models"]]

        def ask(path="/api/generate", **body):
            return self.assertStatus(self.d.post(path, {"model": BABY, "stream": False, **body}), 200).json()

        self.assertEqual(ask()["done_reason"], "load")
        self.assertIn(BABY + ":latest", loaded())
        self.assertEqual(ask(prompt="", keep_alive=0)["done_reason"], "unload")
        self.assertNotIn(BABY + ":latest", loaded())
        self.assertEqual(ask(prompt="", keep_alive=0)["done_reason"], "unload", "twice is no error")
        self.assertEqual(ask("/api/chat", messages=[])["done_reason"], "load")
        self.assertEqual(ask("/api/chat", messages=[], keep_alive=0)["done_reason"], "unload")
        ask(prompt="x", raw=True, options={"num_predict": 1}, keep_alive="1h30m")

        def left():
            m = next(m for m in self.d.get("/api/ps").json()["models"] if m["name"].startswith(BABY))
            return (
                datetime.datetime.fromisoformat(m["expires_at"]) - datetime.datetime.now(datetime.timezone.utc)
            ).total_seconds()

        self.assertLess(abs(left() - 5400), PATIENCE)
        ask(prompt="", keep_alive=-1)
        self.assertGreater(left(), 365 * 86400)
        ask(prompt="x", raw=True, options={"num_predict": 1}, keep_alive=0)
        wait_until(lambda: BABY + ":latest" not in loaded(), "keep_alive 0 to unload after the answer")
        for wrong in ("soon", [], "5 parsecs"):
            self.assertStatus(self.d.post("/api/generate", {"model": BABY, "prompt": "", "keep_alive": wrong}), 400)

    def test_keep_alive_of_the_config(self):
        self.d.complete(model="lazy", max_tokens=1)
        wait_until(
            lambda: "lazy:latest" not in [m["name"] for m in self.d.get("/api/ps").json()["models"]],
            "the model to be unloaded",
        )

    def test_ps(self):
        self.d.complete(max_tokens=1)
        m = next(m for m in self.d.get("/api/ps").json()["models"] if m["name"] == STORIES + ":latest")
        for key in ("name", "model", "size", "digest", "details", "expires_at", "size_vram", "context_length"):
            self.assertIn(key, m)
        self.assertEqual((m["context_length"], m["size_vram"]), (512, 0))

    OPTIONS = (
        ("temperature", (-1, "1"), (0, 2)),
        ("top_k", (-1, "x"), (0, 40)),
        ("top_p", (2,), (0.5,)),
        ("num_predict", ("1", -3), (1, -1, -2)),
        ("seed", ("1",), (1, -1)),
        ("stop", (1, [1]), ("a", ["a", "b"])),
        ("repeat_penalty", (0,), (1.1,)),
        ("repeat_last_n", (-2,), (64, -1, 0)),
        ("min_p", (2,), (0.1,)),
        ("mirostat", (1, 2), (0,)),
        ("typical_p", (0.5,), (1,)),
        ("num_ctx", (), (2048,)),
        ("num_gpu", (), (99,)),
        ("unknown", (), ("x",)),
    )
    FIELDS = (
        ("stream", ("yes", 1), ()),
        ("raw", ("yes",), (True,)),
        ("options", ([], "x", 7), ({}, None)),
        ("format", ("xml", 7, ["json"]), ("", None, "json", {"type": "object"})),
        ("images", (["x"],), ([],)),
        ("suffix", (7, ["x"]), ("",)),
        ("template", ("x",), ("",)),
        ("context", ([1, 2],), ([],)),
        ("think", (True, "high"), (False,)),
        ("truncate", ("x",), (True, False)),
        ("prompt", (7, ["x"]), ()),
        ("system", (7,), ("Be brief.",)),
    )

    def test_bounds(self):
        base = {"model": CHAT, "prompt": "x", "stream": False, "options": {"num_predict": 1}}
        rows = [
            (f"options.{k}", {"options": {"num_predict": 1, k: v}}, 400) for k, wrong, _ in self.OPTIONS for v in wrong
        ]
        rows += [
            (f"options.{k}", {"options": {"num_predict": 1, k: v}}, 200)
            for k, _, right in self.OPTIONS
            for v in right
            if v not in (-1, -2) or k != "num_predict"
        ]
        rows += [(k, {k: v}, 400) for k, wrong, _ in self.FIELDS for v in wrong] + [
            (k, {k: v}, 200) for k, _, right in self.FIELDS for v in right
        ]
        for name, change, status in rows:
            with self.subTest(change=change):
                a = self.assertStatus(self.d.post("/api/generate", {**base, **change}), status)
                if status == 400:
                    self.assertIsInstance(a.json()["error"], str)
                    self.assertIn(name, a.error)
        figure(f"/api/generate: {len(rows)} values of {len(self.OPTIONS) + len(self.FIELDS)} fields")
        for change in (
            {"messages": [{"role": "user", "content": "x", "images": ["x"]}]},
            {"messages": "x"},
            {"messages": [7]},
            {"messages": MESSAGES, "tools": [{"type": "function"}]},
            {"messages": MESSAGES, "format": "xml"},
        ):
            self.assertStatus(self.d.post("/api/chat", {"model": CHAT, "stream": False, **change}), 400)
        a = self.assertStatus(self.d.post("/api/chat", {"model": "nothing", "messages": MESSAGES}), 404)
        self.assertIsInstance(a.json()["error"], str)

    def test_not_here(self):
        self.assertIn("models_path", self.assertStatus(self.d.post("/api/push", {"model": "x"}), 501).error)

    def test_pull(self):
        """Of what is there already; nothing else can be had so."""
        for body in ({"model": CHAT}, {"name": CHAT + ":latest", "stream": False}):
            answer = self.assertStatus(self.d.post("/api/pull", body), 200)
            self.assertEqual(answer.json(), {"status": "success"})
        self.assertIn("zerollama pull", self.assertStatus(self.d.post("/api/pull", {"model": "x"}), 501).error)
        self.assertStatus(self.d.post("/api/pull", {}), 400)
        path = os.path.join(self.d.models, "new.gguf")
        os.symlink(os.path.join(self.d.models, STORIES + ".gguf"), path)
        self.addCleanup(os.unlink, path)
        self.assertStatus(self.d.post("/api/pull", {"model": "new"}), 200)


@unittest.skipUnless(have_data("models", STORIES + ".gguf"), "no test data")
class FillTest(Case):
    """A text in the middle is what the model says after the three tokens that mark where it is."""

    CONFIG = {}
    MODELS = (STORIES, FILL)
    SUFFIX = " the end."

    def tokens(self, text):
        answer = self.d.post("/tokenize", {"model": FILL, "content": text})
        return self.assertStatus(answer, 200).json()["tokens"]

    @property
    def expected(self):
        """The suffix has no space in front but its own."""
        ids = [FILL_PREFIX, *self.tokens(PROMPT), FILL_SUFFIX, *self.tokens(self.SUFFIX.strip()), FILL_MIDDLE]
        return self.d.complete([1, *ids], model=FILL, max_tokens=30)

    def test_completions(self):
        expected = self.expected
        self.assertNotEqual(expected, self.d.complete(PROMPT, model=FILL, max_tokens=30))
        for stream in (False, True):
            text = self.d.complete(PROMPT, model=FILL, max_tokens=30, suffix=self.SUFFIX, stream=stream)
            self.assertEqual(text, expected)
        body = {"model": FILL, "prompt": [PROMPT, ""], "suffix": self.SUFFIX, "max_tokens": 30, "echo": True, **GREEDY}
        choices = self.assertStatus(self.d.post("/v1/completions", body), 200).json()["choices"]
        self.assertEqual(choices[0]["text"], PROMPT + expected)
        self.assertEqual(len(choices), 2)

    def test_generate(self):
        body = {"model": FILL, "prompt": PROMPT, "suffix": self.SUFFIX, "stream": False}
        body["options"] = {**GREEDY, "repeat_penalty": 1, "num_predict": 30}
        answer = self.assertStatus(self.d.post("/api/generate", body), 200).json()
        self.assertEqual(answer["response"], self.expected)
        answer = self.assertStatus(self.d.post("/api/generate", {**body, "prompt": ""}), 200).json()
        self.assertGreater(answer["eval_count"], 0)
        for more in ({"raw": True}, {"system": "x"}, {"truncate": True}):
            error = self.assertStatus(self.d.post("/api/generate", {**body, **more}), 400).error
            self.assertIn("suffix", error)

    def test_refused(self):
        for model, prompt, why in ((STORIES, PROMPT, "no tokens for it"), (FILL, [1, 5], "not as token ids")):
            body = {"model": model, "prompt": prompt, "suffix": self.SUFFIX}
            error = self.assertStatus(self.d.post("/v1/completions", body), 400).error
            self.assertIn("suffix", error)
            self.assertIn(why, error)
        for path in ("/v1/chat/completions", "/api/chat"):
            body = {"model": FILL, "messages": MESSAGES, "suffix": self.SUFFIX}
            self.assertIn("suffix", self.assertStatus(self.d.post(path, body), 400).error)

    def test_capability(self):
        for model, able in ((STORIES, False), (FILL, True)):
            shown = self.assertStatus(self.d.post("/api/show", {"model": model}), 200).json()
            self.assertEqual("insert" in shown["capabilities"], able)


class DaemonTest(ApiCase):
    def test_health_and_head(self):
        for path in (
            "/",
            "/health",
            "/ready",
            "/metrics",
            "/v1/models",
            "/api/tags",
            "/api/ps",
            "/api/version",
            "/zerollama/status",
        ):
            get = self.assertStatus(self.d.get(path), 200)
            head = self.assertStatus(self.d.request("HEAD", path), 200)
            self.assertEqual((head.body, head.headers["Content-Type"]), (b"", get.headers["Content-Type"]))
            self.assertTrue(get.body)
        self.assertEqual(self.d.get("/health").json(), {"status": "ok"})
        self.assertStatus(self.d.get("/health?x=y"), 200)

    def test_wrong_routes(self):
        for path in ("/nothing", "/v1", "/v1/", "/v1/models/", "/api/tags/x", "/../health", "//health", "/HEALTH"):
            a = self.assertStatus(self.d.get(path), 404)
            self.assertIsInstance(a.json()["error"], str if path.startswith("/api/") else dict)
        for method, path, allow in (
            ("GET", "/v1/completions", "POST"),
            ("POST", "/v1/models", "GET"),
            ("PUT", "/api/chat", "POST"),
            ("DELETE", "/health", "GET"),
            ("GET", "/api/delete", "DELETE"),
            ("OPTIONS", "/api/tags", "GET"),
        ):
            a = self.assertStatus(self.d.request(method, path), 405)
            self.assertIn(allow, a.headers["Allow"])

    def test_bodies(self):
        for body in ("", "{", "[]", "7", "null", '"x"', "\0", "{}{}", '{"model":}'):
            for path in ("/v1/completions", "/v1/chat/completions", "/api/generate", "/api/chat", "/api/show"):
                self.assertStatus(self.d.post(path, body), 400)
        big = {"model": STORIES, "prompt": "x", "max_tokens": 1, "junk": "a" * 300000}
        self.assertStatus(self.d.post("/v1/completions", big), 200)
        self.assertStatus(self.d.post("/v1/completions", json.dumps(big)[:-1]), 400)

    def test_hosts_and_keys_do_not_matter_on_the_socket(self):
        for headers in (
            {"Host": "example.org"},
            {"Host": "[::1]:80"},
            {"Authorization": "Bearer anything"},
            {"Origin": "http://x"},
        ):
            self.assertStatus(self.d.get("/v1/models", headers=headers), 200)

    def test_metrics(self):
        self.d.complete(max_tokens=20)
        a = self.assertStatus(self.d.get("/metrics"), 200)
        self.assertTrue(a.headers["Content-Type"].startswith("text/plain; version=0.0.4"))
        sample = re.compile(
            r'^([a-zA-Z_:][\w:]*)(\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*"(?:,(?!\})|(?=\})))*\})?'
            r" (-?[\d.]+(?:e[+-]?\d+)?|\+Inf|NaN)$"
        )
        types, helps, seen, n = {}, set(), set(), 0
        for line in a.text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                self.assertNotIn(name, types)
                self.assertIn(kind, ("counter", "gauge", "histogram"))
                self.assertTrue(kind != "counter" or name.endswith("_total"), name)
                types[name] = kind
            elif line.startswith("# HELP "):
                helps.add(line.split(" ", 3)[2])
            else:
                self.assertRegex(line, sample)
                name, labels, _ = sample.match(line).groups()
                base = re.sub("_(bucket|sum|count)$", "", name)
                self.assertIn(types.get(name) or types.get(base), ("counter", "gauge", "histogram"), line)
                self.assertNotIn((name, labels), seen)
                seen.add((name, labels))
                n += 1
        self.assertEqual(set(types), helps)
        m = self.d.metrics()
        label = f'model="{STORIES}"'
        for name in (
            "time_to_first_token_seconds",
            "inter_token_latency_seconds",
            "request_queue_time_seconds",
            "e2e_request_latency_seconds",
        ):
            buckets = [(k, v) for k, v in m.items() if k.startswith(f"zerollama_{name}_bucket{{") and label in k]
            self.assertGreater(len(buckets), 5)
            self.assertEqual([v for _, v in buckets], sorted(v for _, v in buckets))
            self.assertIn('le="+Inf"', buckets[-1][0])
            self.assertEqual(buckets[-1][1], m[f"zerollama_{name}_count{{{label}}}"])
        before = self.d.metrics()
        self.d.complete(max_tokens=20, ignore_eos=True)
        after = self.d.metrics()
        for name, by in (
            ("generation_tokens_total", 20),
            ("prompt_tokens_total", 5),
            ("requests_total", 1),
            ("e2e_request_latency_seconds_count", 1),
        ):
            key = f"zerollama_{name}{{{label}}}"
            self.assertEqual(after[key] - before[key], by, name)
        figure(f"{n} samples of {len(types)} metrics are well formed")

    def test_status(self):
        s = self.d.status()
        self.assertEqual((s["ready"], s["pid"]), (True, self.d.pid))
        self.assertEqual(s["listeners"], [self.d.socket])
        self.assertEqual(s["users"][0]["uid"], os.getuid())
        self.assertStatus(self.d.post("/zerollama/check", ""), 200)


class LimitTest(Case):
    """Queues and quotas answer at once."""

    def test_queue_and_user_limits(self):
        d = self.start(
            {
                "models": [
                    {"name": "narrow", "path": STORIES + ".gguf", "slots": 1, "queue": 2, "queue_timeout": "2s"},
                    {"name": "wide", "path": STORIES + ".gguf"},
                ],
                "user_defaults": {"jobs": 6},
            }
        )
        body = {"model": "narrow", "prompt": PROMPT, "max_tokens": 400, "ignore_eos": True, **GREEDY}
        d.complete(model="narrow", max_tokens=1)
        with frozen(d.engine_pid()):
            streams = []
            for n in range(3):
                streams.append(d.connect())
                streams[-1].request("POST", "/v1/completions", json.dumps(body))
                wait_until(lambda: d.status()["jobs"]["waiting"] + d.status()["jobs"]["running"] == n + 1, "the job")
            a = self.assertStatus(d.post("/v1/completions", body), 503)
            self.assertEqual(a.json()["error"]["code"], "queue_full")
            self.assertGreaterEqual(int(a.headers["Retry-After"]), 1)
            self.assertGreaterEqual(int(a.headers["Retry-After-Ms"]), 1)
            for _ in range(3):
                streams.append(d.connect())
                streams[-1].request("POST", "/v1/completions", json.dumps({**body, "model": "wide"}))
            wait_until(lambda: d.status()["jobs"]["waiting"] + d.status()["jobs"]["running"] == 6, "the jobs")
            a = self.assertStatus(d.post("/v1/completions", {**body, "model": "wide"}), 429)
            self.assertEqual(a.json()["error"]["type"], "rate_limit_error")
            self.assertIn("Retry-After", a.headers)
            self.assertStatus(d.post("/api/generate", {**body, "model": "wide", "raw": True}), 429)
            # Those that wait are told after queue_timeout, the engine still being silent.
            timed_out = [Answer(streams[i].getresponse()) for i in (1, 2)]
            for a in timed_out:
                self.assertStatus(a, 503)
                self.assertEqual(a.json()["error"]["code"], "queue_timeout")
        for c in streams:
            c.close()
        wait_until(lambda: d.status()["jobs"]["running"] + d.status()["jobs"]["waiting"] == 0, "all to be over")
        self.assertEqual(d.outcomes()["refused"], 3)

    def test_tokens_per_minute(self):
        d = self.start({"user_defaults": {"tokens_per_minute": 60}})
        d.complete(max_tokens=80, ignore_eos=True)
        a = self.assertStatus(d.post("/v1/completions", {"model": STORIES, "prompt": "x"}), 429)
        self.assertGreater(int(a.headers["Retry-After"]), 5)
        self.assertIn("tokens per minute", a.error)


class TcpTest(Case):
    def tcp(self, port, method="GET", path="/v1/models", key=None, body=None):
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        c.request(method, path, body, {"Authorization": key} if key else {})
        a = Answer(c.getresponse())
        c.close()
        return a

    def test_keys(self):
        with socket.socket() as a, socket.socket() as b:
            a.bind(("127.0.0.1", 0))
            b.bind(("127.0.0.1", 0))
            open_port, port = a.getsockname()[1], b.getsockname()[1]
        with tempfile.NamedTemporaryFile("w", suffix=".key") as f:
            f.write("secret-1\n")
            f.flush()
            self.start(
                {"listen": [{"tcp": f"127.0.0.1:{open_port}"}, {"tcp": f"127.0.0.1:{port}", "key_file": f.name}]}
            )
            self.assertStatus(self.tcp(open_port), 200)
            self.assertStatus(self.tcp(open_port, key="Bearer x"), 200)
            for key in (
                None,
                "Bearer",
                "Bearer ",
                "Bearer secret-",
                "Bearer secret-11",
                "Bearer secret-2",
                "secret-1",
                "Basic secret-1",
            ):
                for path in ("/v1/models", "/api/tags", "/metrics", "/zerollama/status", "/nothing"):
                    a = self.assertStatus(self.tcp(port, path=path, key=key), 401)
                    self.assertEqual(a.headers["WWW-Authenticate"], "Bearer")
            self.assertIsInstance(self.tcp(port, path="/api/tags").json()["error"], str)
            self.assertEqual(self.tcp(port).json()["error"]["code"], "invalid_api_key")
            for key in ("Bearer secret-1", "bearer secret-1"):
                self.assertStatus(self.tcp(port, key=key), 200)
            self.assertStatus(self.tcp(port, path="/health"), 200)
            body = json.dumps({"model": STORIES, "prompt": PROMPT, "max_tokens": 3})
            self.assertStatus(self.tcp(port, "POST", "/v1/completions", "Bearer secret-1", body), 200)
            self.assertStatus(self.tcp(port, "POST", "/v1/completions", None, body), 401)
            self.assertStatus(self.tcp(open_port, "POST", "/zerollama/reload"), 403)


if __name__ == "__main__":
    main(needs_data=True)
