#!/usr/bin/env python3
"""Structured output: whatever the model says, and however hot, an answer that ends by itself is JSON, and valid by the schema
that was asked for; streamed, in many choices, beside others, pushed out of its slot, and after its engine was killed."""

import contextlib
import json
import os
import re
import signal
import sys
import threading
import time

sys.dont_write_bytecode = True
from harness import (  # noqa: E402
    CHAT, SANITIZED, SKIP, SLOW, Case, chunk_text, figure, in_parallel, main, wait_until,
)

try:
    import jsonschema
except ImportError:
    print("SKIP: there is no python3-jsonschema")
    sys.exit(SKIP)

MESSAGES = [{"role": "user", "content": "Tell me of a dog"}]
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 30},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["red", "green", "redder"]}, "minItems": 1, "maxItems": 3},
        "born": {"type": "string", "format": "date"},
        "weight": {"anyOf": [{"type": "number", "minimum": 0}, {"type": "null"}]},
        "friend": {"$ref": "#/$defs/friend"},
    },
    "required": ["name", "age", "tags", "born", "weight"],
    "additionalProperties": False,
    "$defs": {
        "friend": {
            "type": "object",
            "properties": {"id": {"type": "string", "pattern": "^[a-z]{3}-\\d+$"}, "friend": {"$ref": "#/$defs/friend"}},
            "required": ["id"],
        }
    },
}
KINDS = [{"type": "object"}, PERSON]
N = 8 if SANITIZED else 20


def format_of(schema):
    if schema == KINDS[0]:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}


