"""The methods COST-EFF is compared with, in plain f64 PyTorch: losses, exit rules, optimiser steps.

The transformer is torch_reference's (imported as R). A model is {name: tensor} with the names of the published
checkpoints (ElasticBERT's prefix "elasticbert." is written "bert." in here) and an R.Config; layers and exits are counted from 1.
"""

import math
import torch
import torch.nn.functional as F

import torch_reference as R

PAD = 0  # nn.Embedding(padding_idx=0): the published models never learn this row of the word embedding


def gradients(p, loss, **kw):
    """Gradients of the parameters that the loss reaches; the others are left out, as optimisers skip them."""
    g = torch.autograd.grad(loss, list(p.values()), allow_unused=True, **kw)
    g = {n: x for n, x in zip(p, g) if x is not None}
    for n in g:
        if n.endswith("word_embeddings.weight"):
            g[n] = g[n].clone()
            g[n][PAD] = 0
    return g


def task_loss(logits, labels):
    """Cross-entropy, or the squared error when there is a single class (regression); mean over the batch."""
    return F.mse_loss(logits.view(-1), labels.view(-1)) if logits.shape[-1] == 1 else F.cross_entropy(logits, labels)


def pooled(p, name, x):
    return torch.tanh(R.linear(p, name, x[:, 0]))


# ---------------------------------------------------------------- exits: DeeBERT, PABEE, ElasticBERT

HEADS = {  # exit k -> (pooler, classifier)
    "deebert": lambda k: (f"bert.encoder.highway.{k - 1}.pooler.dense", f"bert.encoder.highway.{k - 1}.classifier"),
    "pabee": lambda k: ("bert.pooler.dense", f"classifiers.{k - 1}"),
    "elasticbert": lambda k: (f"bert.encoder.pooler.{k - 1}.dense", f"classifiers.{k - 1}"),
}


def exits(p, c, batch, method, equalise=False):
    """Logits of the L exits; DeeBERT has a main head besides, under "main"."""
    x, z, L = R.embed(p, c, batch["ids"], batch["types"]), {}, c.layers
    for k in range(1, L + 1):
        x, _ = R.encoder_layer(p, c, k, x, batch["mask"])
        if equalise:
            x = R.Rescale.apply(x, 1.0 / (L - k + 1))
        pooler, classifier = HEADS[method](k)
        z[k] = R.linear(p, classifier, pooled(p, pooler, x))
        if equalise:
            x = R.Rescale.apply(x, float(L - k))  # 0 after the last layer, where nothing follows
    if method == "deebert":
        z["main"] = R.linear(p, "classifier", pooled(p, "bert.pooler.dense", x))
    return z


def deebert_loss(z, labels, stage):
    """Stage 1: the main head. Stage 2: the sum over highways 1..L-1; highway L is left out and stays as it was."""
    if stage == 1:
        return task_loss(z["main"], labels)
    return sum(task_loss(z[k], labels) for k in range(1, len(z) - 1))


def deebert_learns(name, stage):
    return ("highway" in name) == (stage == 2)


def pabee_loss(z, labels):
    """Mean over the exits, exit j weighted by j."""
    return sum(j * task_loss(z[j], labels) for j in z) / sum(z)


def elasticbert_loss(z, labels):
    return sum(task_loss(z[j], labels) for j in z)


def exit_by_entropy(z, threshold):
    """First exit whose entropy is below the threshold, strictly; otherwise the last. z: {exit: [C]} in order."""
    for j, x in z.items():
        if R.entropy(x) < threshold:
            break
    return j


def exit_by_patience(z, patience, threshold=0.0):
    """Leave when `patience` predictions in a row equalled their predecessor (regression: differ by less than the threshold)."""
    if patience == 0:
        return len(z)
    count, before = 0, None
    for j, x in z.items():
        same = before is not None and (
            abs(x - before).item() < threshold if len(x) == 1 else x.argmax() == before.argmax()
        )
        count, before = count + 1 if same else 0, x
        if count == patience:
            break
    return j


# ---------------------------------------------------------------- TinyBERT

MASKED = -10000.0  # added to the score of a padding key


