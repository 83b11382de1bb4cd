#!/usr/bin/env python3
"""Makes tokenizer-cases.json: texts and the ids that Hugging Face's `tokenizers` gives them.

usage: make-tokenizer-cases.py DIRECTORY > tokenizer-cases.json

DIRECTORY has tokenizers/gpt2/tokenizer.json, tokenizers/qwen2.5/{vocab.json,merges.txt,tokenizer_config.json} and
models/{stories260K,babyllama105}-hf/tokenizer.json. Needs `pip install tokenizers`; nothing is fetched. A set is named
as its pre-tokenizer is in GGUF or, for SentencePiece vocabularies, as the model. The regexes are those of the published
tokenizer.json files (Qwen's NFC normalizer is left out: GGUF readers do not apply it). llama-bpe is Llama 3's regex
and its ignore_merges over GPT-2's vocabulary, since the regex is what is under test; so are tekken and smollm.
"""
import functools
import json
import random
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
          r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
          r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")

TEXTS = [
    "", " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\r\n\r\n", " \n", "\n ", " \n ", "  \n  \n  x", "\n \n \n a", "\t\n\t a",
    "Hello world", " Hello world", "Hello, World!", "hello\nworld\n", "hello \n\n  world", "a  b   c    d", "x \t y", "end   ",
    "I'm you're he's we've they'd she'll don't", "I'M YOU'RE HE'S WE'VE THEY'D SHE'LL DON'T", "'s't're've'm'll'd", "'S 'T 'Re 'vE",
    "'sa 'ta 'sS 'SAY 'TIS 'REAL 'Very 'Made 'LLAMA 'Dog 'REs 'tHE", "it'SAY we'LLama you'REal DON'TA I'Made he'Dog I'VEry", "'\u017fa 'a\u017f", "it''s ''s", "’s don’t", "'\u017f'\u017f a", "o'clock 'tis rock'n'roll", "'", "''", "' s",
    "1", "12", "123", "1234", "12345", "1234567890", " 1 22 333 4444", "3.14159", "1,000,000.00", "v1.2.3-rc4", "0x1F", "a1b2c3",
    "\u0661\u0662\u0663\u0664\u0665", "\u00bd \u00b2\u00b3 \u2167 \u2460", "\u0967\u0968\u0969\u096a", "１２３４５", "𝟏𝟐𝟑𝟒",
    "你好，世界！", "我想在apple工作1314151天～", "東京都 渋谷区 1-2-3", "ひらがな カタカナ 漢字", "안녕하세요 세계", "กขค ภาษาไทย 123",
    "Привет, мир! Ёлка", "нещо на Български", "Γειά σου Κόσμε", "مرحبا بالعالم ١٢٣", "שלום עולם", "हिन्दी में नमस्ते", "বাংলা ভাষা", "தமிழ் மொழி",
    "កាន់តែពិសេសអាច", "ქართული ენა", "Հայերեն", "አማርኛ", "Tiếng Việt", "e\u0301 vs \u00e9", "n\u0303 a\u0308\u0323", "Zürich naïve façade",
    "🦙", " 🦙🦙", "👨\u200d👩\u200d👧\u200d👦 family", "🇩🇪🇫🇷 flags", "👍🏽 ok", "❤\ufe0f", "😀😃😄 😁", "a🦙b", "🦙 1 🦙\n",
    "a\u00a0b", "\u00a0\u00a0x", "a\u3000b", "\u3000\u3000漢字", "a\u0085b", "\u0085\u0085", "x\u2028y\u2029z", "a\u2003b \u2003c",
    "a\u180eb", "\u180e\u180e a", "\u200b\u200bzero", "\ufeffbom", "a\u1680b", "a\u202fb\u205fc", "x\u000by\u000cz", "\u001c\u001d\u001e\u001f a",
    "\u00a0\n\u00a0\nx", " \u00a0\r\n\u3000 x", "\x00", "a\x00b", "\x01\x02\x7f", "\x1b[31mred\x1b[0m", "\ue000\uf8ff private", "\U0010ffff",
    "!!!???...", "...\n\n...", " ...\r\n", "a.b,c;d:e", "--- *** ===", "(a) [b] {c} <d>", "$100 €200 ¥300", "a_b __init__ _x", "foo::bar->baz",
    "#include <stdio.h>\n\nint main(void) {\n\treturn 0;\n}\n", "def f(x):\n    return x ** 2  # squared\n\n\n", "<html>\n  <p>Hi&nbsp;there</p>\n</html>",
    '{"a": [1, 2.5, null], "b": "c\\n"}', "https://example.org/a?b=c&d=%20", "user@example.org", "C:\\Windows\\System32", "\\n\\t\\\\",
    "SELECT * FROM t WHERE a='b''c';", "$x^2 + y_1 = \\frac{a}{b}$", "| a | b |\n|---|---|\n| 1 | 2 |", "\t\tx\n\t\t\ty", "a" * 70, " " * 70 + "x",
    "\n" * 20 + "x", "ab" * 40, "1" * 50, "=" * 60, "的" * 30, "\u0301\u0301\u0301", "a\u0301\u0302\u0303b", "Ⅷ and ⅷ", "ª º µ ß ſ ŉ ǅ ʰ",
    "<|endoftext|>", "<|im_start|>user\nHi<|im_end|>\n", "<|im_start", "<<|im_end|>>", "<tool_call>\n{}\n</tool_call>",
]
ALPHABET = ["a", "b", "the", "'", "'s", "'LL", "S", "1", "23", "٣", "½", " ", " ", "  ", "\n", "\r", "\r\n", "\t", "\u00a0", "\u3000", "\u0085",
            "\u2028", "\u180e", ".", "!", "_", "-", "é", "e\u0301", "ж", "漢", "字", "か", "한", "ا", "ש", "क", "्", "🦙", "\u200d", "\x00", "\x1c", "ſ"]


