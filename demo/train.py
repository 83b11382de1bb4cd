"""Trains the demo model from nothing on one CPU core, in about three quarters of an hour.

    python3 train.py --out build/run

Writes tokenizer.json and model.pt (weights, configuration, log) to --out, and
overwrites model.pt as it goes, so an interrupted run leaves a usable model.
The text comes from corpus.py; the same seed gives the same text.
"""
import argparse
import json
import os
import time
from dataclasses import asdict

import torch
from tokenizers import Tokenizer

import corpus
import tokenizer
from model import Config, Llama


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", required=True)
    p.add_argument("--steps", type=int, default=3000)
    p.add_argument("--minutes", type=float, default=1e9, help="on a busy machine: end sooner, with the same schedule")
    p.add_argument("--batch", type=int, default=6, help="windows of the full context per step, or twice as many half ones")
    p.add_argument("--lr", type=float, default=3.5e-3)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--resume", help="go on from the weights and the tokenizer of this run")
    p.add_argument("--compile", action="store_true", help="use torch.compile (needs a C++ compiler)")
    p.add_argument("--save-every", type=int, default=200)
    return p.parse_args()


def windows(tok, seed, length):
    """Endless (ids, docs, targets) windows: whole documents side by side, padded with <|endoftext|>.

    docs numbers the documents, so that none looks at its neighbour.  A target
    of -1 costs nothing: padding, and what the user and the system say.
    """
    pool = []
    source = corpus.documents(seed)
    while True:
        while len(pool) < 64:
            ids, learn = tokenizer.encode_document(tok, next(source))
            if len(ids) <= length:
                pool.append((ids, [t if w else -1 for t, w in zip(ids[1:], learn[1:])] + [-1]))
        row, docs, targets, rest = [], [], [], []
        for ids, wanted in pool:
            if len(row) + len(ids) <= length:
                docs += [len(docs)] * len(ids)
                row += ids
                targets += wanted
            else:
                rest.append((ids, wanted))
        pool, fill = rest, length - len(row)
        yield torch.tensor(row + [0] * fill), torch.tensor(docs + [-1] * fill), torch.tensor(targets + [-1] * fill)


def batch_of(source, n):
    return [torch.stack(column) for column in zip(*(next(source) for _ in range(n)))]


def optimizers(model, lr):
    """Muon for the matrices inside the blocks, AdamW for the embedding and the norms."""
    inner = [p for p in model.blk.parameters() if p.ndim == 2]
    other = [p for p in model.parameters() if not any(p is q for q in inner)]
    return (torch.optim.Muon(inner, lr=lr, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(other, lr=lr, betas=(0.9, 0.98), weight_decay=0.0))


def rate(step, done):
    """Warm up, hold, then go down to almost nothing; done runs from 0 to 1."""
    return min(1.0, (step + 1) / 50, max((1 - done) / 0.6, 0.01))


@torch.no_grad()
def validate(model, tok, context, autocast, n=12):
    batch = batch_of(windows(tok, 999, context), n)
    with autocast():
        return sum(model.loss(*(c[i:i + 4] for c in batch)).item() for i in range(0, n, 4)) / (n // 4)


def save(args, cfg, model, log):
    torch.save({"config": asdict(cfg), "weights": model.state_dict(), "log": log}, os.path.join(args.out, "model.part"))
    os.replace(os.path.join(args.out, "model.part"), os.path.join(args.out, "model.pt"))


def main():
    args = arguments()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    os.makedirs(args.out, exist_ok=True)
    began = time.time()
    cfg = Config()
    if args.resume:
        tok = Tokenizer.from_file(os.path.join(args.resume, "tokenizer.json"))
    else:
        tok = tokenizer.train(corpus.documents(args.seed + 1000), 30000, cfg.vocab)
    tok.save(os.path.join(args.out, "tokenizer.json"))
    model = Llama(cfg)
    if args.resume:
        model.load_state_dict(torch.load(os.path.join(args.resume, "model.pt"))["weights"])
    if args.compile:
        model.hidden = torch.compile(model.hidden)
    print("parameters", sum(p.numel() for p in model.parameters()), "tokenizer ready after %.0f s" % (time.time() - began), flush=True)

    def autocast():
        return torch.autocast("cpu", dtype=torch.bfloat16)

    opts = optimizers(model, args.lr)
    source = windows(tok, args.seed, cfg.context // 2)
    log, mean, width, tokens = [], None, 2 * args.batch, 0
    step, done, long_windows = 0, 0.0, False
    while done < 1:
        for o in opts:
            for g in o.param_groups:
                g["lr"] = args.lr * rate(step, done)
        if done > 0.7 and not long_windows:  # short windows are cheaper; long ones teach the later positions
            source, width, long_windows = windows(tok, args.seed + 1, cfg.context), args.batch, True
        batch = batch_of(source, width)
        with autocast():
            loss = model.loss(*batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for o in opts:
            o.step()
            o.zero_grad(set_to_none=True)
        tokens += batch[0].numel()
        mean = loss.item() if mean is None else 0.95 * mean + 0.05 * loss.item()
        step += 1
        took = time.time() - began
        done = max(step / args.steps, took / 60 / args.minutes)
        if step % 50 == 0 or done >= 1:
            log.append({"step": step, "tokens": tokens, "loss": round(mean, 4), "seconds": round(took)})
            print("step %d loss %.4f  %.0f s  %.0f tokens/s" % (step, mean, took, tokens / took), flush=True)
        if step % args.save_every == 0 or done >= 1:
            log[-1]["validation"] = round(validate(model, tok, cfg.context, autocast), 4)
            print("validation loss", log[-1]["validation"], flush=True)
            save(args, cfg, model, log)
    with open(os.path.join(args.out, "log.json"), "w") as f:
        json.dump(log, f, indent=1)


if __name__ == "__main__":
    main()
