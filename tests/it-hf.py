#!/usr/bin/env python3
"""Hugging Face directories served by the real daemon: the same greedy text as from GGUF and as a numpy reference, how
they are listed and shown, chat templates, and what is refused."""

import json
import os
import shutil
import sys

sys.dont_write_bytecode = True
from harness import BABY, STORIES, TEMPLATE, Case, data, figure, main  # noqa: E402

STORIES_HF, BABY_HF = "stories260K-hf", "babyllama105-hf"
FOLDERS = (STORIES_HF, "stories260K-hf-bf16", BABY_HF)
GPT2 = "gpt2-nano-sort-hf"


def expected(name):
    with open(data("models", name, "expected_greedy.json"), encoding="utf-8") as f:
        return json.load(f)


class FolderTest(Case):
    CONFIG = {"models": [{"name": "named", "path": STORIES_HF, "aliases": ["other"], "context": 64}]}
    MODELS = (STORIES, BABY)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for name in FOLDERS:
            os.symlink(os.path.abspath(data("models", name)), os.path.join(cls.d.models, name))

    def copy(self, name, target, **files):
        """A directory of our own, with some files of other contents; None: without it."""
        path = os.path.join(self.d.models, target)
        os.mkdir(path)
        for file in {*os.listdir(data("models", name)), *files}:
            if file not in files:
                shutil.copyfile(data("models", name, file), os.path.join(path, file))
            elif files[file] is not None:
                with open(os.path.join(path, file), "wb") as f:
                    f.write(files[file])
        return path

    def refused(self, model):
        answer = self.d.post("/v1/completions", {"model": model, "prompt": "a", "max_tokens": 1})
        self.assertNotEqual(answer.status, 200)
        return answer.text

    def test_reference(self):
        for name in (STORIES_HF, BABY_HF):
            for case in expected(name):
                n = len(case["generated_ids"])
                for prompt in (case["prompt"], case["prompt_ids"]):
                    text = self.d.complete(prompt, model=name, max_tokens=n, ignore_eos=True)
                    self.assertEqual(text.strip(), case["text"][len(case["prompt"]) :].strip())
                figure(f"{name}: {n} greedy tokens as the reference's, smallest margin {case['min_margin']}")

    def test_tokenizer_model(self):
        """SentencePiece's own file says the same as the tokenizer.json that was made of it."""
        self.copy(STORIES_HF, "sentencepiece", **{"tokenizer.json": None})
        for case in expected(STORIES_HF):
            prompt = {"prompt": case["prompt"], "max_tokens": 20, "ignore_eos": True}
            self.assertEqual(self.d.complete(model="sentencepiece", **prompt), self.d.complete(model=STORIES_HF, **prompt))

    def test_sampling(self):
        """A model's own defaults count where a request says nothing."""
        def config(**more):
            return json.dumps({"eos_token_id": [2, 1], **more}).encode()
        self.copy(STORIES_HF, "greedy", **{"generation_config.json": config(do_sample=False, temperature=0.6)})
        self.copy(STORIES_HF, "few", **{"generation_config.json": config(top_k=1)})
        ask = {"prompt": "Once upon a time", "max_tokens": 30, "seed": 7}

        def text(model, **more):
            return self.assertStatus(self.d.post("/v1/completions", {"model": model, **ask, **more}), 200).json()["choices"][0]["text"]

        def ollama(model, **options):
            body = {"model": model, "prompt": ask["prompt"], "raw": True, "stream": False,
                    "options": {"num_predict": 30, "seed": 7, **options}}
            return self.assertStatus(self.d.post("/api/generate", body), 200).json()["response"]
        best = text(STORIES_HF, temperature=0)
        self.assertNotEqual(text(STORIES_HF), best)
        self.assertEqual([text("greedy"), text("few"), text("greedy", top_p=0.5), text("few", temperature=5)], [best] * 4)
        self.assertEqual(text("greedy", temperature=1), text(STORIES_HF, temperature=1))
        self.assertEqual(text("few", top_k=0), text(STORIES_HF))
        exact = {"repeat_penalty": 1}
        self.assertNotEqual(ollama(STORIES_HF, **exact), best)
        self.assertEqual([ollama("greedy", **exact), ollama("few", **exact)], [best] * 2)
        self.assertEqual(ollama("greedy", temperature=0.8, **exact), ollama(STORIES_HF, **exact))
        shown = self.d.post("/api/show", {"model": "few"}).json()
        self.assertEqual(shown["parameters"].split(), ["top_k", "1"])
        self.assertEqual(shown["understood"]["sampling"], "top_k 1")
        self.copy(STORIES_HF, "unsound", **{"generation_config.json": config(top_p="all")})
        self.assertIn("generation_config.json: top_p", self.refused("unsound"))

    def test_same_as_gguf(self):
        """The GGUF file of the second has F16 weights, and is known to say the same for so long."""
        prompts = ("Once upon a time", "The dog", "Größe 🦙", "a  b\n c", "")
        for folder, file, n, those in ((STORIES_HF, STORIES, 150, prompts), (BABY_HF, BABY, 100, prompts[::4])):
            for prompt in those:
                for fields in ({}, {"ignore_eos": True}):
                    texts = [self.d.complete(prompt, model=m, max_tokens=n, **fields) for m in (folder, file)]
                    self.assertEqual(texts[0], texts[1], f"{folder}, {prompt!r}, {fields}")

    def test_half_weights(self):
        """BF16 rounds the weights, so only the beginning is the same."""
        text = self.d.complete("Once upon a time", model="stories260K-hf-bf16", max_tokens=40)
        self.assertTrue(text.startswith(", there was a little girl named Lily."), text)

    def test_names(self):
        names = [m["id"] for m in self.d.get("/v1/models").json()["data"]]
        for name in (*FOLDERS, "named", STORIES):
            self.assertIn(name, names)
        text = self.d.complete("The dog", model=STORIES_HF, max_tokens=20)
        for name in ("named", "other", STORIES_HF + ":latest"):
            self.assertEqual(self.d.complete("The dog", model=name, max_tokens=20), text)

    def tag(self, name):
        return next(m for m in self.d.get("/api/tags").json()["models"] if m["name"] == name + ":latest")

    def test_listed(self):
        path = self.copy(STORIES_HF, "mine")
        before = self.tag("mine")
        weights = os.path.join(path, "model.safetensors")
        self.assertEqual(before["size"], os.path.getsize(weights))
        self.d.complete(model="mine", max_tokens=1)
        self.assertEqual(self.tag("mine")["details"]["format"], "safetensors")
        self.assertEqual(self.tag("mine")["details"]["family"], "llama")
        self.assertEqual(self.tag("mine")["digest"], before["digest"])
        os.utime(weights, (4e9, 4e9))
        after = self.tag("mine")
        self.assertNotEqual(after["digest"], before["digest"])
        self.assertNotEqual(after["modified_at"], before["modified_at"])

    def test_appears_and_goes(self):
        """A directory becomes a model with its config.json, which may come late, and stops being one without it."""
        path = os.path.join(self.d.models, "late")
        os.mkdir(path)
        self.assertNotIn("late", self.d.get("/v1/models").text)
        self.assertEqual(self.d.post("/v1/completions", {"model": "late", "prompt": "a"}).status, 404)
        for file in sorted(os.listdir(data("models", STORIES_HF)), reverse=True):
            shutil.copyfile(data("models", STORIES_HF, file), os.path.join(path, file))
        self.assertIn('"late"', self.d.get("/v1/models").text)
        self.assertTrue(self.d.complete(model="late", max_tokens=5))
        os.remove(os.path.join(path, "config.json"))
        self.assertNotIn("late", self.d.get("/v1/models").text)

    def test_shown(self):
        answer = self.d.post("/api/show", {"model": BABY_HF}).json()
        self.assertEqual(answer["details"]["format"], "safetensors")
        self.assertEqual(answer["details"]["quantization_level"], "F32")
        info = answer["model_info"]
        self.assertEqual(info["general.architecture"], "llama")
        self.assertEqual(info["llama.context_length"], 256)
        self.assertEqual(info["llama.block_count"], 5)
        self.assertEqual(info["tokenizer.ggml.model"], "llama")
        self.assertEqual(info["tokenizer.ggml.n_tokens"], 105)
        self.assertEqual(info["config.tie_word_embeddings"], True)

    def test_chat(self):
        self.copy(STORIES_HF, "chatty", **{"chat_template.jinja": TEMPLATE.encode()})
        config = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True, "chat_template": TEMPLATE}
        self.copy(STORIES_HF, "configured", **{"tokenizer_config.json": json.dumps(config).encode()})
        body = {"messages": [{"role": "user", "content": "Once upon a time"}], "temperature": 0, "max_tokens": 30}
        texts = []
        for model in ("chatty", "configured"):
            answer = self.d.post("/v1/chat/completions", {"model": model, **body})
            self.assertEqual(answer.status, 200, answer.text)
            texts.append(answer.json()["choices"][0]["message"]["content"])
        self.assertEqual(texts[0], texts[1])
        self.assertEqual(texts[0], self.d.complete("Once upon a time ", model=STORIES_HF, max_tokens=30))
        self.assertIn("chat template", self.d.post("/v1/chat/completions", {"model": STORIES_HF, **body}).text)

    def test_refused(self):
        os.symlink(os.path.abspath(data("models", GPT2)), os.path.join(self.d.models, "gpt2"))
        self.assertIn("its architecture 'gpt2' is not supported", self.refused("gpt2"))
        with open(data("models", STORIES_HF, "model.safetensors"), "rb") as f:
            weights = f.read()
        self.copy(STORIES_HF, "cut", **{"model.safetensors": weights[:-100]})
        self.assertIn("cut short", self.refused("cut"))
        self.copy(STORIES_HF, "wordless", **{"tokenizer.json": None, "tokenizer.model": None})
        self.assertIn("has no tokenizer.json", self.refused("wordless"))
        self.copy(STORIES_HF, "odd", **{"tokenizer.json": b'{"model": {"type": "WordLevel"}}'})
        self.assertIn("its model 'WordLevel' is not supported", self.refused("odd"))
        self.assertTrue(self.d.complete(model=STORIES_HF, max_tokens=5))  # nobody else is harmed


if __name__ == "__main__":
    main(needs_data=True)