def attention_scores(p, c, k, x, mask):
    """Raw scores of layer k from its input: q.k / sqrt(d), padding keys at -10000."""
    n, (B, S, _), A, d = f"bert.encoder.layer.{k - 1}.attention.self.", x.shape, c.heads[k - 1], c.head_dim
    q, key = (R.linear(p, n + w, x).view(B, S, A, d).transpose(1, 2) for w in ("query", "key"))
    return q @ key.transpose(-1, -2) / math.sqrt(d) + (1 - mask)[:, None, None, :] * MASKED


def tinybert(p, c, batch):
    """(h_0..h_L, scores of layers 1..L, logits); the head reads relu(tanh(pooler)), in the teacher too."""
    h, scores = [R.embed(p, c, batch["ids"], batch["types"])], []
    for k in range(1, c.layers + 1):
        scores.append(attention_scores(p, c, k, h[-1], batch["mask"]))
        h.append(R.encoder_layer(p, c, k, h[-1], batch["mask"])[0])
    return h, scores, R.linear(p, "classifier", torch.relu(pooled(p, "bert.pooler.dense", h[-1])))


def mean_square(s, t, where=None):
    e = (s - t) ** 2
    return e.mean() if where is None else (e * where).sum() / where.expand_as(e).sum()


def hidden_losses(p, hs, ht, mask=None):
    """One per pair m = 0..M: student h_m through fit_dense against teacher h_{mN/M}; mean over every entry of the padded batch, or over real tokens if mask is given."""
    b = (len(ht) - 1) // (len(hs) - 1)
    fit = lambda m: "fit_dense" if "fit_dense.weight" in p else f"fit_denses.{m}"
    where = None if mask is None else mask[..., None].to(hs[0].dtype)
    return [mean_square(R.linear(p, fit(m), h), ht[m * b], where) for m, h in enumerate(hs)]


def attention_loss(s, t, mask=None):
    """Scores <= -100 count as 0 on either side; mean over B, A, S, S, or over pairs of real tokens if mask is given."""
    where = None if mask is None else (mask[:, None, :, None] * mask[:, None, None, :]).to(s.dtype)
    zeroed = lambda x: torch.where(x <= -100.0, torch.zeros_like(x), x)
    return mean_square(zeroed(s), zeroed(t), where)


def attention_losses(ss, ts, mask=None):
    b = len(ts) // len(ss)
    return [attention_loss(s, ts[(m + 1) * b - 1], mask) for m, s in enumerate(ss)]


def tinybert_prediction(zs, zt, T=1.0):
    """Soft cross-entropy, mean over batch AND classes; no T^2."""
    return -((zt / T).softmax(-1) * (zs / T).log_softmax(-1)).mean()


class BertAdam:
    """No bias correction; each tensor's gradient clipped by itself; decay inside the update; a parameter without gradient is left alone."""

    def __init__(
        self,
        p,
        lr,
        schedule="none",
        warmup=-1.0,
        total=-1,
        betas=(0.9, 0.999),
        eps=1e-6,
        weight_decay=0.01,
        max_norm=1.0,
    ):
        self.p, self.lr, self.schedule, self.warmup, self.total = p, lr, schedule, warmup, total
        self.betas, self.eps, self.wd, self.max_norm = betas, eps, weight_decay, max_norm
        self.m, self.v, self.t = {}, {}, 0

    def factor(self):
        if self.schedule == "none":
            return 1.0
        x = self.t / self.total  # 0 at the first step
        return x / self.warmup if x < self.warmup else max((x - 1) / (self.warmup - 1), 0.0)

    def step(self, grads):
        (b1, b2), lr = self.betas, self.lr * self.factor()
        with torch.no_grad():
            for n, g in grads.items():
                w, g = self.p[n], g * min(1.0, self.max_norm / (g.norm().item() + 1e-6))
                self.m[n] = b1 * self.m.get(n, torch.zeros_like(w)) + (1 - b1) * g
                self.v[n] = b2 * self.v.get(n, torch.zeros_like(w)) + (1 - b2) * g * g
                u = self.m[n] / (self.v[n].sqrt() + self.eps)
                w -= lr * (u + self.wd * w if R.decays(n) else u)
        self.t += 1


