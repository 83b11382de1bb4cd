"""A model that surely writes given texts: its prompt's last token says which.

Each token is followed by one other, whatever came before: attention and feed-forward add nothing, so that the last norm sees
the token's embedding alone, a row of signs nearly at right angles to all others, and the output's row of the token that follows is
that row. A text is a chain of tokens that no other text shares; what a prompt is made of is bytes, which are other tokens."""

import random
import struct

import gguf_file
from gguf_file import ARRAY, F32, STRING, U32

EMBD, SEED = 512, 7
NORMAL, CONTROL = 1, 3
INT = 5


def byte_characters():
    """Byte-level BPE's: a visible byte as itself, the others as U+0100 and up."""
    seen = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    hidden = (c for c in range(256) if c not in seen)
    return {b: chr(b) for b in seen} | {b: chr(0x100 + i) for i, b in enumerate(hidden)}


BYTES = byte_characters()


# Eight bits as eight numbers.
SIGNS = [struct.pack("<8f", *(1.0 if b >> i & 1 else -1.0 for i in range(8))) for b in range(256)]


def added(a, b):
    return struct.pack(f"<{EMBD}f", *(x + y for x, y in zip(struct.unpack(f"<{EMBD}f", a), struct.unpack(f"<{EMBD}f", b))))


def written(text):
    return "".join(BYTES[b] for b in text.encode())


class Vocabulary:
    def __init__(self):
        self.tokens, self.types, self.ids, self.after = [], [], {}, {}

    def add(self, token, kind=NORMAL):
        self.tokens.append(token)
        self.types.append(kind)
        self.ids[token] = len(self.tokens) - 1
        return self.ids[token]

    def next_token(self, text, size):
        """Of about `size` characters, which no other text has begun a token with: (its length, its id)."""
        for n in [*range(size, len(text) - 1), len(text)]:
            if n > 1 and written(text[:n]) not in self.ids:
                return n, self.add(written(text[:n]))
        byte = self.ids[written(text[0])] if len(text[0].encode()) == 1 else None
        if byte is None or byte in self.after:
            raise ValueError(f"no token is left for {text!r}")
        return 1, byte

    def chain(self, start, text, marks, size, end):
        """`marks` are control tokens, which only one text can have, once."""
        at = start
        while text:
            until = min((text.index(m) for m in marks if m in text), default=len(text))
            if until == 0:
                n = next(len(m) for m in marks if text.startswith(m))
                token = self.add(text[:n], CONTROL)
            else:
                n, token = self.next_token(text[:until], size)
            self.after[at] = at = token
            text = text[n:]
        self.after[at] = end


def write(path, template, scripts, marks=(), size=4, context=8192, for_tools=None):
    """`scripts`: {start: text}; a start is the text of a control token, such as "<|1|>", or one character."""
    v = Vocabulary()
    for b in range(256):
        v.add(BYTES[b])
    bos, end = v.add("<s>", CONTROL), v.add("</s>", CONTROL)
    for start, text in scripts.items():
        v.chain(v.ids[written(start)] if len(start) == 1 else v.add(start, CONTROL), text, marks, size, end)
    n = len(v.tokens)
    rng = random.Random(SEED)
    rows = [b"".join(SIGNS[b] for b in rng.randbytes(EMBD // 8)) for _ in range(n)]
    output = [bytes(4 * EMBD)] * n
    for token, following in v.after.items():  # only the end follows many
        output[following] = rows[token] if following != end else added(output[end], rows[token])
    keys = [("general.architecture", STRING, "llama"), ("general.name", STRING, "scripted"),
            ("llama.context_length", U32, context), ("llama.block_count", U32, 1), ("llama.embedding_length", U32, EMBD),
            ("llama.feed_forward_length", U32, 32), ("llama.attention.head_count", U32, 4),
            ("llama.attention.head_count_kv", U32, 1), ("llama.attention.layer_norm_rms_epsilon", F32, 1e-5),
            ("llama.rope.freq_base", F32, 10000.0), ("tokenizer.ggml.model", STRING, "gpt2"), ("tokenizer.ggml.pre", STRING, "gpt-2"),
            ("tokenizer.ggml.tokens", ARRAY, (STRING, v.tokens)), ("tokenizer.ggml.token_type", ARRAY, (INT, v.types)),
            ("tokenizer.ggml.merges", ARRAY, (STRING, [])), ("tokenizer.ggml.bos_token_id", U32, bos),
            ("tokenizer.ggml.eos_token_id", U32, end), ("tokenizer.chat_template", STRING, template)]
    if for_tools:
        keys.append(("tokenizer.chat_template.tool_use", STRING, for_tools))
    head = EMBD // 4

    def tensor(name, dims, values):
        return (name, dims, 0, struct.pack(f"<{len(values)}f", *values))

    def zeros(name, *dims):
        return tensor(name, dims, [0.0] * (dims[0] * dims[1]))

    gguf_file.write(path, keys, [
        ("token_embd.weight", (EMBD, n), 0, b"".join(rows)),
        ("output.weight", (EMBD, n), 0, b"".join(output)),
        tensor("output_norm.weight", (EMBD,), [1.0] * EMBD),
        tensor("blk.0.attn_norm.weight", (EMBD,), [1.0] * EMBD), tensor("blk.0.ffn_norm.weight", (EMBD,), [1.0] * EMBD),
        zeros("blk.0.attn_q.weight", EMBD, EMBD), zeros("blk.0.attn_k.weight", EMBD, head),
        zeros("blk.0.attn_v.weight", EMBD, head), zeros("blk.0.attn_output.weight", EMBD, EMBD),
        zeros("blk.0.ffn_gate.weight", EMBD, 32), zeros("blk.0.ffn_up.weight", EMBD, 32), zeros("blk.0.ffn_down.weight", 32, EMBD),
    ])
