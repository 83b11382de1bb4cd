#!/usr/bin/env python3
"""Variants of models, and the routes that change what is in models_path: what a variant says counts in every dialect, what a request
says goes before it, and a file is there whole or as it was."""

import http.client
import json
import os
import shutil
import sys
import threading
import time

sys.dont_write_bytecode = True
from harness import (  # noqa: E402
    BABY, CHAT, PATIENCE, PROMPT, SRC, STORIES, Case, free_port, in_parallel, main, wait_until,
)

SYSTEM = "Lily is a cat."
EARLIER = [{"role": "user", "content": "Tom ran."}, {"role": "assistant", "content": "To the park."}]
MESSAGES = [{"role": "user", "content": PROMPT}]
OTHER = [{"role": "system", "content": "Be a dog."}] + MESSAGES
SYSTEM_MESSAGE = {"role": "system", "content": SYSTEM}
CHANGES = (
    ("POST", "/api/create", {"model": "w", "from": STORIES}),
    ("POST", "/api/copy", {"source": STORIES, "destination": "w"}),
    ("DELETE", "/api/delete", {"model": "v"}),
    ("DELETE", "/api/delete", {"model": STORIES}),
)


class VariantCase(Case):
    def create(self, name="v", status=200, d=None, **fields):
        return self.assertStatus((d or self.d).post("/api/create", {"model": name, **fields}), status)

    def delete(self, name, status=200, d=None):
        return self.assertStatus((d or self.d).request("DELETE", "/api/delete", {"model": name}), status)

    def names(self, d=None):
        return [m["name"] for m in (d or self.d).get("/api/tags").json()["models"]]

    def path(self, name, d=None):
        return os.path.join((d or self.d).models, name)

    def file(self, name):
        with open(self.path(name + ".json"), encoding="utf-8") as f:
            return json.load(f)


