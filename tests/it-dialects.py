#!/usr/bin/env python3
"""The smaller dialects: tokens, as llama-server's and vLLM's clients ask for them; Anthropic's messages; OpenAI's responses."""

import http.client
import json
import os
import signal
import socket
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import scripted  # noqa: E402
from harness import (  # noqa: E402
    CHAT, PATIENCE, PROMPT, SLOW, STORIES, Answer, Case, data, frozen, main, wait_until,
)

MESSAGES = [{"role": "user", "content": PROMPT}]
GREEDY = {"temperature": 0}
LONG = "Lily and Tom ran to the park. " * 40000


class Events:
    """A stream of events with names, which their objects repeat. Iterating yields the objects."""

    def __init__(self, d, path, body):
        self.connection = d.connect()
        self.connection.request("POST", path, json.dumps({"stream": True, **body}))
        self.response = self.connection.getresponse()
        self.type = self.response.getheader("Content-Type")
        if self.response.status != 200:
            raise AssertionError(f"{self.response.status}: {self.response.read().decode()}")

    def __iter__(self):
        while line := self.response.readline().decode():
            assert line.startswith("event: "), f"no name: {line!r}"
            data = self.response.readline().decode()
            assert data.startswith("data: "), f"no object: {data!r}"
            assert self.response.readline() == b"\n", "no end of the event"
            event = json.loads(data[6:])
            assert event["type"] == line[7:-1], (line, event)
            yield event
        self.close()

    def close(self):
        self.connection.close()


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
        self.assertStatus(self.d.post("/tokenize", {"model": "nothing", "content": "a"}), 404)
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


class DialectCase(Case):
    """What holds for an answer in any of them: `PATH`, `ask()` a request's fields, `text()` of an answer's events."""

    CONFIG = {"models": [{"name": "narrow-chat", "path": CHAT + ".gguf", "slots": 1, "queue": 0}]}

    def post(self, status=200, **fields):
        return self.assertStatus(self.d.post(self.PATH, self.ask(**fields)), status)

    def events(self, d=None, **fields):
        return Events(d or self.d, self.PATH, self.ask(**fields))

    def completion(self, prompt=PROMPT + " ", tokens=20, **fields):
        """What the model says; the template of CHAT writes each message and a space."""
        return self.d.complete(prompt, model=STORIES, max_tokens=tokens, **fields)

    def check_crash(self):
        """An engine that dies in mid-answer is not noticed."""
        whole = list(self.events(tokens=400))
        stream = self.events(tokens=400)
        got = []
        for e in stream:
            got.append(e)
            if len(got) == 20:
                old = self.d.engine_pid()
                os.kill(old, signal.SIGKILL)
                wait_until(lambda: self.d.engine_pid() not in (0, old), "another engine")
        self.assertEqual(self.text(got), self.text(whole))
        self.assertEqual([e["type"] for e in got][-1], [e["type"] for e in whole][-1])

    def check_gone(self):
        before = self.d.outcomes()["cancelled"]
        stream = self.events(model="null", tokens=1000000000)
        next(iter(stream))
        stream.close()
        wait_until(lambda: self.d.outcomes()["cancelled"] == before + 1, "the job to be cancelled")
        self.d.wait_idle()

    def check_busy(self):
        """503 where the queue is full, and when to come again; in the dialect's own words, which are returned."""
        stream = self.events(model="narrow-chat", tokens=400)
        with frozen(self.d.engine_pid()):
            a = self.post(503, model="narrow-chat")
            self.assertTrue(a.headers["Retry-After"])
        stream.close()
        self.d.wait_idle()
        return a

    def check_late(self):
        """The error in mid-stream, which is the last event."""
        *some, last = self.events(model="null", tokens=1000000000, timeout=0.3 * SLOW)
        self.assertGreater(len(some), 3)
        return last


