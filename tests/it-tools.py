#!/usr/bin/env python3
"""Tools and thoughts through both dialects, with models that surely write what the test wants (scripted.py)."""

import contextlib
import json
import os
import signal
import sys

sys.dont_write_bytecode = True
import scripted  # noqa: E402
from harness import SANITIZED, Case, figure, main, wait_until  # noqa: E402

OPENAI, OLLAMA = "/v1/chat/completions", "/api/chat"


def calls(*all_of_them, mark="<tool_call>\n{}\n</tool_call>", key="arguments"):
    return "\n".join(mark.replace("{}", json.dumps({"name": name, key: a}, ensure_ascii=False)) for name, a in all_of_them)


WEATHER, TIME = ("get_weather", {"city": "Zürich", "days": [1, 2.5], "exact": None}), ("get_time", {})
LONG = ("write", {"text": " ".join(f"{i * 7919 % 10007} is the number {i}," for i in range(100 if SANITIZED else 250))})
BROKEN = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich}}\n</tool_call>'

# The last message says which.
QWEN = {
    "<|plain|>": "A day like any other.",
    "<|think|>": "<think>\nHm, what <now>?\n</think>\n\nIt rains.",
    "<|call|>": "<think>\nAsk them.\n</think>\n\nI will look.\n" + calls(WEATHER),
    "<|two|>": calls(TIME, WEATHER) + "\n",
    "<|broken|>": "Now: " + BROKEN + " so!",
    "<|cut|>": calls(WEATHER)[:50],
    "<|ponder|>": "<think>\n" + LONG[1]["text"][::-1] + "\n</think>\n\nSo.\n" + calls(TIME).replace(" ", "  "),
    "<|long|>": "I will write it down.\n" + calls(LONG),
}
LLAMA = {
    "<|plain|>": "{ is how JSON begins, but this is none",
    "<|call|>": calls(WEATHER, mark="{}", key="parameters"),
    "<|two|>": calls(TIME, WEATHER, mark="<|python_tag|>{};", key="parameters").replace("\n<|python_tag|>", " ")[:-1],
    "<|broken|>": '{"name": "get_weather", "age": 7}',
}
MISTRAL = {
    "<|plain|>": "No brackets [here].",
    "<|call|>": "[TOOL_CALLS]" + json.dumps([{"name": WEATHER[0], "arguments": WEATHER[1]}]),
    "<|named|>": "Look:[TOOL_CALLS]get_time[ARGS]{}",
}

# Says what it wants; what it does not get is an error. The marks are what tells the family.
CHECK = """
{%- macro need(right, what) %}{% if not right %}{{ raise_exception('wanted ' ~ what) }}{% endif %}{% endmacro %}
{%- for m in messages %}
{%- for c in m.tool_calls or [] %}
{{- need(c.function.arguments is mapping and c.id is string and c.type == 'function', 'a call') }}
{%- endfor %}
{%- if m.role == 'tool' %}{{ need(m.name == 'get_weather' and m.tool_call_id is string, 'a result') }}{% endif %}
{%- endfor %}
{%- if tools %}{{ need(tools[0].type == 'function' and tools[0].function.parameters.properties.city is mapping, 'a tool') }}{% endif %}
{{- messages[-1].content }}"""
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "…",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": []},
        },
    }
    for name in ("get_weather", "get_time")
]
MARKS = {
    "qwen": ("{# <tool_call> <think> </think> #}", QWEN, ()),
    "llama": ('{# {"name": function name, "parameters": x} #}', LLAMA, ("<|python_tag|>",)),
    "mistral": ("{# [TOOL_CALLS] #}", MISTRAL, ("[ARGS]",)),
}


def joined(chunks):
    """What the deltas of a stream make: the message, and why it ended."""
    message, reason = {}, None
    for choice in (c["choices"][0] for c in chunks if c["choices"]):
        assert reason is None, "a delta after the end"
        delta, reason = choice["delta"], choice["finish_reason"]
        for key in ("role", "content", "reasoning_content"):
            if key in delta:
                message[key] = message.get(key, "") + delta[key]
        for call in delta.get("tool_calls", ()):
            assert call["index"] == len(message.setdefault("tool_calls", []))
            message["tool_calls"].append({k: v for k, v in call.items() if k != "index"})
    return message, reason