class WordsTest(VariantCase):
    """Its words before those of a request."""

    CONFIG = {}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.d.post("/api/create", {"model": "v", "from": CHAT, "system": SYSTEM, "messages": EARLIER,
                                   "parameters": {"temperature": 0, "num_predict": 7, "repeat_penalty": 1}})
        cls.d.post("/api/create", {"model": "said", "from": CHAT, "messages": EARLIER})

    def tokens(self, model, messages):
        return self.assertStatus(self.d.post("/tokenize", {"model": model, "messages": messages}), 200).json()["tokens"]

    def test_words(self):
        for asked, told in (
            (("v", MESSAGES), [SYSTEM_MESSAGE, *EARLIER, *MESSAGES]),
            (("v", OTHER), [OTHER[0], *EARLIER, *MESSAGES]),
            (("said", MESSAGES), EARLIER + MESSAGES),
            (("said", OTHER), [OTHER[0], *EARLIER, *MESSAGES]),
        ):
            self.assertEqual(self.tokens(*asked), self.tokens(CHAT, told), asked)
        self.assertNotEqual(self.tokens("v", MESSAGES), self.tokens("v", OTHER))

    def test_every_dialect(self):
        """The same prompt and the same answer as when the request says all of it itself."""
        told = [SYSTEM_MESSAGE, *EARLIER, *MESSAGES]
        options = {"temperature": 0, "num_predict": 7, "repeat_penalty": 1}

        def ask(path, read, **body):
            return read(self.assertStatus(self.d.post(path, body), 200).json())

        def ollama(o):
            return o["message"]["content"], o["prompt_eval_count"], o["eval_count"]

        def openai(o):
            return o["choices"][0]["message"]["content"], o["usage"]["prompt_tokens"], o["usage"]["completion_tokens"]

        def anthropic(o):
            u = o["usage"]
            return o["content"][0]["text"], u["input_tokens"] + u["cache_read_input_tokens"], u["output_tokens"]

        def responses(o):
            return o["output"][0]["content"][0]["text"], o["usage"]["input_tokens"], o["usage"]["output_tokens"]

        wanted = ask("/api/chat", ollama, model=CHAT, messages=told, stream=False, options=options)
        self.assertEqual(wanted[2], 7)
        self.assertEqual(ask("/api/chat", ollama, model="v", messages=MESSAGES, stream=False), wanted)
        self.assertEqual(ask("/v1/chat/completions", openai, model="v", messages=MESSAGES), wanted)
        self.assertEqual(ask("/v1/messages", anthropic, model="v", messages=MESSAGES, max_tokens=7), wanted)
        self.assertEqual(ask("/v1/responses", responses, model="v", input=PROMPT), wanted)
        generated = ask("/api/generate", lambda o: (o["response"], o["prompt_eval_count"], o["eval_count"]),
                        model="v:latest", prompt=PROMPT, stream=False)
        self.assertEqual(generated, wanted)
        stream = self.d.stream("/v1/chat/completions", {"model": "v", "messages": MESSAGES})
        self.assertEqual(stream.text(), wanted[0])
        counted = self.d.post("/v1/messages/count_tokens", {"model": "v", "messages": MESSAGES}).json()
        self.assertEqual(counted["input_tokens"], wanted[1])
        # A system's message of the request's own stands in its place, however it is said.
        own = ask("/api/chat", ollama, model="v", messages=OTHER, stream=False)
        self.assertNotEqual(own[1], wanted[1])
        self.assertEqual(ask("/v1/messages", anthropic, model="v", messages=MESSAGES, system="Be a dog.", max_tokens=7), own)
        self.assertEqual(ask("/v1/responses", responses, model="v", input=PROMPT, instructions="Be a dog."), own)
        self.assertEqual(ask("/api/generate", lambda o: (o["response"], o["prompt_eval_count"], o["eval_count"]),
                             model="v", prompt=PROMPT, system="Be a dog.", stream=False), own)

    def test_no_conversation(self):
        """Its words are for conversations; its parameters for everything."""
        a = self.d.post("/v1/completions", {"model": "v", "prompt": PROMPT}).json()
        b = self.d.post("/v1/completions", {"model": CHAT, "prompt": PROMPT, "temperature": 0, "max_tokens": 7}).json()
        self.assertEqual((a["choices"], a["usage"]["completion_tokens"]), (b["choices"], 7))
        raw = self.d.post("/api/generate", {"model": "v", "prompt": PROMPT, "raw": True, "stream": False}).json()
        self.assertEqual((raw["eval_count"], raw["prompt_eval_count"]), (7, b["usage"]["prompt_tokens"]))

    def test_parameters(self):
        """A request's go before a variant's, one by one; lists are not added to each other."""
        text = self.d.complete(model=STORIES, max_tokens=24)
        stops = text[6:9], text[12:15]
        self.create("stops", **{"from": STORIES}, 
                    parameters={"temperature": 0, "stop": stops[1], "num_predict": 24, "repeat_penalty": 1})

        def complete(**fields):
            return self.d.post("/v1/completions", {"model": "stops", "prompt": PROMPT, **fields}).json()["choices"][0]

        self.assertEqual(complete()["text"], text[: text.index(stops[1])])
        self.assertEqual(complete(stop=stops[0])["text"], text[: text.index(stops[0])])
        self.assertEqual(complete(stop=[])["text"], text)
        self.assertEqual(complete(stop=[], max_tokens=3)["finish_reason"], "length")
        drawn = {complete(temperature=2, seed=i)["text"] for i in range(4)}
        self.assertGreater(len(drawn), 1)
        self.create("seeded", **{"from": STORIES}, parameters={"temperature": 2, "seed": 42, "num_predict": 24})

        def say(**options):
            body = {"model": "seeded", "prompt": PROMPT, "stream": False, "raw": True, "options": options}
            return self.d.post("/api/generate", body).json()["response"]

        self.assertEqual(len({say() for _ in range(4)}), 1)
        self.assertGreater(len({say(seed=-1) for _ in range(6)}), 1)  # "any", as Ollama writes it
        a = self.d.post("/api/generate", {"model": "stops", "prompt": PROMPT, "stream": False, "raw": True}).json()
        self.assertEqual(a["response"], text[: text.index(stops[1])])

    def test_one_in_memory(self):
        for model in (CHAT, "v", "said"):
            self.assertStatus(self.d.post("/api/chat", {"model": model, "messages": MESSAGES, "stream": False}), 200)
        loaded = [m["name"] for m in self.d.get("/api/ps").json()["models"]]
        self.assertEqual(loaded.count(CHAT + ":latest"), 1)
        self.assertFalse({"v:latest", "said:latest"} & set(loaded))

    def test_told(self):
        tags = {m["name"]: m for m in self.d.get("/api/tags").json()["models"]}
        v, base = tags["v:latest"], tags[CHAT + ":latest"]
        self.assertEqual((v["size"], v["model"], v["details"]["parent_model"]), (base["size"], "v:latest", CHAT))
        self.assertNotEqual(v["digest"], base["digest"])
        self.assertIn("v", [m["id"] for m in self.d.get("/v1/models").json()["data"]])
        self.assertEqual(self.d.get("/v1/models/v").json()["id"], "v")
        shown = self.d.post("/api/show", {"model": "v"}).json()
        self.assertEqual((shown["system"], shown["messages"]), (SYSTEM, EARLIER))
        self.assertEqual(shown["details"]["parent_model"], CHAT)
        lines = [line.split() for line in shown["parameters"].splitlines()]
        self.assertEqual(lines, [["temperature", "0"], ["num_predict", "7"], ["repeat_penalty", "1"]])
        self.assertNotIn("system", self.d.post("/api/show", {"model": CHAT}).json())
        answer = self.d.post("/api/chat", {"model": "v", "messages": MESSAGES, "stream": False}).json()
        self.assertEqual(answer["model"], "v")


