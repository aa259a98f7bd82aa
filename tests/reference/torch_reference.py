"""COST-EFF in plain PyTorch: the independent computation that this project's tests compare with.

A model is a dict {name: tensor} with Hugging Face parameter names, plus a `Config`. Nothing here is fast; everything is
padded to the longest row and differentiated by torch.autograd, in f64 unless said otherwise.
"""

from dataclasses import dataclass, field, replace
import math
import torch
import torch.nn.functional as F


@dataclass
class Config:
    vocab: int
    hidden: int  # H
    head_dim: int  # d
    heads: list  # heads of each layer
    ffn: list  # FFN width of each layer
    positions: int
    classes: int
    types: int = 2
    rank: int = -1  # of the word embedding; -1: not factorised
    eps: float = 1e-12
    pooling: str = "cls"  # what an exit reads: "cls" or the "mean" over real tokens

    @property
    def layers(self):
        return len(self.heads)


# ---------------------------------------------------------------- model


class Rescale(torch.autograd.Function):
    """Identity forward, multiplies by s backward."""

    @staticmethod
    def forward(ctx, x, s):
        ctx.s = s
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        return ctx.s * g, None


def linear(p, name, x):
    return F.linear(x, p[name + ".weight"], p[name + ".bias"])


def layer_norm(p, name, x, eps):
    return F.layer_norm(x, x.shape[-1:], p[name + ".weight"], p[name + ".bias"], eps)


def embed(p, c, ids, types):
    e = "bert.embeddings."
    if c.rank < 0:
        x = p[e + "word_embeddings.weight"][ids]
    else:
        x = p[e + "word_embeddings1.weight"][ids] @ p[e + "word_embeddings2.weight"].T
    x = x + p[e + "position_embeddings.weight"][: ids.shape[1]] + p[e + "token_type_embeddings.weight"][types]
    return layer_norm(p, e + "LayerNorm", x, c.eps)


def encoder_layer(p, c, k, x, mask):
    """Layer k (1-based); mask [B, S] is 1 on real tokens. Returns (output, attention probabilities)."""
    n = f"bert.encoder.layer.{k - 1}."
    B, S, _ = x.shape
    A, d = c.heads[k - 1], c.head_dim
    split = lambda t: t.view(B, S, A, d).transpose(1, 2)
    q, key, v = (split(linear(p, n + f"attention.self.{w}", x)) for w in ("query", "key", "value"))
    scores = q @ key.transpose(-1, -2) / math.sqrt(d)
    scores = scores.masked_fill(mask[:, None, None, :] == 0, torch.finfo(scores.dtype).min)
    prob = scores.softmax(-1)
    ctx = (prob @ v).transpose(1, 2).reshape(B, S, A * d)
    x = layer_norm(p, n + "attention.output.LayerNorm", linear(p, n + "attention.output.dense", ctx) + x, c.eps)
    y = linear(p, n + "output.dense", F.gelu(linear(p, n + "intermediate.dense", x)))
    return layer_norm(p, n + "output.LayerNorm", y + x, c.eps), prob


def exit_name(c, i):
    return "classifier" if i == c.layers else f"bert.encoder.highway.{i - 1}.classifier"


def pool(c, x, mask):
    if c.pooling == "cls":
        return x[:, 0]
    m = mask.unsqueeze(-1).to(x.dtype)
    return (x * m).sum(1) / m.sum(1)


@dataclass
class Outputs:
    logits: dict = field(default_factory=dict)  # exit i -> [B, C]
    hidden: list = field(default_factory=list)  # h_0 .. h_L, as the feature losses read them
    probs: list = field(default_factory=list)  # attention probabilities of each layer


def multi_exit(p, c, batch, equalise=False, exit_start=1):
    """Forward of the multi-exit model; with `equalise`, Eq. 3 acts on the gradients."""
    ids, types, mask = batch["ids"], batch["types"], batch["mask"]
    out, L = Outputs(), c.layers
    x = embed(p, c, ids, types)
    out.hidden.append(x)
    for k in range(1, L + 1):
        x, prob = encoder_layer(p, c, k, x, mask)
        out.probs.append(prob)
        if equalise:
            x = Rescale.apply(x, 1.0 / (L - k + 1))
        out.hidden.append(x)
        if k >= exit_start or k == L:
            out.logits[k] = linear(p, exit_name(c, k), torch.tanh(pool(c, x, mask)))
        if equalise and k < L:
            x = Rescale.apply(x, max(1.0, L - k))
    return out