# Words of letters of either case and of none, which some regexes cut.
CASED = ["helloWorld HTTPServer XMLs ÀÉtéÉ I'VE a'S 日本Aあb漢Ab ǅa ʰAʰ", "A\u0301B\u0301c \u0301A \u0301 x\u0301\u0301Y ᾼΑ",
         "a//\n/b ... /\r\n//c", "McDonald's iPhone15Pro x86_64 JSON2XML"]
CASES = ["a", "bc", "A", "BC", "É", "é", "ǅ", "ʰ", "漢", "か", "\u0301", "'s", "'LL", "1", "23", " ", "/", "\n", ".", "_"]


def texts():
    rng = random.Random(20240229)
    some = TEXTS + ["".join(rng.choices(ALPHABET, k=rng.randint(3, 24))) for _ in range(250)]
    return some + CASED + ["".join(rng.choices(CASES, k=rng.randint(3, 24))) for _ in range(80)]


def tokenizer(model, words, added=()):
    t = Tokenizer(model)
    t.pre_tokenizer = pre_tokenizers.Sequence(words)
    t.add_tokens(list(added))
    return t


def by_regex(regex):
    return [pre_tokenizers.Split(Regex(regex), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]


def main():
    root = Path(sys.argv[1])
    gpt2 = json.loads((root / "tokenizers/gpt2/tokenizer.json").read_text())["model"]
    merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in gpt2["merges"]]
    gpt2_model = functools.partial(models.BPE, vocab=gpt2["vocab"], merges=merges)
    gpt2_words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    config = json.loads((root / "tokenizers/qwen2.5/tokenizer_config.json").read_text())["added_tokens_decoder"]
    added = [AddedToken(a["content"], special=a["special"], normalized=False)
             for _, a in sorted(config.items(), key=lambda item: int(item[0]))]
    qwen_model = models.BPE.from_file(str(root / "tokenizers/qwen2.5/vocab.json"), str(root / "tokenizers/qwen2.5/merges.txt"))
    sets = {
        "gpt-2": tokenizer(gpt2_model(), [gpt2_words]),
        "llama-bpe": tokenizer(gpt2_model(ignore_merges=True), by_regex(LLAMA3)),
        "tekken": tokenizer(gpt2_model(ignore_merges=True), by_regex(TEKKEN)),
        "smollm": tokenizer(gpt2_model(), [pre_tokenizers.Digits(individual_digits=True), gpt2_words]),
        "qwen2": tokenizer(qwen_model, by_regex(QWEN2), added),
        "stories260K": Tokenizer.from_file(str(root / "models/stories260K-hf/tokenizer.json")),
        "babyllama105": Tokenizer.from_file(str(root / "models/babyllama105-hf/tokenizer.json")),
    }
    cases = texts()
    out = {name: [t.encode(text, add_special_tokens=False).ids for text in cases] for name, t in sets.items()}
    rows = ",\n".join(json.dumps([text, *(out[name][i] for name in sets)], separators=(",", ":")) for i, text in enumerate(cases))
    print(f'{{"sets": {json.dumps(list(sets))},\n"cases": [\n{rows}\n]}}')


main()