# ---------------------------------------------------------------- DistilBERT, PKD, BERT-nL


def take_layers(p, c, layers):
    """Student from a teacher: its zero-based `layers` in that order, everything else copied. BERT-nL: range(n)."""
    q, at = {}, "bert.encoder.layer."
    for n, t in p.items():
        if not n.startswith(at):
            q[n] = t.detach().clone()
    for m, k in enumerate(layers):
        q |= {
            n.replace(f"{at}{k}.", f"{at}{m}."): t.detach().clone() for n, t in p.items() if n.startswith(f"{at}{k}.")
        }
    return q, R.replace(c, heads=[c.heads[k] for k in layers], ffn=[c.ffn[k] for k in layers])


def kl(zs, zt, T):
    """T^2 KL(teacher || student) at temperature T: sum over classes, mean over rows."""
    return T * T * F.kl_div((zs / T).log_softmax(-1), (zt / T).softmax(-1), reduction="batchmean")


def cosine(hs, ht):
    """1 - cos, mean over the rows; 1e-12 is added to each squared norm."""
    norm = lambda x: (x * x).sum(-1) + 1e-12
    return (1 - (hs * ht).sum(-1) / (norm(hs) * norm(ht)).sqrt()).mean()


def distil_losses(zs, zt, hs, ht, labels, mask, T):
    """Of a classifier: rows are sequences; the cosine is over real tokens of the last layer."""
    real = mask == 1
    return {"ce": kl(zs, zt, T), "hard": F.cross_entropy(zs, labels), "cos": cosine(hs[real], ht[real])}


def distil_token_losses(zs, zt, hs, ht, labels, mask, T):
    """Of pre-training: rows are real tokens; labels are -100 where nothing was masked out."""
    real = mask == 1
    mlm = F.cross_entropy(zs.flatten(0, 1), labels.flatten(), ignore_index=-100)
    return {"ce": kl(zs[real], zt[real], T), "mlm": mlm, "cos": cosine(hs[real], ht[real])}


DISTILBERT = {
    "attention.q_lin": "attention.self.query",
    "attention.k_lin": "attention.self.key",
    "attention.v_lin": "attention.self.value",
    "attention.out_lin": "attention.output.dense",
    "sa_layer_norm": "attention.output.LayerNorm",
    "ffn.lin1": "intermediate.dense",
    "ffn.lin2": "output.dense",
    "output_layer_norm": "output.LayerNorm",
}  # its names of a layer's parts, and BERT's


def distilbert(p, c, batch):
    """DistilBERT's layout (no token types, no pooler). Returns (h_0..h_L, logits); head: relu(pre_classifier([CLS])), classifier."""
    q = {"bert.embeddings.token_type_embeddings.weight": torch.zeros(1, c.hidden)}
    for n, t in p.items():
        for its, berts in DISTILBERT.items():
            n = n.replace(its, berts)
        q[n.replace("distilbert.transformer", "bert.encoder").replace("distilbert.", "bert.")] = t
    h = [R.embed(q, c, batch["ids"], torch.zeros_like(batch["ids"]))]
    for k in range(1, c.layers + 1):
        h.append(R.encoder_layer(q, c, k, h[-1], batch["mask"])[0])
    return h, R.linear(p, "classifier", torch.relu(R.linear(p, "pre_classifier", h[-1][:, 0])))


def pkd_losses(zs, zt, hs, ht, labels, T, teacher_layers):
    """hs, ht: h_0..h_L. The KL is a mean over batch AND classes; student layers 1..M-1 learn the direction of [CLS] of the given zero-based teacher layers."""
    s = torch.stack([h[:, 0] for h in hs[1:-1]], 1)
    t = torch.stack([ht[k + 1][:, 0] for k in teacher_layers], 1)
    unit = lambda x: F.normalize(x, dim=-1)
    return {
        "kd": kl(zs, zt, T) / zs.shape[-1],
        "hard": F.cross_entropy(zs, labels),
        "patience": F.mse_loss(unit(s), unit(t)),
    }