class StructuredTest(Case):
    CONFIG = {"models": [{"name": CHAT, "path": CHAT + ".gguf", "slots": 4, "batch_tokens": 64}], "limits": {"restarts": 50}}

    def body(self, schema, seed, **fields):
        return {
            "model": CHAT,
            "messages": MESSAGES,
            "response_format": format_of(schema),
            "temperature": 2,
            "seed": seed,
            "max_tokens": 400,
            **fields,
        }

    def check_choice(self, schema, text, reason):
        """1 where it has ended by itself."""
        if reason == "length":
            return 0
        self.assertEqual(reason, "stop")
        jsonschema.validate(json.loads(text), schema)
        return 1

    def whole(self, schema, seed, **fields):
        a = self.assertStatus(self.d.post("/v1/chat/completions", self.body(schema, seed, **fields)), 200)
        return [(c["message"]["content"], c["finish_reason"]) for c in a.json()["choices"]]

    def test_openai(self):
        for schema in KINDS:
            ended = 0
            for seed in range(1, N + 1):
                ended += self.check_choice(schema, *self.whole(schema, seed)[0])
            figure(f"{ended} of {N} answers ended by themselves, and are valid")
            self.assertGreater(ended, N // 2)

    def test_ollama(self):
        options = {"temperature": 2, "num_predict": 400}
        for schema in KINDS:
            ended = 0
            for seed in range(1, N + 1):
                body = {"model": CHAT, "format": "json" if schema == KINDS[0] else schema, "options": {**options, "seed": seed}}
                chat = self.d.stream("/api/chat", {**body, "messages": MESSAGES})
                text, reason = "", None
                for chunk in chat:
                    text += chunk_text(chunk)
                    reason = chunk.get("done_reason")
                chat.close()
                ended += self.check_choice(schema, text, reason)
                a = self.d.post("/api/generate", {**body, "prompt": "x", "stream": False}).json()
                self.check_choice(schema, a["response"], a["done_reason"])
            self.assertGreater(ended, N // 2)

    def test_completions(self):
        for seed in range(1, 6):
            body = {"model": CHAT, "prompt": "A dog: ", "response_format": format_of(PERSON), "temperature": 1.5, "seed": seed}
            c = self.d.post("/v1/completions", {**body, "max_tokens": 400}).json()["choices"][0]
            self.check_choice(PERSON, c["text"], c["finish_reason"])

    def test_other_servers_ways(self):
        """Grammars, expressions and choices, as llama-server and vLLM have them."""
        cities = ["Bern", 'the "\\ one', "Zürich\nand so on"]
        grammar = 'root ::= "(" root ")" | [0-9]{1,3} # depth'
        ways = (
            ({"grammar": grammar}, r"(\()*\d{1,3}(\))*"),
            ({"structured_outputs": {"grammar": grammar}}, r"(\()*\d{1,3}(\))*"),
            ({"structured_outputs": {"regex": r"[a-f]{2,9}(é|\d)"}}, r"[a-f]{2,9}(é|\d)"),
            ({"structured_outputs": {"choice": cities}}, "|".join(map(re.escape, cities))),
            ({"structured_outputs": {"json_object": True}}, r"(?s:\{.*\})"),
        )
        for seed in range(1, 6):
            for how, expected in ways:
                sampling = {"model": CHAT, "temperature": 2, "seed": seed, "max_tokens": 300, **how}
                chat = self.d.post("/v1/chat/completions", {**sampling, "messages": MESSAGES})
                plain = self.d.post("/v1/completions", {**sampling, "prompt": "A dog"})
                for choice in (self.assertStatus(a, 200).json()["choices"][0] for a in (chat, plain)):
                    text = choice["message"]["content"] if "message" in choice else choice["text"]
                    if choice["finish_reason"] == "stop":
                        self.assertRegex(text, f"^(?:{expected})\\Z")
                        self.assertEqual(text.count("("), text.count(")"))
            for how in ({"json_schema": PERSON}, {"response_format": {"type": "json_object", "schema": PERSON}}, {"structured_outputs": {"json": PERSON}}, {"structured_outputs": {"json": json.dumps(PERSON)}}):
                a = self.d.post("/v1/completions", {"model": CHAT, "prompt": "x", "temperature": 1, "seed": seed, "max_tokens": 400, **how})
                choice = self.assertStatus(a, 200).json()["choices"][0]
                self.check_choice(PERSON, choice["text"], choice["finish_reason"])
            for path, prompt in (("/api/chat", {"messages": MESSAGES}), ("/api/generate", {"prompt": "x"})):
                a = self.d.post(path, {"model": CHAT, **prompt, "stream": False, "grammar": 'root ::= "yes" | "no"', "options": {"seed": seed}}).json()
                self.assertIn(a["message"]["content"] if "message" in a else a["response"], ("yes", "no"))

    def test_other_ways_refused(self):
        for how, param, words in (
            ({"grammar": 'root ::= "a'}, "", 'grammar: line 1: a text without its closing "'),
            ({"grammar": 7}, "grammar", "must be"),
            ({"grammar": "root ::= \"a\"", "response_format": {"type": "json_object"}}, "grammar", "cannot be combined with response_format"),
            ({"structured_outputs": {"regex": "(a"}}, "", "structured_outputs.regex: has a ( without its )"),
            ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, "structured_outputs.choice", "cannot be combined with structured_outputs.regex"),
            ({"structured_outputs": {"choice": []}}, "structured_outputs.choice", "must be a list of texts"),
            ({"structured_outputs": {"choice": [str(i) for i in range(1001)]}}, "structured_outputs.choice", "1001 texts; at most 1000"),
            ({"structured_outputs": {"regex": "ab\0("}}, "", "structured_outputs.regex: has a NUL byte"),
            ({"grammar": 'root ::= "a"\0'}, "", "grammar: has a NUL byte"),
            ({"guided_regex": "a"}, "guided_regex", "send structured_outputs"),
            ({"grammar": 'root ::= "a"', "grammar_lazy": True}, "grammar_lazy", "is not supported"),
            ({"structured_outputs": {"choice": ["a", 1]}}, "structured_outputs.choice", "must be a list of texts"),
            ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag", "is not supported"),
            ({"structured_outputs": {}}, "structured_outputs", "needs one of"),
            ({"structured_outputs": "json"}, "structured_outputs", "must be an object"),
            ({"structured_outputs": {"json": "{"}}, "", "structured_outputs.json: is no JSON"),
            ({"json_schema": []}, "json_schema", "must be a JSON schema"),
            ({"grammar": "root ::= " + '"a" ' * 40000}, "grammar", "is too large"),
        ):
            a = self.assertStatus(self.d.post("/v1/completions", {"model": CHAT, "prompt": "x", **how}), 400)
            self.assertIn(words, a.error)
            self.assertEqual(a.param or "", param)
        for path, how in (("/v1/responses", {"input": "x"}), ("/v1/messages", {"max_tokens": 9, "messages": MESSAGES}), ("/api/generate", {"prompt": "x"})):
            a = self.assertStatus(self.d.post(path, {"model": CHAT, **how, "structured_outputs": {"regex": "a"}}), 400)
            self.assertIn("structured_outputs", a.text)

    def test_other_dialects(self):
        schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}
        format = {"type": "json_schema", "name": "x", "schema": schema}
        sampling = {"model": CHAT, "temperature": 1}
        for _ in range(5):
            a = self.d.post("/v1/responses", {**sampling, "input": "x", "text": {"format": format}, "max_output_tokens": 300}).json()
            jsonschema.validate(json.loads(a["output"][0]["content"][0]["text"]), schema)
            body = {**sampling, "messages": MESSAGES, "output_config": {"format": format}, "max_tokens": 300}
            a = self.d.post("/v1/messages", body).json()
            jsonschema.validate(json.loads(a["content"][0]["text"]), schema)
        a = self.assertStatus(self.d.post("/v1/responses", {**sampling, "input": "x", "text": {"format": {**format, "schema": {"not": 1}}}}), 400)
        self.assertIn("text.format.schema.not: is not supported", a.error)

    def test_much_to_do(self):
        """What may come next is found by workers where it takes long; the same text, alone and together."""
        schema = {"type": "string", "pattern": "[a-m].{25}$"}
        calls = [lambda s=s: self.whole(schema, s, max_tokens=60) for s in range(1, 9)]
        alone = [c() for c in calls]
        self.assertEqual(in_parallel(calls), alone)
        for (text, reason), in alone:
            self.check_choice(schema, text, reason)

    def test_greedy(self):
        """Without a draw, too; and twice the same."""
        for schema in KINDS:
            texts = [self.whole(schema, 1, temperature=0) for _ in range(2)]
            self.assertEqual(*texts)
            self.check_choice(schema, *texts[0][0])

    def test_choices(self):
        for text, reason in self.whole(PERSON, 5, n=6):
            self.check_choice(PERSON, text, reason)

    def test_cut(self):
        """An answer that is cut says so; what is there begins one that is whole."""
        (text, _), (cut, reason) = self.whole(PERSON, 3)[0], self.whole(PERSON, 3, max_tokens=7)[0]
        self.assertEqual(reason, "length")
        self.assertTrue(text.startswith(cut))

    def test_stop(self):
        text = self.whole(PERSON, 3)[0][0]
        stopped, reason = self.whole(PERSON, 3, stop=['"age"'])[0]
        self.assertEqual((stopped, reason), (text[: text.index('"age"')], "stop"))

    def test_logprobs(self):
        a = self.d.post("/v1/chat/completions", self.body(PERSON, 4, logprobs=True, top_logprobs=3)).json()["choices"][0]
        tokens = a["logprobs"]["content"]
        self.assertEqual(b"".join(bytes(t["bytes"]) for t in tokens).decode(), a["message"]["content"])
        self.assertTrue(all(len(t["top_logprobs"]) == 3 for t in tokens))

    def test_bias_cannot_force(self):
        """What a client forbids gives way where nothing else is left."""
        text, reason = self.whole(PERSON, 1, logit_bias={str(i): -100 for i in range(400)})[0]
        self.check_choice(PERSON, text, reason)

    def test_small_values(self):
        for schema, texts in (
            ({"const": {"a": [1, "x"]}}, ['{"a":[1,"x"]}']),
            ({"enum": ["yes", "no"]}, ['"yes"', '"no"']),
            ({"type": "boolean"}, ["true", "false"]),
            ({"type": "integer", "minimum": 7, "maximum": 9}, ["7", "8", "9"]),
        ):
            for seed in range(1, 5):
                text, reason = self.whole(schema, seed)[0]
                self.assertEqual(reason, "stop")
                self.assertIn(text, texts)

    def test_refused(self):
        cases = (
            ({"type": "object", "properties": {"x": {"not": {}}}}, "response_format.json_schema.schema.properties.x.not: is not supported"),
            ({"type": "object", "required": ["x"], "additionalProperties": False}, "response_format.json_schema.schema: nothing can match it"),
            ({"anyOf": [{"enum": ["x" * 1000 + str(i) for i in range(200)]}]}, "is too large"),
            ({"type": "string", "pattern": "(" * 100}, "schema.pattern: is nested too deeply"),
        )
        for schema, words in cases:
            for stream in (False, True):
                a = self.assertStatus(self.d.post("/v1/chat/completions", self.body(schema, 1, stream=stream)), 400)
                self.assertIn(words, a.error)
        a = self.assertStatus(self.d.post("/api/chat", {"model": CHAT, "messages": MESSAGES, "format": cases[0][0]}), 400)
        self.assertIn("format.properties.x.not: is not supported", a.error)
        a = self.assertStatus(self.d.post("/v1/chat/completions", self.body(PERSON, 1, ignore_eos=True)), 400)
        self.assertIn("ignore_eos", a.error)

    def test_beside_others(self):
        """Neither those with a schema nor those without change one another's text."""
        plain = {"model": CHAT, "messages": MESSAGES, "temperature": 0, "max_tokens": 100}
        calls = [lambda s=s: self.whole(PERSON, s) for s in range(1, 7)]
        calls += [lambda: self.d.stream("/v1/chat/completions", plain).text()] * 6
        alone = [c() for c in calls]
        self.assertEqual(in_parallel(calls), alone)

    def test_pushed_out(self):
        """Interactive ones take the slots of batch ones, which go on later with the same text."""
        batch = [self.body(PERSON, s, priority="batch") for s in range(1, 5 if SANITIZED else 9)]
        alone = [self.d.stream("/v1/chat/completions", b).text() for b in batch]
        over = threading.Event()
        rounds = 2 if SANITIZED else 3

        def interrupt():
            plain = {"model": CHAT, "messages": MESSAGES, "max_tokens": 2}
            while not over.is_set():
                in_parallel([lambda: self.d.post("/v1/chat/completions", plain)] * 6)

        def all_of_them():
            try:
                return in_parallel([lambda b=b: self.d.stream("/v1/chat/completions", b).text() for b in batch] * rounds)
            finally:
                over.set()

        self.assertEqual(in_parallel([all_of_them, interrupt])[0], alone * rounds)

    def test_killed(self):
        bodies = [self.body(KINDS[s % 2], s, max_tokens=200) for s in range(1, 13)]
        alone = [self.d.stream("/v1/chat/completions", b).text() for b in bodies]
        before = self.d.metrics()["zerollama_job_restarts_total"]
        over = threading.Event()

        def client(body, expected):
            while not over.is_set():
                self.assertEqual(self.d.stream("/v1/chat/completions", body).text(), expected)

        def killer():
            last = 0
            try:
                for i in range(10):
                    wait_until(lambda: self.d.status()["jobs"]["running"] and self.d.engine_pid() not in (0, None, last), "work")
                    time.sleep(0.01 * SLOW * (i % 4))
                    last = self.d.engine_pid()
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(last, signal.SIGKILL)
            finally:
                over.set()

        in_parallel([killer] + [lambda b=b, e=e: client(b, e) for b, e in zip(bodies, alone)])
        restarted = self.d.metrics()["zerollama_job_restarts_total"] - before
        figure(f"10 kills, {restarted:.0f} jobs posted again, no text changed")
        self.assertGreater(restarted, 0)


if __name__ == "__main__":
    main()