class FilesTest(VariantCase):
    """What is made, copied and deleted."""

    CONFIG = {"models": [{"name": "named", "path": STORIES + ".gguf", "aliases": ["gpt-4o"]}]}

    def test_made_again(self):
        self.create(**{"from": STORIES}, system="a", parameters={"top_k": 3, "temperature": 0.1}, license="free", other=[1])
        self.assertEqual(self.file("v"), {"from": STORIES, "system": "a", "license": "free",
                                          "parameters": {"top_k": 3, "temperature": 0.1}})
        self.assertEqual(os.stat(self.path("v.json")).st_mode & 0o777, 0o644)
        # Of a variant: what that says, and what is said now, of what that is of.
        self.create("w", **{"from": "v:latest"}, parameters={"temperature": 1}, messages=EARLIER)
        self.assertEqual(self.file("w"), {"from": STORIES, "system": "a", "license": "free", "messages": EARLIER,
                                          "parameters": {"top_k": 3, "temperature": 1}})
        self.create(**{"from": "gpt-4o"})
        self.assertEqual(self.file("v"), {"from": "named"})
        self.create("w:latest", **{"from": "w"}, system="b")  # of itself
        self.assertEqual(self.file("w")["system"], "b")
        self.delete("v")
        self.delete("w:latest")
        self.assertFalse({"v:latest", "w:latest"} & set(self.names()))
        self.assertEqual([n for n in os.listdir(self.d.models) if n.startswith((".", "v", "w"))], [])

    def test_as_older_clients_say_it(self):
        self.assertStatus(self.d.post("/api/create", {"name": "old", "from": STORIES, "stream": False}), 200)
        self.assertStatus(self.d.request("DELETE", "/api/delete", {"name": "old"}), 200)
        self.delete("old", 404)

    def test_licenses(self):
        """Ollama's command sends a list, and expects a text."""
        self.create(**{"from": STORIES}, license=["one", "two"])
        self.assertEqual(self.file("v")["license"], ["one", "two"])
        self.assertEqual(self.d.post("/api/show", {"model": "v"}).json()["license"], "one\ntwo")
        self.delete("v")

    def test_copy(self):
        def copy(status=200, **body):
            return self.assertStatus(self.d.post("/api/copy", body), status)

        copy(source=STORIES, destination="gpt-3.5-turbo")
        self.assertEqual(self.file("gpt-3.5-turbo"), {"from": STORIES})
        self.assertEqual(self.d.complete(model="gpt-3.5-turbo", max_tokens=8), self.d.complete(max_tokens=8))
        self.create(**{"from": STORIES}, system="a")
        copy(source="v", destination="x")
        self.delete("v")  # which the copy does not need
        self.assertEqual(self.file("x"), {"from": STORIES, "system": "a"})
        copy(404, source="nothing", destination="y")
        copy(400, source="x")
        copy(400, source="x", destination="../y")
        copy(409, source="x", destination=BABY)
        self.delete("x")
        self.delete("gpt-3.5-turbo")

    def test_refused(self):
        for status, word, body in (
            (400, "from", {}),
            (404, "nothing", {"from": "nothing"}),
            (409, "variant", {"model": STORIES, "from": "named"}),
            (409, "variant", {"model": "gpt-4o", "from": "named"}),
            (400, "name", {"model": "a/b", "from": STORIES}),
            (400, "name", {"model": ".hidden", "from": STORIES}),
            (400, "name", {"model": "", "from": STORIES}),
            (400, "name", {"model": "x" * 201, "from": STORIES}),
            (400, "system", {"from": STORIES, "system": 1}),
            (400, "parameters", {"from": STORIES, "parameters": [1]}),
            (400, "parameters.top_p", {"from": STORIES, "parameters": {"top_p": 2}}),
            (400, "parameters.mirostat", {"from": STORIES, "parameters": {"mirostat": 2}}),
            (400, "messages[0]", {"from": STORIES, "messages": [{"role": "robot", "content": "x"}]}),
            (400, "messages[0]", {"from": STORIES, "system": "s", "messages": [{"role": "developer", "content": "x"}]}),
            (400, "messages[1]", {"from": STORIES, "messages": [*MESSAGES, {"role": "system", "content": "x"}]}),
            (400, "at most 1000", {"from": STORIES, "messages": MESSAGES * 1001}),
            (400, "license", {"from": STORIES, "license": {"x": 1}}),
            (400, "parameters", {"from": STORIES, "parameters": {"stop": [[1]]}}),
            (400, "'temperature'", {"from": STORIES, "parameters": {"temperatur": 1}}),
            (400, "name", {"model": "a.gguf", "from": STORIES}),
            (400, "name", {"model": "builtin:null", "from": STORIES}),
            (400, "name", {"model": "a:", "from": STORIES}),
            (400, "NUL", {"from": STORIES, "system": "a\0b"}),
            (400, "control characters", {"model": "a\nb", "from": STORIES}),
            (400, "control characters", {"model": "a\0b", "from": STORIES}),
            (413, "256 KiB", {"from": STORIES, "system": "x" * 1100000}),
            (501, "models_path", {"files": {"a.gguf": "sha256:0"}}),
            (501, "template", {"from": STORIES, "template": "{{ .Prompt }}"}),
            (501, "quantize", {"from": STORIES, "quantize": "q4_K_M"}),
            (501, "modelfile", {"modelfile": "FROM x"}),
        ):
            before = os.listdir(self.d.models)
            a = self.assertStatus(self.d.post("/api/create", {"model": "n", **body}), status)
            self.assertIn(word, a.error)
            self.assertEqual(os.listdir(self.d.models), before)

    def test_namesake(self):
        """A model may be given words and parameters by its own name, under which it is listed once, and goes with them."""
        self.d.add_model("stories-fill")
        self.create("stories-fill", **{"from": "stories-fill"}, system="b")
        self.create("stories-fill", **{"from": "stories-fill"}, parameters={"num_predict": 5}, system="a")  # anew
        self.assertStatus(self.d.post("/api/copy", {"source": "stories-fill", "destination": STORIES}), 409)
        self.assertStatus(self.d.post("/api/copy", {"source": STORIES, "destination": STORIES}), 409)
        self.assertIn("no variant", self.create("stories-fill", 409, **{"from": STORIES}).error)
        self.assertEqual(self.names().count("stories-fill:latest"), 1)
        self.assertEqual([m["id"] for m in self.d.get("/v1/models").json()["data"]].count("stories-fill"), 1)
        a = self.d.post("/api/generate", {"model": "stories-fill", "prompt": "x", "stream": False, "raw": True}).json()
        self.assertEqual(a["eval_count"], 5)
        shown = self.d.post("/api/show", {"model": "stories-fill"}).json()
        self.assertEqual((shown["system"], shown["details"].get("parent_model", "")), ("a", ""))
        self.create("w", **{"from": "stories-fill"}, system="of another")
        self.create("stories-fill", **{"from": "w"})  # that one's words for the model itself
        self.assertEqual(self.file("stories-fill"), self.file("w"))
        self.delete("w")
        self.create("v", **{"from": "stories-fill"})  # of a variant: what that says
        self.assertEqual(self.file("v"), {**self.file("stories-fill")})
        self.assertIn("'v'", self.delete("stories-fill", 409).error)
        self.delete("v")
        removed = [self.path("stories-fill" + end) for end in (".gguf", ".json")]
        self.assertEqual(self.delete("stories-fill").json(), {"status": "success", "removed": removed})
        self.assertEqual([n for n in os.listdir(self.d.models) if "fill" in n], [])

    def test_alias(self):
        """It is the model by another name, with what is said in its own."""
        self.create("named", **{"from": "named"}, parameters={"num_predict": 3})
        for model in ("named", "named:latest", "gpt-4o", "gpt-4o:latest"):
            a = self.d.post("/api/generate", {"model": model, "prompt": "x", "stream": False, "raw": True}).json()
            self.assertEqual(a["eval_count"], 3, model)
        self.create("named", **{"from": "named"})
        self.assertEqual(self.file("named"), {"from": "named"})  # plain again
        os.unlink(self.path("named.json"))
        self.names()

    def test_broken_namesake(self):
        """It goes with its model, too."""
        self.d.add_model("stories-fill")
        with open(self.path("stories-fill.json"), "w", encoding="utf-8") as f:
            f.write("{")
        self.names()
        self.assertStatus(self.d.post("/api/generate", {"model": "stories-fill", "prompt": "x", "stream": False}), 200)
        self.delete("stories-fill")
        self.assertEqual([n for n in os.listdir(self.d.models) if "fill" in n], [])

    def test_delete(self):
        self.d.add_model("stories-fill")
        shutil.copytree(self.d.models, self.path("directory"), symlinks=True)
        with open(self.path("directory/config.json"), "w", encoding="utf-8") as f:
            f.write("{}")
        self.create(**{"from": "stories-fill"})
        self.create("w", **{"from": "stories-fill"})
        self.assertIn("'v', 'w'", self.delete("stories-fill", 409).error)
        self.delete("v")
        self.delete("w")
        self.d.complete(model="stories-fill", max_tokens=2)
        self.delete("stories-fill")
        self.assertFalse(os.path.lexists(self.path("stories-fill.gguf")))
        self.delete("directory")
        self.assertFalse(os.path.exists(self.path("directory")))
        self.assertEqual([n for n in os.listdir(self.d.models) if n.startswith(".")], [])
        wait_until(lambda: "stories-fill:latest" not in [m["name"] for m in self.d.get("/api/ps").json()["models"]],
                   "its memory")
        self.assertIn("configuration", self.delete("named", 409).error)
        self.assertIn("'named'", self.delete(STORIES, 409).error)  # the same file, by its own name
        self.assertIn("no file", self.delete("null", 409).error)
        self.delete("nothing", 404)
        self.assertIn(STORIES + ":latest", self.names())

    def test_by_hand(self):
        """A file that somebody wrote, which is wrong, and then is not."""
        with open(self.path("mine.json"), "w", encoding="utf-8") as f:
            f.write('{"from": "%s",\n "system": }' % STORIES)
        a = self.assertStatus(self.d.post("/api/generate", {"model": "mine", "prompt": "x"}), 404)
        self.assertIn("mine.json: line 2", a.error)
        self.assertNotIn("mine:latest", self.names())
        with open(self.path("mine.json"), "w", encoding="utf-8") as f:
            json.dump({"from": STORIES, "parameters": {"num_predict": 2, "top_k": -1}}, f)
        a = self.assertStatus(self.d.post("/api/generate", {"model": "mine", "prompt": "x"}), 404)
        self.assertIn("mine.json: parameters.top_k", a.error)
        for body, word in (({"from": STORIES, "sytem": "x"}, "'system'"), ({"from": STORIES, "parameters": {"temperatur": 1}}, "'temperature'"),
                           ({"from": "other"}, "not there")):
            with open(self.path("mine.json"), "w", encoding="utf-8") as f:
                json.dump(body, f)
            self.assertIn(word, self.assertStatus(self.d.post("/api/generate", {"model": "mine", "prompt": "x"}), 404).error)
        self.create("other", **{"from": STORIES})
        self.assertIn("a variant itself", self.assertStatus(self.d.post("/api/generate", {"model": "mine", "prompt": "x"}), 404).error)
        self.assertIn("mine.json: there is no model 'other'", self.d.log())
        self.delete("other")
        with open(self.path("mine.json"), "w", encoding="utf-8") as f:
            json.dump({"from": STORIES, "parameters": {"num_predict": 2}}, f)
        self.assertIn("mine:latest", self.names())  # which looks
        a = self.d.post("/api/generate", {"model": "mine", "prompt": "x", "stream": False}).json()
        self.assertEqual(a["eval_count"], 2)
        os.rename(self.path("mine.json"), self.path("other.json"))
        self.assertStatus(self.d.post("/api/generate", {"model": "other", "prompt": "x", "stream": False}), 200)
        self.names()
        self.assertStatus(self.d.post("/api/generate", {"model": "mine", "prompt": "x"}), 404)
        self.delete("other")

    def test_base_gone(self):
        self.create(**{"from": BABY})
        os.rename(self.path(BABY + ".gguf"), self.path("away"))
        self.assertNotIn("v:latest", self.names())
        a = self.assertStatus(self.d.post("/api/generate", {"model": "v", "prompt": "x"}), 404)
        self.assertIn(f"'{BABY}'", a.error)
        os.rename(self.path("away"), self.path(BABY + ".gguf"))
        self.assertStatus(self.d.post("/api/generate", {"model": "v", "prompt": "x", "stream": False}), 200)
        self.delete("v")