class MessagesTest(DialectCase):
    PATH = "/v1/messages"

    def ask(self, tokens=20, **fields):
        return {"model": CHAT, "max_tokens": tokens, "messages": MESSAGES, **GREEDY, **fields}

    def text(self, events):
        return "".join(e["delta"]["text"] for e in events if e["type"] == "content_block_delta")

    def test_whole(self):
        got = self.post().json()
        self.assertEqual(got["content"], [{"type": "text", "text": self.completion()}])
        self.assertEqual((got["type"], got["role"], got["model"]), ("message", "assistant", CHAT))
        self.assertEqual((got["stop_reason"], got["stop_sequence"]), ("max_tokens", None))
        self.assertTrue(got["id"].startswith("msg_"))
        usage = got["usage"]
        self.assertEqual(usage["input_tokens"] + usage["cache_read_input_tokens"], 6)
        self.assertEqual((usage["output_tokens"], usage["cache_creation_input_tokens"]), (20, 0))

    def test_stream(self):
        got = list(self.events())
        kinds = [e["type"] for e in got]
        self.assertEqual(kinds[:2], ["message_start", "content_block_start"])
        self.assertEqual(kinds[-3:], ["content_block_stop", "message_delta", "message_stop"])
        self.assertEqual(set(kinds[2:-3]), {"content_block_delta"})
        self.assertEqual(self.text(got), self.completion())
        message = got[0]["message"]
        self.assertEqual((message["content"], message["stop_reason"], message["role"]), ([], None, "assistant"))
        self.assertEqual(got[1]["content_block"], {"type": "text", "text": ""})
        self.assertEqual({e["index"] for e in got if "index" in e}, {0})
        self.assertEqual(got[-2]["delta"], {"stop_reason": "max_tokens", "stop_sequence": None})
        self.assertEqual(got[-2]["usage"]["output_tokens"], 20)

    def test_ends(self):
        for stream in (False, True):
            def end(**fields):
                if stream:
                    return next(e["delta"] for e in self.events(**fields) if e["type"] == "message_delta")
                a = self.post(**fields).json()
                return {k: a[k] for k in ("stop_reason", "stop_sequence")}

            words = self.completion(tokens=60).split(" ")
            self.assertEqual(
                end(tokens=60, stop_sequences=["never in it", words[5]]),
                {"stop_reason": "stop_sequence", "stop_sequence": words[5]},
            )
            self.assertEqual(
                end(model="delay", messages=[{"role": "user", "content": "1ms"}], stop_sequences=["never in it"]),
                {"stop_reason": "end_turn", "stop_sequence": None},
            )
            self.assertEqual(end(tokens=1)["stop_reason"], "max_tokens")

    def test_format(self):
        schema = {"type": "object", "properties": {"a": {"const": [1, "x"]}}, "required": ["a"], "additionalProperties": False}
        fields = {"output_config": {"format": {"type": "json_schema", "schema": schema}}, "tokens": 100}
        self.assertEqual(json.loads(self.post(**fields).json()["content"][0]["text"]), {"a": [1, "x"]})
        self.assertEqual(json.loads(self.text(list(self.events(**fields)))), {"a": [1, "x"]})

    def test_system(self):
        parts = [{"type": "text", "text": "Once "}, {"type": "text", "text": "upon", "cache_control": {"type": "ephemeral"}}]
        said = self.completion("Once upon a time ")
        for system in ("Once upon", parts):
            fields = {"system": system, "messages": [{"role": "user", "content": "a time"}]}
            self.assertEqual(self.post(**fields).json()["content"][0]["text"], said)
            count = self.assertStatus(self.d.post(self.PATH + "/count_tokens", self.ask(**fields)), 200).json()
            self.assertEqual(count, {"input_tokens": len(self.d.post(
                "/tokenize", {"model": STORIES, "prompt": "Once upon a time "}).json()["tokens"])})
        self.assertEqual(self.post(system="").json()["content"], self.post().json()["content"])
        del parts[0]["text"]
        self.post(400, system=parts)

    def test_refused(self):
        bad = {"role": "user", "content": [{"type": "image", "source": {}}]}
        for fields, word in (
            ({"max_tokens": None}, "max_tokens"),
            ({"max_tokens": 0}, "max_tokens"),
            ({"messages": []}, "messages"),
            ({"messages": [bad]}, "messages[0]"),
            ({"messages": MESSAGES + [{"role": "assistant", "content": "It"}]}, "messages"),
            ({"system": 3}, "system"),
            ({"temperature": "x"}, "temperature"),
            ({"stop_sequences": [1]}, "stop_sequences"),
            ({"messages": [{"role": "system", "content": "x"}]}, "messages[0]"),
            ({"messages": MESSAGES + [{"role": "user", "content": 5}]}, "messages[1]"),
            ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0]"),
            ({"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {}}]}]}, "messages[0]"),
            ({"messages": [{"role": "user", "content": [{"type": "tool_result", "content": "x"}]}]}, "messages[0]"),
            ({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": "{}"}]}] + MESSAGES},
             "messages[0]"),
            ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools"),
            ({"tools": [{"input_schema": {}}]}, "tools"),
            ({"tools": {"name": "f"}}, "tools"),
            ({"tool_choice": {"type": "any"}}, "tool_choice"),
            ({"tool_choice": {"type": "tool", "name": "f"}}, "tool_choice"),
            ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
            ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
            ({"tool_choice": "none"}, "tool_choice"),
            ({"tool_choice": {"type": "any"}, "tools": [{"name": "f", "input_schema": {}}],
              "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}, "tool_choice"),
            ({"thinking": {"type": "often"}}, "thinking.type"),
            ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
            ({"output_config": {"format": {"type": "json_object"}}}, "output_config.format.type"),
            ({"output_config": {"format": {"type": "json_schema", "schema": {"type": "cube"}}}}, "output_config.format.schema.type"),
            ({"priority": "high"}, "priority"),
        ):
            error = self.post(400, **fields).json()
            self.assertEqual((error["type"], error["error"]["type"]), ("error", "invalid_request_error"))
            self.assertTrue(error["error"]["message"].startswith(word + ":"), error)
        self.post(thinking={"type": "disabled"}, tools=[], metadata={"user_id": "x"}, priority="batch", output_config={"effort": "low"})
        for fields in ({"tools": [{"name": "f", "input_schema": {}}]}, {"thinking": {"type": "enabled", "budget_tokens": 1024}}):
            self.assertIn(CHAT, self.post(400, **fields).json()["error"]["message"], "a model that cannot")
        self.assertEqual(self.post(404, model="nothing").json()["error"]["type"], "not_found_error")
        a = self.assertStatus(self.d.post(self.PATH, "{"), 400)
        self.assertEqual(a.json()["error"]["type"], "invalid_request_error")
        self.assertStatus(self.d.get(self.PATH), 405)

    def test_life(self):
        self.check_crash()
        self.check_gone()
        late = self.check_late()
        self.assertEqual((late["type"], late["error"]["type"]), ("error", "timeout_error"))
        self.assertEqual(self.check_busy().json()["error"]["type"], "overloaded_error")

    def test_key(self):
        with socket.socket() as s, tempfile.NamedTemporaryFile("w", suffix=".key") as f:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
            s.close()
            f.write("secret-1\n")
            f.flush()
            self.start({"listen": [{"tcp": f"127.0.0.1:{port}", "key_file": f.name}]})
            for headers, status in (
                ({"X-Api-Key": "secret-1"}, 200),
                ({"Authorization": "Bearer secret-1"}, 200),
                ({"X-Api-Key": "secret-2"}, 401),
                ({"X-Api-Key": "secret-1", "Authorization": "Bearer x"}, 401),
                ({}, 401),
            ):
                c = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
                c.request("POST", self.PATH, json.dumps(self.ask(tokens=1)), headers)
                a = self.assertStatus(Answer(c.getresponse()), status)
                c.close()
                if status == 401:
                    self.assertEqual(a.json()["error"]["type"], "authentication_error")


WEATHER = {"city": "Zürich", "days": [1, 2.5]}
CALL = '<tool_call>\n{"name": "%s", "arguments": %s}\n</tool_call>'
SCRIPTS = {  # the last message says which
    "<|call|>": "<think>\nAsk them.\n</think>\n\nI will look.\n"
    + CALL % ("weather", json.dumps(WEATHER, ensure_ascii=False)) + "\n" + CALL % ("time", "{}"),
    "<|think|>": "<think>\nHm, what?\n</think>\n\nIt rains.",
}
# Says in an error what it was given.
TOLD = """{%- if messages[-1].content == 'show' %}{{ raise_exception('saw ' ~ (messages | tojson)) }}{% endif %}
{%- if messages[-1].content == 'given' %}
{{- raise_exception('saw ' ~ ({'tools': tools or [], 'thinking': enable_thinking} | tojson)) }}
{%- endif %}{{ messages[-1].content }}{# <tool_call> <think> </think> #}"""


class ToldCase(DialectCase):
    """Tools and thoughts, with a model that surely writes what the test wants."""

    CONFIG, MODELS = {}, ()

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        scripted.write(os.path.join(cls.d.models, "told.gguf"), TOLD, SCRIPTS)

    def seen(self, **fields):
        message = self.post(400, **fields).json()["error"]["message"]
        return json.loads(message[message.index("saw ") + 4:].split("\n")[0])


class MessagesToolsTest(ToldCase):
    PATH = "/v1/messages"
    TOOLS = [
        {"name": name, "description": "…", "input_schema": {"type": "object", "properties": {}}} for name in ("weather", "time")
    ]

    def ask(self, script="given", **fields):
        return {"model": "told", "max_tokens": 500, "messages": [{"role": "user", "content": script}], **fields}

    def joined(self, events):
        """The message that a stream adds up to, each event being where it must."""
        first, *events, delta, last = events
        self.assertEqual((first["type"], delta["type"], last["type"]), ("message_start", "message_delta", "message_stop"))
        message, is_open = first["message"], False
        for e in events:
            kind = e["type"].removeprefix("content_block_")
            self.assertEqual(is_open, kind != "start")
            if kind == "start":
                message["content"].append(e["content_block"])
                block, text = e["content_block"], ""
            elif kind == "delta":
                key, = set(e["delta"]) - {"type"}
                self.assertEqual(e["delta"]["type"], {"tool_use": "input_json"}.get(block["type"], block["type"]) + "_delta")
                text += e["delta"][key]
            elif block["type"] == "tool_use":
                self.assertEqual(block["input"], {})
                block["input"] = json.loads(text)
            else:
                block[block["type"]] = text
            self.assertEqual(e["index"], len(message["content"]) - 1)
            is_open = kind != "stop"
        self.assertFalse(is_open)
        return {**message, **delta["delta"], "usage": delta["usage"]}

    def both(self, **fields):
        """The message, the same with and without a stream but for what is drawn anew."""
        whole, stream = self.post(**fields).json(), self.joined(list(self.events(**fields)))
        for m in (whole, stream):
            m["ids"] = [b.pop("id") for b in m["content"] if b["type"] == "tool_use"]
            self.assertEqual(len(set(m["ids"])), len(m["ids"]))
            for i in m["ids"]:
                self.assertRegex(i, "^[a-z0-9]{9}$")
        self.assertEqual(stream["content"], whole["content"])
        self.assertEqual(stream["stop_reason"], whole["stop_reason"])
        self.assertEqual(stream["usage"]["output_tokens"], whole["usage"]["output_tokens"])
        return whole

    def test_calls(self):
        text = {"type": "text", "text": "I will look.\n"}
        calls = [{"type": "tool_use", "name": "weather", "input": WEATHER}, {"type": "tool_use", "name": "time", "input": {}}]
        got = self.both(script="<|call|>", tools=self.TOOLS)
        self.assertEqual((got["content"], got["stop_reason"]), ([text, *calls], "tool_use"))
        got = self.both(script="<|call|>", tools=self.TOOLS, thinking={"type": "adaptive"})
        self.assertEqual(got["content"], [{"type": "thinking", "thinking": "Ask them.", "signature": ""}, text, *calls])
        one = {"type": "auto", "disable_parallel_tool_use": True}
        self.assertEqual(self.both(script="<|call|>", tools=self.TOOLS, tool_choice=one)["content"], [text, calls[0]])
        only = {**self.TOOLS[1], "input_schema": {"type": "object", "additionalProperties": False}}
        for choice in ({"type": "any"}, {"type": "tool", "name": "time"}):
            got = self.both(script="<|call|>", tools=[only], tool_choice=choice, temperature=0)  # its white space would be drawn
            self.assertEqual((got["content"], got["stop_reason"]), (calls[1:], "tool_use"))
        for fields in ({}, {"tools": self.TOOLS, "tool_choice": {"type": "none"}}):
            got = self.both(script="<|call|>", **fields)
            self.assertEqual(got["content"], [{"type": "text", "text": SCRIPTS["<|call|>"].split("</think>\n\n")[1]}])
            self.assertEqual(got["stop_reason"], "end_turn")

    def test_thoughts(self):
        got = self.both(script="<|think|>", thinking={"type": "enabled", "budget_tokens": 1024})
        self.assertEqual(got["content"], [{"type": "thinking", "thinking": "Hm, what?", "signature": ""}, {"type": "text", "text": "It rains."}])
        self.assertEqual(self.both(script="<|think|>")["content"], [{"type": "text", "text": "It rains."}])

    def test_what_the_template_sees(self):
        got = self.seen(tools=self.TOOLS[:1])
        self.assertEqual(got["tools"], [{"type": "function", "function": {
            "name": "weather", "description": "…", "parameters": {"type": "object", "properties": {}}}}])
        self.assertFalse(got["thinking"])
        self.assertTrue(self.seen(thinking={"type": "enabled", "budget_tokens": 1})["thinking"])
        self.assertEqual(self.seen(tools=self.TOOLS, tool_choice={"type": "none"})["tools"], [])
        history = [
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm", "signature": ""}, {"type": "text", "text": "c"},
                {"type": "tool_use", "id": "1", "name": "f", "input": {"x": 1}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "d"}]},
                {"type": "text", "text": "show"}]},
        ]
        self.assertEqual(self.seen(messages=history, system="e"), [
            {"role": "system", "content": "e"},
            {"role": "user", "content": "ab"},
            {"role": "assistant", "content": "c", "reasoning_content": "Hm", "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]},
            {"role": "tool", "tool_call_id": "1", "name": "f", "content": "d"},
            {"role": "user", "content": "show"},
        ])


class ResponsesTest(DialectCase):
    PATH = "/v1/responses"

    def ask(self, tokens=20, **fields):
        return {"model": CHAT, "max_output_tokens": tokens, "input": PROMPT, **GREEDY, **fields}

    def text(self, events):
        return "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")

    def check_response(self, got, text, status):
        """A whole one."""
        message, = got["output"]
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        self.assertEqual(message, {"id": message["id"], "type": "message", "status": status, "role": "assistant", "content": [part]})
        self.assertTrue(message["id"].startswith("msg_"))
        self.assertEqual((got["object"], got["status"], got["model"], got["error"]), ("response", status, CHAT, None))
        self.assertEqual(got["incomplete_details"], {"reason": "max_output_tokens"} if status == "incomplete" else None)
        self.assertEqual((got["store"], got["previous_response_id"], got["tools"]), (False, None, []))
        self.assertTrue(got["id"].startswith("resp_"))
        self.assertLess(abs(got["created_at"] - time.time()), PATIENCE)

    def test_whole(self):
        got = self.post().json()
        self.check_response(got, self.completion(), "incomplete")
        usage = got["usage"]
        self.assertEqual((usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]), (6, 20, 26))
        self.assertEqual(usage["output_tokens_details"], {"reasoning_tokens": 0})
        self.assertIn("cached_tokens", usage["input_tokens_details"])
        ended = self.post(model="delay", input="1ms").json()
        self.assertEqual((ended["status"], ended["incomplete_details"]), ("completed", None))

    def test_stream(self):
        got = list(self.events())
        self.assertEqual([e["sequence_number"] for e in got], list(range(len(got))))
        kinds = [e["type"].removeprefix("response.") for e in got]
        self.assertEqual(kinds[:4], ["created", "in_progress", "output_item.added", "content_part.added"])
        self.assertEqual(kinds[-4:], ["output_text.done", "content_part.done", "output_item.done", "incomplete"])
        self.assertEqual(set(kinds[4:-4]), {"output_text.delta"})
        text = self.completion()
        self.assertEqual(self.text(got), text)
        for e in got[:2]:
            self.assertEqual((e["response"]["status"], e["response"]["output"], e["response"]["usage"]), ("in_progress", [], None))
        self.assertEqual((got[2]["item"]["content"], got[2]["item"]["status"], got[3]["part"]["text"]), ([], "in_progress", ""))
        self.assertEqual((got[-4]["text"], got[-3]["part"]["text"], got[-2]["item"]["content"][0]["text"]), (text,) * 3)
        self.check_response(got[-1]["response"], text, "incomplete")
        self.assertEqual(got[-1]["response"]["usage"]["output_tokens"], 20)
        ids = {e["item_id"] for e in got if "item_id" in e} | {got[2]["item"]["id"], got[-2]["item"]["id"]}
        self.assertEqual(ids, {got[-1]["response"]["output"][0]["id"]})
        self.assertEqual({e["response"]["id"] for e in got if "response" in e}, {got[0]["response"]["id"]})
        self.assertEqual({e["output_index"] for e in got if "output_index" in e}, {0})
        *_, last = self.events(model="delay", input="1ms")
        self.assertEqual((last["type"], last["response"]["status"]), ("response.completed", "completed"))

    def test_format(self):
        schema = {"type": "object", "properties": {"a": {"const": [1, "x"]}}, "required": ["a"], "additionalProperties": False}
        fields = {"text": {"format": {"type": "json_schema", "name": "x", "strict": True, "schema": schema}}, "tokens": 100}
        self.assertEqual(json.loads(self.post(**fields).json()["output"][0]["content"][0]["text"]), {"a": [1, "x"]})
        self.assertEqual(json.loads(self.text(list(self.events(**fields)))), {"a": [1, "x"]})
        text = self.post(text={"format": {"type": "json_object"}}, tokens=20).json()["output"][0]["content"][0]["text"]
        self.assertTrue(text.lstrip().startswith("{"), text)

    def test_input(self):
        said = self.completion("Once upon a time ")
        for fields in (
            {"instructions": "Once upon", "input": "a time"},
            {"instructions": "", "input": PROMPT},
            {"input": [{"role": "user", "content": PROMPT}]},
            {"input": [{"type": "message", "role": "developer", "content": "Once upon"}, {"role": "user", "content": "a time"}]},
            {
                "input": [
                    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Once"}]},
                    {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
                     "content": [{"type": "output_text", "text": "upon", "annotations": []}]},
                    {"role": "user", "content": "a time"},
                ]
            },
        ):
            self.assertEqual(self.post(**fields).json()["output"][0]["content"][0]["text"], said, fields)
        long = PROMPT + " there was a little girl" * 200
        self.post(400, input=long)
        self.post(input=long, truncation="auto")

    def test_refused(self):
        for fields, param in (
            ({"input": None}, "input"),
            ({"input": 5}, "input"),
            ({"input": []}, "input"),
            ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0]"),
            ({"input": [{"type": "function_call_output", "call_id": "1"}]}, "input[0]"),
            ({"input": [*MESSAGES, {"type": "function_call", "call_id": "1", "name": "f", "arguments": {}}]}, "input[1]"),
            ({"input": [{"type": "reasoning", "summary": []}]}, "input[0]"),
            ({"input": [{"type": "message", "content": "x"}]}, "input[0]"),
            ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0]"),
            ({"max_output_tokens": 0}, "max_output_tokens"),
            ({"top_p": 2}, "top_p"),
            ({"previous_response_id": "resp_1"}, "previous_response_id"),
            ({"conversation": "conv_1"}, "conversation"),
            ({"store": True}, "store"),
            ({"background": True}, "background"),
            ({"tools": [{"type": "web_search"}]}, "tools"),
            ({"tools": [{"type": "function"}]}, "tools"),
            ({"tool_choice": "required"}, "tool_choice"),
            ({"parallel_tool_calls": 1}, "parallel_tool_calls"),
            ({"include": ["message.output_text.logprobs"]}, "include"),
            ({"text": {"format": {"type": "cube"}}}, "text.format.type"),
            ({"text": {"format": "json"}}, "text.format"),
            ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
            ({"reasoning": {"summary": "auto"}}, "reasoning.summary"),
            ({"truncation": "some"}, "truncation"),
            ({"priority": "high"}, "priority"),
        ):
            self.assertEqual(self.post(400, **fields).param, param, fields)
        self.post(store=False, tools=[], previous_response_id=None, text={"format": {"type": "text"}}, truncation="disabled",
                  reasoning={"effort": None, "summary": None}, service_tier="flex")
        self.assertEqual(self.post(404, model="nothing").json()["error"]["code"], "model_not_found")

    def test_life(self):
        self.check_crash()
        self.check_gone()
        late = self.check_late()
        self.assertEqual((late["type"], late["response"]["status"]), ("response.failed", "failed"))
        self.assertIn("time ran out", late["response"]["error"]["message"])
        self.assertEqual(self.check_busy().json()["error"]["code"], "queue_full")


