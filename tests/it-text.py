#!/usr/bin/env python3
"""The text is right: greedy texts against a numpy reference, and the same text whatever else runs beside it, with whole
characters in every chunk."""

import json
import sys

sys.dont_write_bytecode = True
from harness import BABY, PROMPT, STORIES, Case, chunk_text, data, figure, in_parallel, main  # noqa: E402

MODELS = (STORIES, "stories260K-f16", BABY, "babyllama105-q8_0", "babyllama105-q4_0")
# How far apart the two best logits must be for the choice not to depend on rounding; quantised models also round the
# activations.
MARGIN = {"f32": 0.005, "f16": 0.005, "q8_0": 0.05, "q4_0": 0.05}
SUBJECTS = (
    "a cat",
    "the dog",
    "Tom",
    "Lily",
    "a big red ball",
    "the sun",
    "my mom",
    "a bird",
    "Ben",
    "the park",
    "one day",
    "a frog",
    "she",
    "he",
    "they",
    "it was",
)


def prompts(n):
    return [f"{PROMPT}, {SUBJECTS[i % len(SUBJECTS)]}" + " and" * (i // len(SUBJECTS)) for i in range(n)]


class TextTest(Case):
    CONFIG = {"models": [{"name": "narrow", "path": STORIES + ".gguf", "slots": 3, "batch_tokens": 16}]}
    MODELS = MODELS

    def test_reference(self):
        """Prompts as token ids; as many tokens as the reference is sure of."""
        for name in MODELS:
            margin = MARGIN[name.split("-")[1]]
            with open(data("models", name + ".expected.json"), encoding="utf-8") as f:
                cases = json.load(f)
            for case in cases:
                margins = [step["top5"][0][1] - step["top5"][1][1] for step in case["steps"]]
                sure = next((i for i, m in enumerate(margins) if m < margin), len(margins))
                with self.subTest(model=name, prompt=case["prompt"]):
                    self.assertGreater(sure, 20)
                    text = self.d.complete(case["prompt_ids"], model=name, max_tokens=sure, ignore_eos=True)
                    expected = case["text"][len(case["prompt"]) :]
                    if sure == len(margins):
                        self.assertEqual(text, expected)
                    else:
                        self.assertEqual(text, expected[: len(text)])
                        self.assertGreater(len(text), sure // 2)
                figure(
                    f"{name}, prompt {case['prompt']!r}: {sure} of {len(margins)} tokens compared, smallest margin "
                    f"{min(margins[:sure]):.3f}"
                )

    def test_prompt_text_and_ids_agree(self):
        with open(data("models", STORIES + ".expected.json"), encoding="utf-8") as f:
            case = json.load(f)[1]
        self.assertEqual(
            self.d.complete(case["prompt"], max_tokens=60), self.d.complete(case["prompt_ids"], max_tokens=60)
        )

    def check_parallel(self, n, model, **fields):
        alone = [self.d.complete(p, model=model, max_tokens=48, **fields) for p in prompts(n)]
        self.assertGreater(len(set(alone)), n // 2)
        for stream in (False, True):
            together = in_parallel(
                [
                    lambda p=p: self.d.complete(p, model=model, max_tokens=48, stream=stream, **fields)
                    for p in prompts(n)
                ]
            )
            for p, a, b in zip(prompts(n), alone, together):
                self.assertEqual(a, b, f"{p!r}, stream {stream}")
        figure(f"{model}: {2 * n} texts of {n} at once equal those alone")

    def test_8_in_parallel(self):
        self.check_parallel(8, STORIES)

    def test_32_in_parallel(self):
        self.check_parallel(32, STORIES)

    def test_parallel_f16(self):
        self.check_parallel(8, BABY)

    def test_parallel_quantised(self):
        self.check_parallel(8, "babyllama105-q8_0")
        self.check_parallel(4, "babyllama105-q4_0")

    def test_parallel_sampled(self):
        self.check_parallel(8, STORIES, temperature=0.8, top_p=0.95, seed=7)

    def test_fewer_slots_and_small_batches(self):
        """Waiting, chunked prompts and other batches change nothing."""
        long = [p + ". " + "He was sad. " * 12 for p in prompts(12)]
        alone = [self.d.complete(p, max_tokens=40) for p in long]
        narrow = in_parallel([lambda p=p: self.d.complete(p, model="narrow", max_tokens=40, stream=True) for p in long])
        self.assertEqual(alone, narrow)

    def test_prefix_seen_before(self):
        long = PROMPT + ", there was a little girl. " + "She was happy. " * 15
        first = self.d.complete(long, max_tokens=40)
        for _ in range(3):
            self.assertEqual(self.d.complete(long, max_tokens=40), first)
        self.assertEqual(
            self.d.complete(long[:200], max_tokens=40), self.d.complete(long[:200], model="narrow", max_tokens=40)
        )

    def test_whole_characters(self):
        """Characters of several tokens, each a byte: a chunk never holds half of one."""
        byte = {b: 3 + b for b in range(256)}  # the ids of byte tokens in Llama's vocabularies
        for letters, n in (("é", 60), ("€", 90), ("😀", 60)):
            bias = {str(byte[b]): 100 for b in letters.encode()}
            same = {"temperature": 1.5, "seed": 11, "max_tokens": n, "logit_bias": bias, "ignore_eos": True, "top_p": 1}
            whole = self.d.complete(**same)
            stream = self.d.stream("/v1/completions", {"model": STORIES, "prompt": PROMPT, **same})
            chunks = [chunk_text(c) for c in stream]
            stream.close()
            self.assertEqual("".join(chunks), whole)
            self.assertLessEqual(set("".join(c for c in whole if c != "\ufffd").encode()), set(letters.encode()))
            figure(f"{whole.count(letters)} x {letters} of {n} byte tokens in {sum(map(bool, chunks))} chunks")
            if letters == "é":
                self.assertIn(letters, whole)


if __name__ == "__main__":
    main(needs_data=True)