class ToolsCase(Case):
    CONFIG = {"limits": {"restarts": 100}}
    MODELS = ()

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for name, (shown, scripts, marks) in MARKS.items():
            cls.add(name, CHECK + shown, scripts, marks)

    @classmethod
    def add(cls, name, template, scripts, marks=(), **kw):
        scripted.write(os.path.join(cls.d.models, name + ".gguf"), template, scripts, marks, **kw)

    def body(self, model, script, tools=TOOLS, **fields):
        return {"model": model, "messages": [{"role": "user", "content": script}], "tools": tools, **fields}

    def openai(self, *a, **kw):
        """A choice, after making sure that a stream says the same."""
        body = self.body(*a, **kw)
        whole = self.assertStatus(self.d.post(OPENAI, {**body, "stream": False}), 200).json()
        chunks = list(self.d.stream(OPENAI, {**body, "stream_options": {"include_usage": True}}))
        message, reason = joined(chunks)
        choice = whole["choices"][0]
        self.assertEqual(chunks[-1]["usage"]["completion_tokens"], whole["usage"]["completion_tokens"])
        self.assertEqual(reason, choice["finish_reason"])
        for key in ("content", "reasoning_content"):
            self.assertEqual(message.get(key) or None, choice["message"].get(key) or None)
        self.assertEqual(
            [c["function"] for c in message.get("tool_calls", ())],
            [c["function"] for c in choice["message"].get("tool_calls", ())],
        )
        return choice

    def ollama(self, *a, path=OLLAMA, **kw):
        """The last object, with the message of the whole, after making sure that a stream says the same."""
        body = self.body(*a, **kw)
        whole = self.assertStatus(self.d.post(path, {**body, "stream": False}), 200).json()
        message = {"role": "assistant", "content": ""}
        for chunk in self.d.stream(path, body):
            for key, value in chunk["message"].items():
                if key != "role":
                    message[key] = message[key] + value if key in message else value
        self.assertEqual(message, whole["message"])
        self.assertEqual(chunk["eval_count"], whole["eval_count"])
        return whole

    def check_calls(self, model, script, expected, content, thinking=None):
        choice = self.openai(model, script)
        message = choice["message"]
        self.assertEqual(choice["finish_reason"], "tool_calls")
        self.assertEqual(message["content"], content or None)
        self.assertEqual(message.get("reasoning_content"), thinking)
        self.assertEqual(
            [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in message["tool_calls"]], expected
        )
        ids = [c["id"] for c in message["tool_calls"]]
        self.assertEqual(len(set(ids)), len(ids))
        for c in message["tool_calls"]:
            self.assertEqual(set(c), {"id", "type", "function"})
            self.assertEqual(c["type"], "function")
            self.assertRegex(c["id"], "^[a-z0-9]{9}$")
        got = self.ollama(model, script)
        self.assertEqual(got["done_reason"], "stop")
        self.assertEqual(got["message"]["content"], content)
        self.assertEqual(got["message"].get("thinking"), thinking)
        self.assertEqual(
            got["message"]["tool_calls"],
            [{"function": {"index": i, "name": n, "arguments": a}} for i, (n, a) in enumerate(expected)],
        )

    def check_text(self, model, script, text, thinking=None, reason="stop", tools=TOOLS, **fields):
        choice = self.openai(model, script, tools, **fields)
        self.assertEqual(choice["finish_reason"], reason)
        self.assertEqual(choice["message"]["content"], text)
        self.assertEqual(choice["message"].get("reasoning_content"), thinking)
        self.assertNotIn("tool_calls", choice["message"])
        message = self.ollama(model, script, tools, options={"num_predict": fields.get("max_tokens", -1)})["message"]
        self.assertEqual(message["content"], text)
        self.assertEqual(message.get("thinking"), thinking)
        self.assertNotIn("tool_calls", message)