def single_exit(p, c, batch):
    """The fine-tuned teacher: BERT's pooler and one classifier."""
    x = embed(p, c, batch["ids"], batch["types"])
    out = Outputs(hidden=[x])
    for k in range(1, c.layers + 1):
        x, prob = encoder_layer(p, c, k, x, batch["mask"])
        out.hidden.append(x)
        out.probs.append(prob)
    pooled = torch.tanh(linear(p, "bert.pooler.dense", x[:, 0]))
    out.logits[c.layers] = linear(p, "classifier", pooled)
    return out


def entropy(logits):
    lp = logits.log_softmax(-1)
    return -(lp.exp() * lp).sum(-1)


# ---------------------------------------------------------------- losses


def hard(logits, labels):
    return F.cross_entropy(logits, labels)


def soft(student, teacher, T=1.0):
    """Cross-entropy with the teacher's distribution; mean over the batch, no T^2 factor."""
    return -((teacher / T).softmax(-1) * (student / T).log_softmax(-1)).sum(-1).mean()


def features(student, teacher, mask):
    """Eq. 5: per sequence, the squared error averaged over hidden units and real tokens; then over the batch; summed over h_0..h_L."""
    total = 0.0
    for s, t in zip(student, teacher):
        e = ((s - t) ** 2).mean(-1) * mask
        total = total + (e.sum(-1) / mask.sum(-1)).mean()
    return total


def features_plain(student, teacher, mask):
    """The release's importance pass: mean over every entry of the padded batch, padding rows zeroed."""
    m = mask.unsqueeze(-1).to(student[0].dtype)
    return sum((((s - t) * m) ** 2).mean() for s, t in zip(student, teacher))


def ta_loss(student, teacher_logits, labels, T=1.0, fidelity="release"):
    s = sum(soft(z, teacher_logits, T) for z in student.logits.values())
    if fidelity == "paper":
        return s
    return (s + sum(hard(z, labels) for z in student.logits.values())) / 2


def prediction(student, teacher, T=1.0):
    """Eq. 4: every exit learns from the same exit of the teaching assistant."""
    return sum(soft(student.logits[i], teacher.logits[i], T) for i in student.logits)


def recovery_loss(student, teacher, mask, T=1.0):
    return prediction(student, teacher, T) + features(student.hidden, teacher.hidden, mask)


def importance_loss(student, teacher, labels, mask, T=1.0, fidelity="release"):
    if fidelity == "paper":
        return recovery_loss(student, teacher, mask, T)
    h = sum(hard(z, labels) for z in student.logits.values())
    return 0.9 * prediction(student, teacher, T) + 0.1 * h + features_plain(student.hidden, teacher.hidden, mask)


# ---------------------------------------------------------------- importance and slenderising


def gradients(p, loss):
    names = [n for n, t in p.items() if t.requires_grad]
    g = torch.autograd.grad(loss, [p[n] for n in names], allow_unused=True)
    return {n: (torch.zeros_like(p[n]) if x is None else x) for n, x in zip(names, g)}


def _layer_names(k):
    n = f"bert.encoder.layer.{k - 1}."
    return {
        w: n + v
        for w, v in {
            "q": "attention.self.query",
            "k": "attention.self.key",
            "v": "attention.self.value",
            "o": "attention.output.dense",
            "fi": "intermediate.dense",
            "fo": "output.dense",
        }.items()
    }


def importance(p, c, student_batches, teacher_fn, fidelity="release", equalise=True, T=1.0, exit_start=1):
    """Scores {"heads": [L][A], "neurons": [L][F]}; student_batches: calibration batches, dropout off.

    release: sum over batches of |g| times |w|; a head: its columns of W_O; a neuron: its row of W_FI and column of W_FO.
    paper:   |sum g w| with g of the mean loss; a head: q, k, v rows and biases and W_O columns; a neuron: row, bias, column.
    """
    acc = {n: torch.zeros_like(t) for n, t in p.items()}
    for b in student_batches:
        s = multi_exit(p, c, b, equalise, exit_start)
        with torch.no_grad():
            t = teacher_fn(b)
        g = gradients(p, importance_loss(s, t, b["labels"], b["mask"], T, fidelity))
        for n in g:
            acc[n] += g[n].abs() if fidelity == "release" else g[n] / len(student_batches)
    gw = {n: (acc[n] * p[n]).detach() for n in p}
    heads, neurons = [], []
    for k in range(1, c.layers + 1):
        n, d = _layer_names(k), c.head_dim
        if fidelity == "release":
            col = gw[n["o"] + ".weight"].abs().sum(0).view(-1, d).sum(1)
            heads.append(col)
            neurons.append(gw[n["fi"] + ".weight"].abs().sum(1) + gw[n["fo"] + ".weight"].abs().sum(0))
        else:
            h = gw[n["o"] + ".weight"].sum(0).view(-1, d).sum(1)
            for w in "qkv":
                h = h + gw[n[w] + ".weight"].sum(1).view(-1, d).sum(1) + gw[n[w] + ".bias"].view(-1, d).sum(1)
            heads.append(h.abs())
            f = gw[n["fi"] + ".weight"].sum(1) + gw[n["fi"] + ".bias"] + gw[n["fo"] + ".weight"].sum(0)
            neurons.append(f.abs())
    return {"heads": heads, "neurons": neurons}


