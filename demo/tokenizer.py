"""Byte-level BPE, trained on our own text, that any GGUF reader can rebuild.

The pre-tokenizer is exactly GPT-2's (ByteLevel with its regex and no prefix
space), which GGUF calls "gpt-2"; all 256 bytes are in the vocabulary, so every
input can be encoded.
"""
from itertools import islice

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (END, START, STOP)  # ids 0, 1, 2

# ChatML: the same text that render_chat() writes.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


def plain(document):
    kind, doc = document
    return doc if kind == "text" else "\n".join("%s\n%s" % turn for turn in doc)


def train(documents, count, vocab):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=list(SPECIAL), show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tok.train_from_iterator((plain(d) for d in islice(documents, count)), trainer)
    assert tok.get_vocab_size() == vocab
    return tok


def render_chat(turns, generate=True):
    """Turns as the chat template writes them, for a prompt."""
    text = "".join("%s%s\n%s%s\n" % (START, role, content, STOP) for role, content in turns)
    return text + (START + "assistant\n" if generate else "")


def encode_document(tok, document):
    """(ids, learn): learn is true where the token is one the model should write itself."""
    kind, doc = document
    ids, learn = [], []

    def add(text, wanted):
        piece = tok.encode(text).ids
        ids.extend(piece)
        learn.extend([wanted] * len(piece))

    if kind == "text":
        add(doc + STOP, True)
        return ids, learn
    for role, content in doc:
        add("%s%s\n" % (START, role), False)
        add(content + STOP, role == "assistant")
        add("\n", False)
    return ids, learn