class CallsTest(ToolsCase):
    def test_families(self):
        self.check_calls("qwen", "<|call|>", [WEATHER], "I will look.\n", "Ask them.")
        self.check_calls("qwen", "<|two|>", [TIME, WEATHER], "")
        self.check_calls("llama", "<|call|>", [WEATHER], "")
        self.check_calls("llama", "<|two|>", [TIME, WEATHER], "")
        self.check_calls("mistral", "<|call|>", [WEATHER], "")
        self.check_calls("mistral", "<|named|>", [TIME], "Look:")

    def test_channels(self):
        """gpt-oss's messages, of which a scripted model can write one only."""
        shown, marks = "{# <|channel|> <|message|> #}", ("<|channel|>", "<|message|>", "<|constrain|>", "<|end|>")
        arguments = json.dumps(WEATHER[1], ensure_ascii=False)
        call = f"<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{arguments}"
        self.add("oss", CHECK + shown, {"<|1|>": call}, marks)
        self.check_calls("oss", "<|1|>", [WEATHER], "")
        self.add("oss-thinks", CHECK + shown, {"<|1|>": "<|channel|>analysis<|message|>Hm, what <now>?<|end|>"}, marks)
        self.check_text("oss-thinks", "<|1|>", "", "Hm, what <now>?")
        self.add("oss-says", CHECK + shown, {"<|1|>": "<|channel|>final<|message|>It rains."}, marks)
        self.check_text("oss-says", "<|1|>", "It rains.")
        self.check_text("oss-says", "<|1|>", "It rains.", tools=None)
        for choice in ("required", {"type": "function", "function": {"name": "get_time"}}):
            a = self.assertStatus(self.d.post(OPENAI, self.body("oss", "<|1|>", tool_choice=choice)), 400)
            self.assertIn("model oss cannot be made to call; auto and none are possible", a.text)
        a = self.assertStatus(self.d.post("/api/show", {"model": "oss"}), 200)
        self.assertEqual(a.json()["capabilities"], ["completion", "tools", "thinking"])

    def test_no_calls(self):
        for model in MARKS:
            self.check_text(model, "<|plain|>", MARKS[model][1]["<|plain|>"])
        self.check_text("qwen", "<|broken|>", QWEN["<|broken|>"])
        self.check_text("qwen", "<|cut|>", QWEN["<|cut|>"])
        self.check_text("llama", "<|broken|>", LLAMA["<|broken|>"])
        self.check_text("qwen", "<|two|>", QWEN["<|two|>"][:18], reason="length", max_tokens=4)

    def test_without_tools(self):
        """What would be a call is text where there are no tools, and control tokens are none."""
        for fields in ({"tools": None}, {"tools": []}, {"tool_choice": "none"}):
            message = self.openai("llama", "<|call|>", **fields)["message"]
            self.assertEqual(message["content"], LLAMA["<|call|>"])
            self.assertEqual(self.openai("mistral", "<|named|>", **fields)["message"]["content"], "Look:[TOOL_CALLS]get_time{}")
        self.assertEqual(self.ollama("llama", "<|call|>", tools=None)["message"]["content"], LLAMA["<|call|>"])

    def test_one_at_most(self):
        for parallel, n in ((True, 2), (False, 1)):
            message = self.openai("qwen", "<|two|>", parallel_tool_calls=parallel)["message"]
            self.assertEqual(len(message["tool_calls"]), n)

    def test_choices_and_logprobs(self):
        for stream in (False, True):
            body = self.body("qwen", "<|call|>", n=3, logprobs=True, stream=stream)
            if stream:
                chunks = list(self.d.stream(OPENAI, body))
                parts = [c["choices"][0] for c in chunks]
                ids = [t["id"] for p in parts for t in p["delta"].get("tool_calls", ())]
                logprobs = [t for p in parts if p["index"] == 1 and p["logprobs"] for t in p["logprobs"]["content"]]
            else:
                choices = self.assertStatus(self.d.post(OPENAI, body), 200).json()["choices"]
                ids = [t["id"] for c in choices for t in c["message"]["tool_calls"]]
                logprobs = choices[1]["logprobs"]["content"]
            self.assertEqual(len(set(ids)), 3)
            self.assertEqual("".join(t["token"] for t in logprobs), QWEN["<|call|>"])
        got = self.ollama("qwen", "<|call|>", logprobs=True)
        self.assertEqual("".join(t["token"] for t in got["logprobs"]), QWEN["<|call|>"])

    def test_engine_dies(self):
        """Amid a call, and amid thoughts: what was held back is not lost, and nothing comes twice."""
        before = self.d.metrics()["zerollama_job_restarts_total"]
        undisturbed = {script: self.openai("qwen", script)["message"] for script in ("<|long|>", "<|ponder|>")}
        written = undisturbed["<|long|>"]["tool_calls"][0]["function"]["arguments"]
        self.assertEqual(json.loads(written), LONG[1])
        for script in [*undisturbed] * 5:
            stream, chunks = self.d.stream(OPENAI, self.body("qwen", script)), []
            for chunk in stream:
                chunks.append(chunk)
                if len(chunks) == 3:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(self.d.engine_pid(), signal.SIGKILL)
            message, reason = joined(chunks)
            self.assertTrue(stream.done)
            self.assertEqual(reason, "tool_calls")
            for key in ("content", "reasoning_content"):
                self.assertEqual(message.get(key), undisturbed[script].get(key))
            self.assertEqual(message["tool_calls"][0]["function"], undisturbed[script]["tool_calls"][0]["function"])
        restarted = self.d.metrics()["zerollama_job_restarts_total"] - before
        self.assertGreater(restarted, 0)
        figure(f"{restarted:.0f} of 10 engines killed amid a call or thoughts, all answers whole")

    def test_required(self):
        """The model would write something else, but has no choice; what is wanted of the arguments is so, too."""
        city = {"$defs": {"city": {"enum": ["Bern", "Zürich"]}}, "type": "object", "additionalProperties": False,
                "properties": {"city": {"$ref": "#/$defs/city"}, "days": {"type": "boolean"}}, "required": ["city", "days"]}
        nothing = {"type": "object", "properties": {"day": {"const": "to \"day\""}}, "required": ["day"]}
        tools = [{"type": "function", "function": {"name": n, "parameters": p}} for n, p in (("get_weather", city), ("get_time", nothing))]
        self.add("slow", "{{ messages[-1].content }}<think>{# <tool_call> </think> tools #}", {"<|plain|>": "Text."})
        wait_until(lambda: self.d.post(OPENAI, self.body("slow", "x", tools=None)).status != 404, "the model to be found")
        seen = set()
        for model in (*MARKS, "slow"):
            for choice in ("required", "get_weather", "get_time"):
                named = {"type": "function", "function": {"name": choice}}
                for tries in range(2 if SANITIZED else 4):
                    got = self.openai(model, "x" + "y" * tries, tools, tool_choice=choice if choice == "required" else named, seed=tries,
                                      max_tokens=300, temperature=0)
                    message = got["message"]
                    self.assertEqual((got["finish_reason"], message["content"], len(message["tool_calls"])), ("tool_calls", None, 1))
                    function = message["tool_calls"][0]["function"]
                    arguments = json.loads(function["arguments"])
                    if choice != "required":
                        self.assertEqual(function["name"], choice)
                    if function["name"] == "get_weather":
                        self.assertIn(arguments["city"], ("Bern", "Zürich"))
                        self.assertEqual((set(arguments), type(arguments["days"])), ({"city", "days"}, bool))
                    else:
                        self.assertEqual(arguments, {"day": 'to "day"'})
                    seen.add((model, function["name"]))
        self.assertEqual(len(seen), 8)
        for model, begun in (("qwen", "<tool_call>\n"), ("llama", ""), ("mistral", "[TOOL_CALLS]"), ("slow", "</think>\n\n<tool_call>\n")):
            n = [
                self.d.post(OPENAI, self.body(model, "x", tools, tool_choice=c, max_tokens=1)).json()["usage"]["prompt_tokens"]
                for c in ("auto", "required")
            ]
            self.assertEqual(n[1] - n[0], len(begun), "the prompt begins the call; here a byte is a token")

    def test_conversation(self):
        """Both dialects' ways to say what was called and what came of it."""
        result = '{"temp": -3.5} <|plain|>'
        asked = {"role": "user", "content": "The weather?"}
        call = self.openai("qwen", "<|call|>")["message"]["tool_calls"][0]
        for content in (None, ""):
            answer = self.d.post(
                OPENAI,
                {
                    "model": "qwen",
                    "tools": TOOLS,
                    "messages": [
                        asked,
                        {"role": "assistant", "content": content, "tool_calls": [call], "refusal": None, "function_call": None},
                        {"role": "tool", "content": result, "tool_call_id": call["id"]},
                    ],
                },
            )
            self.assertEqual(self.assertStatus(answer, 200).json()["choices"][0]["message"]["content"], QWEN["<|plain|>"])
        message = self.ollama("qwen", "<|call|>")["message"]
        for name in ({"tool_name": "get_weather"}, {}):
            body = {"model": "qwen", "tools": TOOLS, "stream": False,
                    "messages": [asked, message, {"role": "tool", "content": result, **name}]}
            self.assertEqual(self.assertStatus(self.d.post(OLLAMA, body), 200).json()["message"]["content"], QWEN["<|plain|>"])

    def test_refused(self):
        for name, template, words in (
            ("deaf", CHECK.replace("tools", "utensils"), "model deaf does not support tools: its chat template does not take any"),
            ("foreign", CHECK, "model foreign does not support tools: it writes calls in a way that is not understood here"),
        ):
            self.add(name, template, {"<|plain|>": "Text."})
            wait_until(lambda n=name: self.d.post(OPENAI, self.body(n, "x")).status != 404, "the model to be found")
            for path in (OPENAI, OLLAMA):
                self.assertIn(words, self.assertStatus(self.d.post(path, self.body(name, "<|plain|>")), 400).error)
                answer = self.d.post(path, self.body(name, "<|plain|>", tools=None, stream=False))
                self.assertStatus(answer, 200)
        for fields in (
            *({"tool_choice": choice} for choice in ("any", 7, {}, {"type": "function", "function": {"name": "get_none"}})),
            {"tool_choice": "required", "tools": None},
            {"tool_choice": "required", "tools": []},
            {"tool_choice": "required", "response_format": {"type": "json_object"}},
        ):
            a = self.assertStatus(self.d.post(OPENAI, self.body("qwen", "<|call|>") | fields), 400)
            self.assertEqual(a.json()["error"]["param"], "tool_choice")
        unknown = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "not": {"required": ["x"]}}}}]
        a = self.assertStatus(self.d.post(OPENAI, self.body("qwen", "x", tools=unknown, tool_choice="required")), 400)
        self.assertIn("tool_choice", a.error)
        self.assertIn("not", a.error)
        for tools in ("x", [7], [{"type": "function"}], [{"type": "web_search"}], [{**TOOLS[0], "type": "custom"}]):
            for path in (OPENAI, OLLAMA):
                a = self.assertStatus(self.d.post(path, self.body("qwen", "<|call|>", tools=tools)), 400)
                self.assertIn("tools", a.error)

    def test_template_of_its_own(self):
        """Some models have one for chats with tools."""
        self.add("two", "{{ messages[-1].content }}", QWEN, for_tools=CHECK + MARKS["qwen"][0])
        wait_until(lambda: self.d.post(OPENAI, self.body("two", "x")).status != 404, "the model to be found")
        self.check_calls("two", "<|two|>", [TIME, WEATHER], "")
        self.assertEqual(self.openai("two", "<|two|>", tools=None)["message"]["content"], QWEN["<|two|>"])
        self.assertIn("tools", self.d.post("/api/show", {"model": "two"}).json()["capabilities"])

    def test_capabilities(self):
        for model, expected in (("qwen", ["completion", "tools", "thinking"]), ("llama", ["completion", "tools"])):
            self.assertEqual(self.d.post("/api/show", {"model": model}).json()["capabilities"], expected)


