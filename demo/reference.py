"""Reads the shipped GGUF with nothing but numpy and says what it must answer.

    python3 reference.py demo.gguf --expected expected.json   # write the test vectors
    python3 reference.py demo.gguf --ask "Who are you?"       # try a question
    python3 reference.py demo.gguf --ask "Hello" --temperature 0.7

This shares no code with training or export: its own GGUF reader, its own BPE,
a float32 forward pass on the de-quantised weights.  The C tests compare with
what it writes.  A test should skip or shorten a case where min_margin (the
smallest gap between best and second best logit) is below its compute error.
"""
import argparse
import json
import mmap
import struct

import numpy as np

SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}


class Gguf:
    """Metadata as a dict, tensors as float32 arrays."""

    def __init__(self, path):
        with open(path, "rb") as f:
            self.buf = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        self.at = 0
        magic, version = self.take("<4s"), self.take("<I")
        assert magic == b"GGUF" and version == 3
        n_tensors, n_fields = self.take("<Q"), self.take("<Q")
        self.meta = {}
        for _ in range(n_fields):
            key = self.string()
            self.meta[key] = self.value(self.take("<I"))
        infos = [self.info() for _ in range(n_tensors)]
        align = self.meta.get("general.alignment", 32)
        base = (self.at + align - 1) // align * align
        self.tensors = {name: self.tensor(base + off, shape, kind) for name, shape, kind, off in infos}

    def take(self, fmt):
        v, = struct.unpack_from(fmt, self.buf, self.at)
        self.at += struct.calcsize(fmt)
        return v

    def string(self):
        n = self.take("<Q")
        self.at += n
        return self.buf[self.at - n:self.at].decode()

    def value(self, kind):
        if kind == 8:
            return self.string()
        if kind == 9:
            item, n = self.take("<I"), self.take("<Q")
            return [self.value(item) for _ in range(n)]
        return self.take(SCALARS[kind])

    def info(self):
        name = self.string()
        shape = [self.take("<Q") for _ in range(self.take("<I"))][::-1]
        return name, shape, self.take("<I"), self.take("<Q")

    def tensor(self, at, shape, kind):
        n = int(np.prod(shape))
        if kind == 0:
            return np.frombuffer(self.buf, "<f4", n, at).reshape(shape)
        assert kind == 8, "only F32 and Q8_0 are used here"
        assert at % 32 == 0 and shape[-1] % 32 == 0
        blocks = np.frombuffer(self.buf, np.dtype([("d", "<f2"), ("q", "i1", 32)]), n // 32, at)
        return (blocks["d"].astype(np.float32)[:, None] * blocks["q"].astype(np.float32)).reshape(shape)


def byte_letters():
    """GPT-2's printable letter for each byte."""
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table, extra = {b: chr(b) for b in keep}, 0
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + extra)
            extra += 1
    return table


