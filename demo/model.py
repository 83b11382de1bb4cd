"""The network itself: a small Llama, in the convention GGUF expects.

One definition serves training and export, so the two cannot drift apart.
Tensor names are the GGUF names ("." is not allowed in a module name, so
blocks live in a ModuleList called blk).  RoPE rotates the pairs (2i, 2i+1),
which is what the architecture "llama" means in GGUF: no permutation is needed
when the weights are written out.
"""
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Config:
    vocab: int = 2048
    dim: int = 256
    layers: int = 5
    heads: int = 8
    kv_heads: int = 4
    hidden: int = 512
    context: int = 512
    rope_base: float = 10000.0
    eps: float = 1e-5

    @property
    def head_dim(self):
        return self.dim // self.heads


class Norm(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(cfg.dim))
        self.eps = cfg.eps

    def forward(self, x):
        return F.rms_norm(x, x.shape[-1:], self.weight, self.eps)


def rope_table(cfg):
    """cos and sin for every position and every pair, shape (context, head_dim/2)."""
    pair = torch.arange(0, cfg.head_dim, 2).float() / cfg.head_dim
    angle = torch.outer(torch.arange(cfg.context).float(), cfg.rope_base ** -pair)
    return angle.cos(), angle.sin()


def rotate(x, cos, sin):
    """Rotate the pairs (2i, 2i+1) of x, shape (batch, heads, time, head_dim)."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


class Block(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        kv = cfg.kv_heads * cfg.head_dim
        self.cfg = cfg
        self.attn_norm, self.ffn_norm = Norm(cfg), Norm(cfg)
        self.attn_q = nn.Linear(cfg.dim, cfg.dim, bias=False)
        self.attn_k = nn.Linear(cfg.dim, kv, bias=False)
        self.attn_v = nn.Linear(cfg.dim, kv, bias=False)
        self.attn_output = nn.Linear(cfg.dim, cfg.dim, bias=False)
        self.ffn_gate = nn.Linear(cfg.dim, cfg.hidden, bias=False)
        self.ffn_up = nn.Linear(cfg.dim, cfg.hidden, bias=False)
        self.ffn_down = nn.Linear(cfg.hidden, cfg.dim, bias=False)

    def attend(self, x, cos, sin, mask):
        b, t, d = x.shape
        hd = self.cfg.head_dim
        q = self.attn_q(x).view(b, t, -1, hd).transpose(1, 2)
        k = self.attn_k(x).view(b, t, -1, hd).transpose(1, 2)
        v = self.attn_v(x).view(b, t, -1, hd).transpose(1, 2)
        q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        group = self.cfg.heads // self.cfg.kv_heads
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.attn_output(y.transpose(1, 2).reshape(b, t, d))

    def forward(self, x, cos, sin, mask):
        x = x + self.attend(self.attn_norm(x), cos, sin, mask)
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Llama(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        self.token_embd = nn.Embedding(cfg.vocab, cfg.dim)
        self.blk = nn.ModuleList(Block(cfg) for _ in range(cfg.layers))
        self.output_norm = Norm(cfg)
        cos, sin = rope_table(cfg)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.apply(self.init)
        for b in self.blk:
            for w in (b.attn_output.weight, b.ffn_down.weight):
                nn.init.normal_(w, std=0.02 / (2 * cfg.layers) ** 0.5)

    @staticmethod
    def init(m):
        if isinstance(m, (nn.Linear, nn.Embedding)):
            nn.init.normal_(m.weight, std=0.02)

    def hidden(self, ids, docs):
        """docs numbers the document of each position: a token sees only its own, and only backwards."""
        t = ids.shape[1]
        same = docs[:, None, :, None] == docs[:, None, None, :]
        mask = torch.where(same.tril(), 0.0, float("-inf")).to(torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32)
        x = self.token_embd(ids)
        for b in self.blk:
            x = b(x, self.cos[:t], self.sin[:t], mask)
        return self.output_norm(x)

    def forward(self, ids):
        return F.linear(self.hidden(ids, torch.zeros_like(ids)), self.token_embd.weight)

    def loss(self, ids, docs, targets):
        """Mean cross entropy over targets >= 0; other positions cost nothing."""
        keep = targets.flatten() >= 0
        h = self.hidden(ids, docs).flatten(0, 1)[keep]
        logits = F.linear(h, self.token_embd.weight).float()
        return F.cross_entropy(logits, targets.flatten()[keep])