class ThinkingTest(ToolsCase):
    def test_thoughts(self):
        self.check_text("qwen", "<|think|>", "It rains.", "Hm, what <now>?")
        self.check_text("llama", "<|plain|>", LLAMA["<|plain|>"])
        body = {"model": "qwen", "prompt": "<|think|>", "stream": False}
        got = self.assertStatus(self.d.post("/api/generate", body), 200).json()
        self.assertEqual((got["response"], got["thinking"]), ("It rains.", "Hm, what <now>?"))
        got = list(self.d.stream("/api/generate", body | {"stream": True}))
        self.assertEqual("".join(c["response"] for c in got), "It rains.")
        self.assertEqual("".join(c.get("thinking", "") for c in got), "Hm, what <now>?")
        raw = self.assertStatus(self.d.post("/api/generate", {**body, "raw": True}), 200).json()
        self.assertEqual(raw["response"], QWEN["<|think|>"])

    def test_begun_by_the_prompt(self):
        self.add("r1", "{{ messages[-1].content + '<think>\\n' }}", {"\n": "So it is.\n</think>\n\nYes."})
        wait_until(lambda: self.d.post(OPENAI, self.body("r1", "x", tools=None)).status != 404, "the model to be found")
        self.check_text("r1", "x", "Yes.", "So it is.", tools=None)
        got = self.ollama("r1", "x", tools=None, options={"num_predict": 2})["message"]
        self.assertEqual((got["content"], got["thinking"]), ("", "So it is"))

    def test_asked_for(self):
        """How each dialect asks, and what the template sees of it."""
        template = "{{ raise_exception([enable_thinking, thinking, reasoning_effort] | map('default', '-') | join(' ')) }}{# </think> #}"
        self.add("echo", template, {"<|1|>": "Text."})
        wait_until(lambda: self.d.post(OPENAI, self.body("echo", "x", tools=None)).status != 404, "the model to be found")
        for path, fields, seen in (
            (OLLAMA, {}, "- - -"),
            (OLLAMA, {"think": True}, "True True -"),
            (OLLAMA, {"think": "high"}, "True True high"),
            (OLLAMA, {"think": False}, "False False -"),
            ("/api/generate", {"think": False, "prompt": "x"}, "False False -"),
            (OPENAI, {}, "- - -"),
            (OPENAI, {"reasoning_effort": "low"}, "True True low"),
            (OPENAI, {"reasoning_effort": "none"}, "False False -"),
            (OPENAI, {"chat_template_kwargs": {"enable_thinking": False}}, "False - -"),
            (OPENAI, {"chat_template_kwargs": {"thinking": False}, "reasoning_effort": "low"}, "True False low"),
        ):
            with self.subTest(path=path, fields=fields):
                a = self.assertStatus(self.d.post(path, {**self.body("echo", "x", tools=None), **fields}), 400)
                self.assertIn(": " + seen, a.error)
        self.assertStatus(self.d.post(OLLAMA, self.body("qwen", "<|think|>", think=True, stream=False)), 200)
        for think in (True, "high"):
            for path, extra in ((OLLAMA, {}), ("/api/generate", {"prompt": "<|plain|>"})):
                a = self.d.post(path, {**self.body("llama", "<|plain|>", think=think, tools=None), **extra})
                self.assertIn("model llama does not support thinking", self.assertStatus(a, 400).error)
        for think in (7, [], {}):
            self.assertIn("think", self.assertStatus(self.d.post(OLLAMA, self.body("qwen", "<|think|>", think=think)), 400).error)


if __name__ == "__main__":
    main()
