#!/usr/bin/env python3
"""Makes slow-cases.json: what transformers' slow tokenizers, which have SentencePiece itself inside, make of the texts of
encoder-cases.json by encoder-sp-unigram/tokenizer.model, taken for a sentencepiece.bpe.model (XLM-RoBERTa) and for a
spiece.model (T5). And vocab-*.gguf: that model as llama.cpp's converter writes XLM-RoBERTa's, and the vocabulary of
encoder-wordpiece/.

T5's adds no </s> to a text that ends with one, and warns that it will; here it does.

Of the ids of the first texts all are recorded, of the others how many they are and a hash. Needs transformers before
version 5, which has no slow tokenizers any more, and sentencepiece; nothing is fetched.
"""
import json
import pathlib
import shutil
import sys
import tempfile

from sentencepiece import SentencePieceProcessor
from sentencepiece import sentencepiece_model_pb2
from transformers import T5Tokenizer, XLMRobertaTokenizer

HERE = pathlib.Path(__file__).parent
SHOWN = 60
sys.path.insert(0, str(HERE.parent))
sys.dont_write_bytecode = True
import gguf_file  # noqa: E402
from gguf_file import ARRAY, BOOL, F32, STRING, U32  # noqa: E402

U8, I32 = 0, 5


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


def xlmr_keys(path):
    """Ids as the tokenizer has them, not the file."""
    sp = SentencePieceProcessor(str(path))
    proto = sentencepiece_model_pb2.ModelProto.FromString(path.read_bytes())
    pieces = range(3, sp.get_piece_size())
    tokens = ["<s>", "<pad>", "</s>", "<unk>"] + [sp.id_to_piece(i) for i in pieces] + ["<mask>"]
    scores = [0.0] * 4 + [sp.get_score(i) for i in pieces] + [0.0]
    types = [3, 3, 3, 2] + [1 for i in pieces] + [3]
    ids = {"bos": 0, "eos": 2, "unknown": 3, "seperator": 2, "padding": 1}
    return [("tokenizer.ggml.model", STRING, "t5"), ("tokenizer.ggml.pre", STRING, "default"),
            ("tokenizer.ggml.tokens", ARRAY, (STRING, tokens)), ("tokenizer.ggml.scores", ARRAY, (F32, scores)),
            ("tokenizer.ggml.token_type", ARRAY, (I32, types)),
            ("tokenizer.ggml.add_space_prefix", BOOL, proto.normalizer_spec.add_dummy_prefix),
            ("tokenizer.ggml.remove_extra_whitespaces", BOOL, proto.normalizer_spec.remove_extra_whitespaces),
            ("tokenizer.ggml.precompiled_charsmap", ARRAY, (U8, list(proto.normalizer_spec.precompiled_charsmap))),
            *((f"tokenizer.ggml.{k}_token_id", U32, i) for k, i in ids.items()),
            ("tokenizer.ggml.add_bos_token", BOOL, True), ("tokenizer.ggml.add_eos_token", BOOL, True)]


def main():
    architecture = [("general.architecture", STRING, "bert")]
    gguf_file.write(HERE / "vocab-xlm-roberta.gguf", architecture + xlmr_keys(HERE / "encoder-sp-unigram/tokenizer.model"), [])
    wordpiece = json.loads((HERE / "encoder-wordpiece/tokenizer.json").read_text())
    gguf_file.write(HERE / "vocab-bert.gguf", architecture + gguf_file.wordpiece_keys(wordpiece), [])
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