class ResponsesToolsTest(ToldCase):
    PATH = "/v1/responses"
    TOOLS = [
        {"type": "function", "name": name, "description": "…", "strict": True, "parameters": {"type": "object", "properties": {}}}
        for name in ("weather", "time")
    ]

    def ask(self, script="given", **fields):
        return {"model": "told", "input": script, **fields}

    def joined(self, events):
        """The items that a stream adds up to, which are those of its last response, each event being where it must."""
        self.assertEqual([e["sequence_number"] for e in events], list(range(len(events))))
        created, started, *events, last = events
        items, item = [], None
        for e in events:
            kind = e["type"].removeprefix("response.")
            if kind == "output_item.added":
                self.assertIsNone(item)
                item, text = dict(e["item"]), ""
                self.assertEqual((item["status"], item.get("arguments", "")), ("in_progress", ""))
            elif kind == "output_item.done":
                self.assertEqual(e["item"], {**item, "status": "completed"})
                items.append(e["item"])
                item = None
            elif kind == "content_part.added":
                self.assertEqual(e["part"]["text"], "")
            elif kind == "content_part.done":
                self.assertEqual(e["part"]["text"], text)
                item["content"] = [e["part"]]
            elif kind.endswith(".delta"):
                text += e["delta"]
            elif kind == "function_call_arguments.done":
                self.assertEqual(e["arguments"], text)
                item["arguments"] = text
            else:
                self.assertEqual((kind, e["text"]), ("output_text.done", text))
            self.assertEqual(e["output_index"], len(items) - (item is None))
            self.assertEqual(e.get("item_id", e.get("item", {}).get("id")), (item or items[-1])["id"])
        self.assertEqual(last["response"]["output"], items)
        return last["response"]

    def both(self, **fields):
        whole, stream = self.post(**fields).json(), self.joined(list(self.events(**fields)))
        for r in (whole, stream):
            ids = [i.pop("id") for i in r["output"]] + [i.pop("call_id") for i in r["output"] if "call_id" in i]
            self.assertEqual(len(set(ids)), len(ids))
        self.assertEqual(stream["output"], whole["output"])
        self.assertEqual(stream["status"], whole["status"])
        self.assertEqual(stream["usage"]["output_tokens_details"], whole["usage"]["output_tokens_details"])
        return whole

    def test_calls(self):
        def message(text):
            part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
            return {"type": "message", "status": "completed", "role": "assistant", "content": [part]}

        calls = [
            {"type": "function_call", "status": "completed", "name": n, "arguments": a}
            for n, a in (("weather", json.dumps(WEATHER, ensure_ascii=False, separators=(",", ":"))), ("time", "{}"))
        ]
        got = self.both(script="<|call|>", tools=self.TOOLS)
        self.assertEqual(got["output"], [message("I will look.\n"), *calls])
        self.assertGreater(got["usage"]["output_tokens_details"]["reasoning_tokens"], 1)
        got = self.both(script="<|call|>", tools=self.TOOLS, parallel_tool_calls=False)
        self.assertEqual(got["output"], [message("I will look.\n"), calls[0]])
        text = SCRIPTS["<|call|>"].split("</think>\n\n")[1]
        only = {**self.TOOLS[1], "parameters": {"type": "object", "additionalProperties": False}}
        for choice in ("required", {"type": "function", "name": "time"}):
            self.assertEqual(self.both(script="<|call|>", tools=[only], tool_choice=choice)["output"], calls[1:])
        for fields in ({}, {"tools": self.TOOLS, "tool_choice": "none"}):
            self.assertEqual(self.both(script="<|call|>", **fields)["output"], [message(text)])

    def test_what_the_template_sees(self):
        got = self.seen(tools=self.TOOLS[:1])
        self.assertEqual(got["tools"], [{"type": "function", "function": {
            "name": "weather", "description": "…", "parameters": {"type": "object", "properties": {}}}}])
        self.assertEqual(self.seen(script="show"), [{"role": "user", "content": "show"}])
        self.assertTrue(self.seen(reasoning={"effort": "low"})["thinking"])
        self.assertFalse(self.seen(reasoning={"effort": "none"})["thinking"])
        call = {"type": "function_call", "name": "f", "arguments": '{"x": 1}'}
        history = [
            {"role": "user", "content": "a"}, {**call, "call_id": "1"}, {**call, "call_id": "2", "arguments": ""},
            {"type": "function_call_output", "call_id": "2", "output": "b"},
            {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "c"}]},
            {"role": "user", "content": "show"},
        ]

        def seen_call(i, **arguments):
            return {"id": i, "type": "function", "function": {"name": "f", "arguments": arguments}}

        self.assertEqual(self.seen(input=history), [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "", "tool_calls": [seen_call("1", x=1), seen_call("2")]},
            {"role": "tool", "tool_call_id": "2", "name": "f", "content": "b"},
            {"role": "tool", "tool_call_id": "1", "name": "f", "content": "c"},
            {"role": "user", "content": "show"},
        ])


if __name__ == "__main__":
    main(needs_data=True)