class LifeTest(VariantCase):
    def loaded(self, d):
        return [m["name"].removesuffix(":latest") for m in d.get("/api/ps").json()["models"]]

    def test_deleted_in_use(self):
        """What is being answered is finished; then the model goes, however long it was to stay, and another may have its name."""
        d = self.start(models=(STORIES, BABY))
        right = d.complete(max_tokens=200, ignore_eos=True)
        stream = d.stream("/api/generate", {"model": STORIES, "prompt": PROMPT, "keep_alive": -1, "raw": True,
                                            "options": {"temperature": 0, "num_predict": 200, "repeat_penalty": 1}})
        self.delete(STORIES, d=d)
        self.assertStatus(d.post("/v1/completions", {"model": STORIES, "prompt": PROMPT}), 404)
        self.assertTrue(right.startswith(stream.text()[:20]))
        wait_until(lambda: STORIES not in self.loaded(d), "its memory")
        os.symlink(os.path.realpath(self.path(BABY + ".gguf", d)), self.path(STORIES + ".gguf", d))
        self.assertEqual(d.complete(max_tokens=8), d.complete(model=BABY, max_tokens=8))

    def test_replaced_in_use(self):
        """A file that takes the place of one that is loaded is served once nobody uses that."""
        d = self.start(models=(STORIES, BABY))
        d.complete(max_tokens=1)
        other = self.path("other", d)
        os.symlink(os.path.realpath(self.path(BABY + ".gguf", d)), other)
        os.rename(other, self.path(STORIES + ".gguf", d))
        self.names(d)  # which looks
        self.assertEqual(d.post("/api/generate", {"model": STORIES, "stream": False}).json()["done_reason"], "load")
        time.sleep(0.3)  # in which it would be unloaded, had that only begun
        self.assertIn(STORIES, self.loaded(d))
        self.assertEqual(d.complete(max_tokens=8), d.complete(model=BABY, max_tokens=8))

    def test_same_file(self):
        """A file that the configuration gives another name, and variants of that, are not lost by its own."""
        d = self.start({"models": [{"name": "chat", "path": STORIES + ".gguf"}]})
        self.create(d=d, **{"from": "chat"})
        self.assertIn("of 'chat'", self.delete(STORIES, 409, d=d).error)
        d.change_config(models=[])
        self.assertStatus(d.post("/zerollama/reload", {}), 200)
        self.delete(STORIES, d=d)  # v is of nothing already
        self.assertStatus(d.post("/api/generate", {"model": "v", "prompt": "x"}), 404)

    def test_at_once(self):
        """Changes know of each other: a variant is made or its model is deleted, not both; and of two who delete one comes first."""
        d = self.start(models=(STORIES, BABY))
        for i in range(20):
            name = f"b{i}"
            os.symlink(os.path.realpath(self.path(STORIES + ".gguf", d)), self.path(name + ".gguf", d))
            made, deleted = in_parallel([lambda: d.post("/api/create", {"model": "v", "from": name}),
                                         lambda: d.request("DELETE", "/api/delete", {"model": name})])
            self.assertIn((made.status, deleted.status), ((200, 409), (404, 200)))
            if made.status == 200:
                self.delete("v", d=d)
            self.create(f"w{i}", d=d, **{"from": STORIES})
            both = in_parallel([lambda: d.request("DELETE", "/api/delete", {"model": f"w{i}"})] * 2)
            self.assertEqual(sorted(a.status for a in both), [200, 404])

    def test_beside_reloads(self):
        """What was told is so, whenever a reload looked at the disk."""
        d = self.start()
        over = threading.Event()

        def reload():
            while not over.is_set():
                self.assertStatus(d.post("/zerollama/reload", {}), 200)

        def change():
            try:
                for i in range(40):
                    self.create(d=d, **{"from": STORIES}, parameters={"top_k": i})
                    shown = d.post("/api/show", {"model": "v"}).json()
                    self.assertIn(f"{i}", shown["parameters"].split())
                    if i % 5 == 4:
                        self.delete("v", d=d)
                        self.assertStatus(d.post("/api/show", {"model": "v"}), 404)
            finally:
                over.set()

        in_parallel([reload, change])

    def test_client_leaves(self):
        """What was begun is done all the same."""
        d = self.start()
        c = d.connect()
        c.request("POST", "/api/create", json.dumps({"model": "v", "from": STORIES}))
        c.close()
        self.create("w", d=d, **{"from": STORIES})  # after it
        self.assertIn("w:latest", self.names(d))
        self.assertEqual(os.path.exists(self.path("v.json", d)), "v:latest" in self.names(d))
        self.assertEqual([n for n in os.listdir(d.models) if n.startswith(".")], [])

    def test_tcp(self):
        port = free_port()
        d = self.start()
        d.change_config(listen=[{"unix": d.socket}, {"tcp": f"127.0.0.1:{port}"}])
        self.assertStatus(d.post("/zerollama/reload", {}), 200)
        for method, path, body in CHANGES:
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            self.assertStatus(d.request(method, path, body, connection=c), 403)
            c.close()

    def test_no_directory(self):
        """A daemon of one's own has none at first, and the demo model's place is not written to."""
        d = self.start(models=())
        os.rmdir(d.models)
        shutil.copy(os.path.join(SRC, "demo", "demo.gguf"), os.path.join(d.dir, "demo.gguf"))
        d.change_config(models=[{"name": "there", "path": os.path.join(d.dir, "demo.gguf")}])
        self.assertStatus(d.post("/zerollama/reload", {}), 200)
        self.create(d=d, **{"from": "there"})
        self.assertIn("v:latest", self.names(d))

    def test_not_written(self):
        """A place that cannot be written to: said, and nothing has changed."""
        d = self.start()
        os.mkdir(self.path("v.json", d))
        a = self.create(d=d, status=500, **{"from": STORIES})
        self.assertIn("v.json cannot be written: Is a directory", a.error)

    def test_survives(self):
        d = self.start()
        self.create(d=d, **{"from": STORIES}, parameters={"num_predict": 3})
        d.change_config(limits={"restarts": 2})
        self.assertStatus(d.post("/zerollama/reload", {}), 200)
        d.complete(max_tokens=1)
        os.kill(d.engine_pid(), 9)
        a = d.post("/api/generate", {"model": "v", "prompt": "x", "stream": False})
        self.assertEqual(self.assertStatus(a, 200).json()["eval_count"], 3)

    def test_only_who_may(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, to be other users")
        d = self.start()
        os.chmod(d.dir, 0o711)
        self.create(d=d, **{"from": STORIES})
        for method, path, body in CHANGES:
            a = d.request(method, path, body, connection=self.connect_as(d, 65001))
            self.assertIn("root", self.assertStatus(a, 403).error)
        self.assertEqual({"v:latest", STORIES + ":latest"} - set(self.names(d)), set())
        a = d.post("/api/generate", {"model": "v", "prompt": "x", "stream": False}, connection=self.connect_as(d, 65001))
        self.assertStatus(a, 200)  # to use it is everybody's


if __name__ == "__main__":
    main()
