#!/usr/bin/env python3
"""Makes slow-cases.json: what transformers' slow tokenizers, which have SentencePiece itself inside, make of the texts of
encoder-cases.json by encoder-sp-unigram/tokenizer.model, taken for a sentencepiece.bpe.model (XLM-RoBERTa) and for a
spiece.model (T5).

T5's adds no </s> to a text that ends with one, and warns that it will; here it does.

Of the ids of the first texts all are recorded, of the others how many they are and a hash. Needs transformers before
version 5, which has no slow tokenizers any more, and sentencepiece; nothing is fetched.
"""
import json
import pathlib
import shutil
import tempfile

from transformers import T5Tokenizer, XLMRobertaTokenizer

HERE = pathlib.Path(__file__).parent
SHOWN = 60


def fnv(ids):
    h = 0xcbf29ce484222325
    for i in ids:
        for b in i.to_bytes(4, "little"):
            h = (h ^ b) * 0x100000001b3 & 0xffffffffffffffff
    return f"{h:016x}"


def record(tokenizer, texts, pairs):
    rows = [tokenizer(t)["input_ids"] for t in texts]
    pairs = [tokenizer(a, b, return_token_type_ids=True) for a, b in pairs]
    return {"ids": rows[:SHOWN], "hashes": [[len(r), fnv(r)] for r in rows[SHOWN:]],
            "pairs": [[p["input_ids"], p["token_type_ids"]] for p in pairs]}


class T5(T5Tokenizer):
    def _add_eos_if_not_present(self, token_ids):
        return token_ids + [self.eos_token_id]


def main():
    cases = json.loads((HERE / "encoder-cases.json").read_text())
    out = {}
    with tempfile.TemporaryDirectory() as folder:
        for file, cls, more in (("sentencepiece.bpe.model", XLMRobertaTokenizer, {}),
                                ("spiece.model", T5, {"extra_ids": 0, "legacy": True})):
            path = pathlib.Path(folder) / file
            shutil.copy(HERE / "encoder-sp-unigram/tokenizer.model", path)
            tokenizer = cls(str(path), **more)
            out[file] = {"class": tokenizer.__class__.__mro__[file == "spiece.model"].__name__, **record(tokenizer, cases["texts"], cases["pairs"])}
    lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in out.items())
    (HERE / "slow-cases.json").write_text(f"{{{lines}}}\n")


main()