def keep_top(scores, n):
    return [torch.sort(torch.topk(s, n).indices).values for s in scores]


def prune(p, c, heads, neurons):
    """Keep the given heads and neurons of each layer, in their original order."""
    q = {n: t.detach().clone() for n, t in p.items()}
    for k in range(1, c.layers + 1):
        n, d = _layer_names(k), c.head_dim
        rows = (heads[k - 1][:, None] * d + torch.arange(d)[None]).flatten()
        for w in "qkv":
            q[n[w] + ".weight"] = q[n[w] + ".weight"][rows].clone()
            q[n[w] + ".bias"] = q[n[w] + ".bias"][rows].clone()
        q[n["o"] + ".weight"] = q[n["o"] + ".weight"][:, rows].clone()
        f = neurons[k - 1]
        q[n["fi"] + ".weight"] = q[n["fi"] + ".weight"][f].clone()
        q[n["fi"] + ".bias"] = q[n["fi"] + ".bias"][f].clone()
        q[n["fo"] + ".weight"] = q[n["fo"] + ".weight"][:, f].clone()
    return q, replace(c, heads=[len(h) for h in heads], ffn=[len(f) for f in neurons])


def factorise(p, c, rank):
    """Eq. 1: truncated SVD of the word embedding (of the product, when it is already factorised)."""
    e = "bert.embeddings."
    q = dict(p)
    if c.rank < 0:
        w = q.pop(e + "word_embeddings.weight")
    else:
        w = q[e + "word_embeddings1.weight"] @ q[e + "word_embeddings2.weight"].T
    u, s, vt = torch.linalg.svd(w.detach(), full_matrices=False)
    q[e + "word_embeddings1.weight"] = (u[:, :rank] * s[:rank]).contiguous()
    q[e + "word_embeddings2.weight"] = vt[:rank].T.contiguous()
    return q, replace(c, rank=rank)


def schedule(r, rounds, c0, keep_heads, keep_ffn, keep_rank):
    """Sizes after round r: heads A - r (release: one a round), FFN and rank linear, truncated."""
    A, Fw, H = c0.heads[0], c0.ffn[0], c0.hidden
    if r >= rounds:
        return A - r, keep_ffn, keep_rank
    return A - r, int(Fw - (Fw - keep_ffn) * (r / rounds)), int(H - (H - keep_rank) * (r / rounds))


# ---------------------------------------------------------------- optimisation


def decays(name):
    return "bias" not in name and "LayerNorm.weight" not in name


class AdamW:
    """variant "torch": decay first, epsilon after bias correction. "transformers": epsilon before it, decay last."""

    def __init__(self, p, lr, variant="torch", betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        self.p, self.lr, self.variant, self.betas, self.eps, self.wd = p, lr, variant, betas, eps, weight_decay
        self.m = {n: torch.zeros_like(t) for n, t in p.items()}
        self.v = {n: torch.zeros_like(t) for n, t in p.items()}
        self.t = 0

    def step(self, grads, lr=None):
        lr = self.lr if lr is None else lr
        self.t += 1
        b1, b2 = self.betas
        c1, c2 = 1 - b1**self.t, 1 - b2**self.t
        with torch.no_grad():
            for n, w in self.p.items():
                g, wd = grads[n], self.wd if decays(n) else 0.0
                self.m[n].mul_(b1).add_(g, alpha=1 - b1)
                self.v[n].mul_(b2).addcmul_(g, g, value=1 - b2)
                if self.variant == "torch":
                    w.mul_(1 - lr * wd)
                    w.addcdiv_(self.m[n], self.v[n].sqrt() / math.sqrt(c2) + self.eps, value=-lr / c1)
                else:
                    w.addcdiv_(self.m[n], self.v[n].sqrt() + self.eps, value=-lr * math.sqrt(c2) / c1)
                    w.add_(w, alpha=-lr * wd)


def clip(grads, max_norm):
    """Global norm; torch's rule: scale by min(1, max_norm / (norm + 1e-6)). Returns the norm before clipping."""
    norm = torch.sqrt(sum((g.double() ** 2).sum() for g in grads.values()))
    s = min(1.0, max_norm / (norm.item() + 1e-6))
    for g in grads.values():
        g.mul_(s)
    return norm.item()


def warmup_linear(step, warmup, total):
    """Factor on the learning rate at 0-based step."""
    if step < warmup:
        return step / max(1, warmup)
    return max(0.0, (total - step) / max(1, total - warmup))