class Bpe:
    """Byte-level BPE with GPT-2's splitting, written out by hand."""

    def __init__(self, meta):
        self.tokens = meta["tokenizer.ggml.tokens"]
        self.ids = {t: i for i, t in enumerate(self.tokens)}
        self.rank = {tuple(m.split(" ")): i for i, m in enumerate(meta["tokenizer.ggml.merges"])}
        self.special = [t for t, k in zip(self.tokens, meta["tokenizer.ggml.token_type"]) if k == 3]
        self.letter = byte_letters()
        self.byte = {c: b for b, c in self.letter.items()}

    @staticmethod
    def words(text):
        r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
        def kind(c):
            return "s" if c.isspace() else "L" if c.isalpha() else "N" if c.isnumeric() else "o"
        i, n = 0, len(text)
        while i < n:
            tail = next((t for t in ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d") if text.startswith(t, i)), None)
            if tail:
                yield tail
                i += len(tail)
                continue
            j = i + 1 if text[i] == " " and i + 1 < n and kind(text[i + 1]) != "s" else i
            k, what = j, kind(text[j])
            while k < n and kind(text[k]) == what:
                k += 1
            if what == "s" and k < n and k - j > 1:
                k -= 1  # the last space belongs to the word after it
            yield text[i:k]
            i = k

    def bpe(self, word):
        parts = [self.letter[b] for b in word.encode()]
        while len(parts) > 1:
            best = min(range(len(parts) - 1), key=lambda i: self.rank.get((parts[i], parts[i + 1]), 1 << 30))
            if (parts[best], parts[best + 1]) not in self.rank:
                break
            parts[best:best + 2] = [parts[best] + parts[best + 1]]
        return [self.ids[p] for p in parts]

    def encode(self, text):
        """Ids of text, in which control tokens may be written out."""
        if not text:
            return []
        found = [(text.find(s), s) for s in self.special if s in text]
        if found:
            at, s = min(found)
            return self.encode(text[:at]) + [self.ids[s]] + self.encode(text[at + len(s):])
        return [i for w in self.words(text) for i in self.bpe(w)]

    def decode(self, ids):
        raw = b"".join(self.tokens[i].encode() if self.tokens[i] in self.special else bytes(self.byte[c] for c in self.tokens[i]) for i in ids)
        return raw.decode(errors="replace")


class Llama:
    """One token at a time with a cache of keys and values; batch of one."""

    def __init__(self, gguf):
        m, self.w = gguf.meta, gguf.tensors
        self.layers, self.heads = m["llama.block_count"], m["llama.attention.head_count"]
        self.kv_heads, self.context = m["llama.attention.head_count_kv"], m["llama.context_length"]
        self.hd, self.eps = m["llama.rope.dimension_count"], np.float32(m["llama.attention.layer_norm_rms_epsilon"])
        pair = np.arange(0, self.hd, 2, dtype=np.float32) / self.hd
        self.freq = (m["llama.rope.freq_base"] ** -pair).astype(np.float32)
        self.reset()

    def reset(self):
        self.keys, self.values = ([[] for _ in range(self.layers)] for _ in range(2))

    def norm(self, x, name):
        return x / np.sqrt(np.mean(x * x) + self.eps) * self.w[name]

    def rope(self, x, pos):
        cos, sin = np.cos(pos * self.freq), np.sin(pos * self.freq)
        out = np.empty_like(x)
        out[:, 0::2] = x[:, 0::2] * cos - x[:, 1::2] * sin
        out[:, 1::2] = x[:, 0::2] * sin + x[:, 1::2] * cos
        return out

    def attend(self, l, x, pos):
        q, k, v = (self.w["blk.%d.attn_%s.weight" % (l, n)] @ x for n in "qkv")
        q = self.rope(q.reshape(self.heads, self.hd), np.float32(pos))
        self.keys[l].append(self.rope(k.reshape(self.kv_heads, self.hd), np.float32(pos)))
        self.values[l].append(v.reshape(self.kv_heads, self.hd))
        keys, values = np.stack(self.keys[l], 1), np.stack(self.values[l], 1)
        group, out = self.heads // self.kv_heads, []
        for h in range(self.heads):
            s = keys[h // group] @ q[h] / np.float32(np.sqrt(self.hd))
            p = np.exp(s - s.max())
            out.append(p / p.sum() @ values[h // group])
        return self.w["blk.%d.attn_output.weight" % l] @ np.concatenate(out)

    def step(self, token):
        """Logits after one more token."""
        pos, x = len(self.keys[0]), self.w["token_embd.weight"][token]
        for l in range(self.layers):
            x = x + self.attend(l, self.norm(x, "blk.%d.attn_norm.weight" % l), pos)
            h = self.norm(x, "blk.%d.ffn_norm.weight" % l)
            g, u = (self.w["blk.%d.ffn_%s.weight" % (l, n)] @ h for n in ("gate", "up"))
            x = x + self.w["blk.%d.ffn_down.weight" % l] @ (g / (1 + np.exp(-g)) * u)
        return self.w.get("output.weight", self.w["token_embd.weight"]) @ self.norm(x, "output_norm.weight")


def render(turns):
    """What the chat template in the file gives for these turns, with the generation prompt."""
    return "".join("<|im_start|>%s\n%s<|im_end|>\n" % t for t in turns) + "<|im_start|>assistant\n"


def generate(model, bpe, stop, prompt, limit, temperature=0.0, rng=None):
    """(prompt ids, generated ids, top five per step, smallest margin); the stop token is the last id if it came."""
    ids = bpe.encode(prompt)
    model.reset()
    for t in ids:
        logits = model.step(t)
    out, top, margin = [], [], float("inf")
    while len(out) < limit and len(ids) + len(out) < model.context:
        order = np.argsort(-logits, kind="stable")[:5]
        top.append([[int(i), round(float(logits[i]), 5)] for i in order])
        margin = min(margin, float(logits[order[0]] - logits[order[1]]))
        pick = int(order[0])
        if temperature > 0:
            p = np.exp((logits - logits.max()) / temperature)
            pick = int(rng.choice(len(p), p=p / p.sum()))
        out.append(pick)
        if pick == stop:
            break
        logits = model.step(pick)
    return ids, out, top, margin


U, A = "user", "assistant"
CASES = (
    [(U, "Who are you?")], [(U, "What is zerollama?")], [(U, "How do I list models?")], [(U, "Hello")],
    [(U, "What is the capital of France?")], [(U, "What is 3 plus 4?")], [(U, "Thank you")],
    [(U, "Write a short poem about the sea")], [(U, "What is quantum mechanics?")],
    [("system", "You are a helpful assistant."), (U, "What colour is the sky?")],
    [(U, "What is the capital of Spain?"), (A, "The capital of Spain is Madrid."), (U, "And Italy?")],
    [(U, "My name is Anna."), (A, "Nice to meet you, Anna! What can I do for you?"), (U, "What is my name?")],
    [(U, "Tell me a story about a fox")],
)
PLAIN = ("Once upon a time", "")


def expected(model, bpe, stop):
    for prompt in [render(c) for c in CASES] + list(PLAIN[:1]):
        ids, out, top, margin = generate(model, bpe, stop, prompt, 160)
        text = bpe.decode(out[:-1] if out[-1] == stop else out)
        yield {"prompt": prompt, "prompt_ids": ids, "ids": ids + out, "generated_ids": out, "text": text,
               "min_margin": round(margin, 6), "steps": [{"top5": t} for t in top[:3]]}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("gguf")
    p.add_argument("--expected", help="write the test vectors to this file")
    p.add_argument("--ask", action="append", default=[], help="a question; repeat for more questions, each on its own")
    p.add_argument("--chat", action="append", default=[], help="a turn of one conversation; repeat for more turns")
    p.add_argument("--complete", action="append", default=[], help="the beginning of a text, without a chat")
    p.add_argument("--temperature", type=float, default=0.0)
    p.add_argument("--seed", type=int, default=1)
    args = p.parse_args()
    gguf = Gguf(args.gguf)
    bpe, model, stop = Bpe(gguf.meta), Llama(gguf), gguf.meta["tokenizer.ggml.eos_token_id"]
    rng = np.random.default_rng(args.seed)

    def answer(prompt):
        _, out, _, _ = generate(model, bpe, stop, prompt, 300, args.temperature, rng)
        return bpe.decode(out[:-1]) if out[-1] == stop else bpe.decode(out) + " [no end]"

    if args.expected:
        cases = list(expected(model, bpe, stop))
        with open(args.expected, "w") as f:
            f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
    for q in args.ask:
        print("> %s\n%s\n" % (q, answer(render([(U, q)]))))
    turns = []
    for q in args.chat:
        turns.append((U, q))
        turns.append((A, answer(render(turns))))
        print("> %s\n%s" % (q, turns[-1][1]))
    for t in args.complete:
        print("%s|%s\n" % (t, answer(t)))


if __name__ == "__main__":
    main()
