#!/usr/bin/env python3
"""What bench/embed.py compares with, each in a process of its own: python3 embed_rivals.py KIND MODEL THREADS reads lines of
JSON, {"texts": […]}, and answers each with {"seconds", "vectors"}; the first line it writes is what it is, or why it cannot be.

KIND: torch (sentence-transformers), onnx (ONNX Runtime, float32), onnx-int8 (its dynamic quantisation). Texts are sorted by
length and batched by 32, as sentence-transformers does it."""

import base64
import json
import os
import sys
import tempfile
import time

BATCH = 32


class Torch:
    def __init__(self, path, threads):
        import sentence_transformers
        import torch

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.model = sentence_transformers.SentenceTransformer(path, device="cpu")
        self.model.max_seq_length = 512
        self.name = f"sentence-transformers {sentence_transformers.__version__}, torch {torch.__version__}"

    def encode(self, texts):
        return self.model.encode(texts, batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False)


class Onnx:
    def __init__(self, path, threads, int8=False):
        import numpy
        import onnxruntime
        import tokenizers

        self.np = numpy
        self.tokenizer = tokenizers.Tokenizer.from_file(os.path.join(path, "tokenizer.json"))
        self.tokenizer.enable_truncation(512)
        self.tokenizer.enable_padding()
        with tempfile.TemporaryDirectory() as d:
            file = os.path.join(d, "model.onnx")
            export(path, file)
            if int8:
                from onnxruntime.quantization import QuantType, quantize_dynamic

                quantize_dynamic(file, file + ".8", weight_type=QuantType.QInt8)
                file += ".8"
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.inputs = {i.name for i in self.session.get_inputs()}
        self.name = f"ONNX Runtime {onnxruntime.__version__}, {'int8' if int8 else 'float32'}"

    def encode_batch(self, texts):
        np, encodings = self.np, self.tokenizer.encode_batch(texts)
        ids = np.array([e.ids for e in encodings], dtype=np.int64)
        mask = np.array([e.attention_mask for e in encodings], dtype=np.int64)
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        states = self.session.run(None, {k: v for k, v in feed.items() if k in self.inputs})[0]
        sums = (states * mask[:, :, None]).sum(1)
        return sums / np.linalg.norm(sums, axis=1, keepdims=True)  # of the mean: its length does not matter

    def encode(self, texts):
        np = self.np
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        parts = [self.encode_batch([texts[i] for i in order[at : at + BATCH]]) for at in range(0, len(order), BATCH)]
        out = np.concatenate(parts)
        return out[np.argsort(order)]


def export(path, file):
    import torch
    import transformers

    class Wrapped(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask, token_type_ids):
            return self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).last_hidden_state

    model = Wrapped(transformers.AutoModel.from_pretrained(path, attn_implementation="eager").eval())
    ids, mask = torch.ones(2, 16, dtype=torch.int64), torch.ones(2, 16, dtype=torch.int64)
    mask[0, 9:] = 0
    axes = {0: torch.export.Dim("texts", min=1, max=1024), 1: torch.export.Dim("tokens", min=2, max=512)}
    torch.onnx.export(model, (ids, mask, ids * 0), file, dynamo=True, external_data=False, verbose=False,
                      dynamic_shapes=(axes, axes, axes))


def main():
    kind, path, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is none of our answers
    try:
        rival = Torch(path, threads) if kind == "torch" else Onnx(path, threads, kind == "onnx-int8")
        rival.encode(["warm", "up"])
    except Exception as e:  # noqa: B902: whatever it is, it is why
        print(json.dumps({"error": f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}"}), file=out, flush=True)
        return
    print(json.dumps({"name": rival.name}), file=out, flush=True)
    for line in sys.stdin:
        texts = json.loads(line)["texts"]
        begin = time.monotonic()
        vectors = rival.encode(texts)
        seconds = time.monotonic() - begin
        few = [base64.b64encode(v.astype("<f4").tobytes()).decode() for v in vectors[:64]]
        print(json.dumps({"seconds": seconds, "vectors": few}), file=out, flush=True)


if __name__ == "__main__":
    main()
