"""Writes the fixtures of the compared methods from baselines_reference.py.

    python make_baselines.py --out DIR [--seed N] [--check]      needs torch

Form as make_model.py's: "w/" weights (exact in f32), "in/" inputs, "out/" expected values, f64 (ids, masks, labels, exits: i64),
scalars and settings as JSON strings in the metadata. Same seed, same bytes. --check compares gradients with finite differences.
"""

import argparse, math
from pathlib import Path
import torch
import baselines_reference as Q
from baselines_reference import R
import fixture

a = argparse.ArgumentParser()
a.add_argument("--seed", type=int, default=1)
a.add_argument("--out", type=Path, required=True)
a.add_argument("--check", action="store_true")
a = a.parse_args()
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
gen = torch.Generator().manual_seed(a.seed)
FIRST = a.seed == 1
LENGTHS = (
    [[17, 9, 2, 12, 6], [5, 20, 11, 2, 8], [13, 3, 4, 7, 19]]
    if FIRST
    else [[11, 2, 18, 8], [7, 20, 5, 16], [9, 3, 14, 2]]
)
EQUAL = [[9] * 4, [14] * 4, [6] * 4] if FIRST else [[12] * 3, [7] * 3, [10] * 3]  # without any padding
BASE = (
    dict(vocab=67, hidden=24, head_dim=6, positions=24)
    if FIRST
    else dict(vocab=59, hidden=20, head_dim=5, positions=22)
)
FFN = 32 if FIRST else 36


def config(layers, classes, **kw):
    return R.Config(**{**BASE, "heads": [4] * layers, "ffn": [FFN] * layers, "classes": classes, **kw})


def rnd(*s, std=1.0):
    return (torch.randn(*s, generator=gen) * std).float().double()


def dims(c):
    return {
        "vocab": c.vocab,
        "hidden": c.hidden,
        "head_dim": c.head_dim,
        "heads": c.heads,
        "ffn": c.ffn,
        "rank": c.rank,
        "positions": c.positions,
        "types": c.types,
        "classes": c.classes,
        "layer_norm_eps": c.eps,
        "layers": c.layers,
    }


def save(name, tensors, **meta):
    fixture.save(a.out / name, tensors, **meta)


def linear(p, name, rows, cols, std):
    p[name + ".weight"], p[name + ".bias"] = rnd(rows, cols, std=std), rnd(rows, std=0.1)


def weights(c, heads):
    """Encoder, then heads: {name: (rows, std)} of linears on the hidden size."""
    e, H, p = "bert.embeddings.", c.hidden, {}
    p[e + "word_embeddings.weight"] = rnd(c.vocab, H, std=0.5)
    p[e + "position_embeddings.weight"] = rnd(c.positions, H, std=0.3)
    p[e + "token_type_embeddings.weight"] = rnd(c.types, H, std=0.3)

    def norm(n):
        p[n + ".weight"], p[n + ".bias"] = (1 + rnd(H, std=0.1)).float().double(), rnd(H, std=0.1)

    norm(e + "LayerNorm")
    for k in range(1, c.layers + 1):
        n, D, W = R._layer_names(k), c.heads[k - 1] * c.head_dim, c.ffn[k - 1]
        for w in "qkv":
            linear(p, n[w], D, H, 0.25)
        linear(p, n["o"], H, D, 0.2)
        norm(f"bert.encoder.layer.{k - 1}.attention.output.LayerNorm")
        linear(p, n["fi"], W, H, 0.25)
        linear(p, n["fo"], H, W, 0.2)
        norm(f"bert.encoder.layer.{k - 1}.output.LayerNorm")
    for n, (rows, std) in heads.items():
        linear(p, n, rows, H, std)
    return p


def batch(c, lengths):
    S = max(lengths)
    ids = torch.randint(5, c.vocab, (len(lengths), S), generator=gen)
    types, mask = torch.zeros_like(ids), torch.zeros_like(ids)
    for i, n in enumerate(lengths):
        ids[i, 0], ids[i, n - 1], ids[i, n:], mask[i, :n] = 2, 3, 0, 1
        if n > 6:
            ids[i, n // 2], types[i, n // 2 + 1 : n] = 3, 1
    return {
        "ids": ids,
        "types": types,
        "mask": mask,
        "labels": torch.randint(0, max(2, c.classes), (len(lengths),), generator=gen),
    }


live = lambda p: {n: t.detach().clone().requires_grad_(True) for n, t in p.items()}
under = lambda tag, p: {f"{tag}/{n}": t for n, t in p.items()}
inputs = lambda **bs: {f"in/{tag.lstrip('_')}.{k}": v for tag, b in bs.items() for k, v in b.items()}
three = lambda bs: {f"_{i}": b for i, b in enumerate(bs)}


def check(tag, p, loss_fn, grads, h=1e-5):
    """Central differences on a few entries of every third tensor; the error is measured against the largest entry of the gradient."""
    if not a.check:
        return
    top, worst, tried = max(g.abs().max().item() for g in grads.values()), 0.0, 0
    pick = torch.Generator().manual_seed(7)
    for n in list(grads)[::3]:
        w, g = p[n].detach(), grads[n]
        for i in {g.abs().argmax().item(), torch.randint(0, g.numel(), (1,), generator=pick).item()}:
            if n.endswith("word_embeddings.weight") and i < w.shape[1]:
                continue
            old, d = w.view(-1)[i].item(), []
            for s in (h, -h):
                w.view(-1)[i] = old + s
                d.append(loss_fn(p).item())
            w.view(-1)[i] = old
            worst, tried = max(worst, abs((d[0] - d[1]) / (2 * h) - g.view(-1)[i].item()) / top), tried + 1
    print(f"  {tag}: finite differences at {tried} entries, worst {worst:.1e} of the largest")
    assert worst < 1e-7, tag


def loss_and_gradients(t, values, tag, p, loss_fn, true_gradient=True):
    loss = loss_fn(p)
    g = Q.gradients(p, loss)
    values[tag] = loss.item()
    t |= under(f"out/{tag}", g)
    if true_gradient:
        check(tag, p, loss_fn, g)
    return g


def steps(t, tag, p, batches, loss_fn, opt, learns=lambda n: True):
    """Optimiser steps on p in place; clipped over all gradients, whoever learns. opt: settings. Returns the log [loss, norm before clipping, lr]."""
    o, log = (
        R.AdamW(
            {n: x for n, x in p.items() if learns(n)},
            opt["lr"],
            opt["adam"],
            tuple(opt["betas"]),
            opt["eps"],
            opt["weight_decay"],
        ),
        [],
    )
    for s, b in enumerate(batches):
        loss = loss_fn(p, b)
        g = Q.gradients(p, loss)
        norm, lr = R.clip(g, opt["max_norm"]), opt["lr"] * R.warmup_linear(s, opt["warmup"], opt["total"])
        o.p = {n: p[n] for n in g if learns(n)}
        o.step(g, lr)
        log.append([loss.item(), norm, lr])
        t |= {f"out/{tag}/{s + 1}/{n}": x.detach().clone() for n, x in o.p.items()}
    return log


def between(values, shares):
    """Thresholds near the given quantiles, each in the middle of the widest gap nearby: no comparison hangs on rounding."""
    v, th = torch.sort(values.flatten()).values, []
    for q in shares:
        at = int(q * len(v))
        k = max(range(max(0, at - 3), min(len(v) - 1, at + 4)), key=lambda k: (v[k + 1] - v[k]).item())
        assert v[k + 1] - v[k] > 1e-5
        th.append(((v[k] + v[k + 1]) / 2).item())
    return th


def exit_fixture(t, z, rules, tag="eval"):
    """z: {exit: [N, C]}; rules: {name: function of one sequence's {exit: [C]}}. Writes exit (1..L) and answer (class, or logit of a regression)."""
    N, last = next(iter(z.values())).shape[0], sum(isinstance(k, int) for k in z)
    share = {}
    for name, rule in rules.items():
        taken = [rule({k: x[i] for k, x in z.items()}) for i in range(N)]
        got = torch.stack([z[k][i] for i, k in enumerate(taken)])
        where = torch.tensor([last if k == "main" else k for k in taken])
        t[f"out/{tag}/exit/{name}"] = where
        t[f"out/{tag}/answer/{name}"] = got.argmax(-1) if got.shape[1] > 1 else got[:, 0]
        share[name] = where.double().mean().item()
    return share


def balance(w, c, ev, method):
    """Shifts each classifier's bias so that the exits disagree: its median logits over the sequences become equal."""
    with torch.no_grad():
        for k, z in Q.exits(w, c, ev, method).items():
            n = ("classifier" if k == "main" else Q.HEADS[method](k)[1]) + ".bias"
            w[n] = (w[n] - z.quantile(0.5, dim=0)).float().double()


def clear_argmax(z):
    """True if no sequence's two largest logits are near a tie at any exit."""
    return all((x.topk(2).values.diff().abs() > 1e-6).all() for x in z.values())


EVAL = [2 + (7 * i) % 19 for i in range(24)]  # lengths 2..20
ADAMW = {
    "adam": "transformers",
    "lr": 2e-3,
    "betas": [0.9, 0.999],
    "eps": 1e-8,
    "weight_decay": 0.0,
    "max_norm": 1.0,
    "warmup": 0,
    "total": 5,
}
ENTROPY_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)

# ---------------------------------------------------------------- DeeBERT

c = config(4 if FIRST else 5, 2 if FIRST else 3)
L = c.layers
heads = {"bert.pooler.dense": (c.hidden, 0.25), "classifier": (c.classes, 0.5)}
for k in range(1, L + 1):
    pooler, classifier = Q.HEADS["deebert"](k)
    heads |= {pooler: (c.hidden, 0.25), classifier: (c.classes, 0.5)}
w, batches, ev = weights(c, heads), [batch(c, n) for n in LENGTHS], batch(c, EVAL)
balance(w, c, ev, "deebert")
t, values, logs = {**under("w", w), **inputs(**three(batches), eval=ev)}, {}, {}
p, b = live(w), batches[0]
stage = lambda s: lambda p, b=b: Q.deebert_loss(Q.exits(p, c, b, "deebert"), b["labels"], s)
loss_and_gradients(t, values, "stage1", p, stage(1))
g = {n: x.clone() for n, x in loss_and_gradients(t, values, "stage2", p, stage(2)).items()}
norm = {"all": R.clip(g, math.inf), "highway": R.clip({n: x for n, x in g.items() if "highway" in n}, math.inf)}
R.clip(g, ADAMW["max_norm"])
t |= under("out/stage2_clipped", {n: x for n, x in g.items() if "highway" in n})
for s in (1, 2):
    logs[f"stage{s}"] = steps(t, f"steps/stage{s}", p, batches, stage(s), ADAMW, lambda n: Q.deebert_learns(n, s))
with torch.no_grad():
    z = Q.exits(w, c, ev, "deebert")
    t |= {f"out/eval/logits.{k}": x for k, x in z.items()} | {
        f"out/eval/entropy.{k}": R.entropy(x) for k, x in z.items()
    }
    th = (
        [0.0]
        + between(torch.stack([R.entropy(z[k]) for k in range(1, L + 1)]), ENTROPY_SHARES)
        + [math.log(c.classes) + 0.01]
    )
    drop = lambda x: {k: v for k, v in x.items() if k != L}
    rules = {f"entropy.{i}": (lambda x, h=h: Q.exit_by_entropy(drop(x), h)) for i, h in enumerate(th)}
    rules |= {f"published.{i}": (lambda x, h=h: Q.exit_by_entropy(x, h)) for i, h in enumerate(th)}
    assert clear_argmax(z)
    share = exit_fixture(t, z, rules)
save(
    "deebert.safetensors",
    t,
    config=dims(c),
    losses=values,
    stage2_norm=norm,
    optimiser=ADAMW,
    steps=logs,
    thresholds=th,
    mean_exit=share,
)

# ---------------------------------------------------------------- PABEE

c = config(4 if FIRST else 5, 3 if FIRST else 2)
heads = {"bert.pooler.dense": (c.hidden, 0.25)} | {f"classifiers.{k}": (c.classes, 0.5) for k in range(c.layers)}
w, batches, ev = weights(c, heads), [batch(c, n) for n in LENGTHS], batch(c, EVAL)
balance(w, c, ev, "pabee")
one = R.replace(c, classes=1)
reg = {}
for k in range(c.layers):
    linear(reg, f"classifiers.{k}", 1, c.hidden, 0.5)
t, values, logs = {**under("w", w), **under("w/regression", reg), **inputs(**three(batches), eval=ev)}, {}, {}
p, b = live(w), batches[0]
loss = lambda p, b=b: Q.pabee_loss(Q.exits(p, c, b, "pabee"), b["labels"])
loss_and_gradients(t, values, "loss", p, loss)
target = rnd(len(b["labels"]), std=1.5)
t["in/regression.labels"] = target
loss_and_gradients(
    t, values, "regression", live({**w, **reg}), lambda p: Q.pabee_loss(Q.exits(p, one, b, "pabee"), target)
)
logs = steps(t, "steps", p, batches, loss, ADAMW)
with torch.no_grad():
    z, y = Q.exits(w, c, ev, "pabee"), Q.exits({**w, **reg}, one, ev, "pabee")
    t |= {f"out/eval/logits.{k}": x for k, x in z.items()} | {f"out/eval/regression.{k}": x for k, x in y.items()}
    assert clear_argmax(z)
    share = exit_fixture(t, z, {f"patience.{n}": (lambda x, n=n: Q.exit_by_patience(x, n)) for n in range(c.layers)})
    apart = torch.stack([(y[k] - y[k - 1]).abs() for k in range(2, c.layers + 1)])
    reg_th = [0.0] + between(apart, (0.3, 0.7))
    share |= exit_fixture(
        t,
        y,
        {
            f"regression.{i}.patience.{n}": (lambda x, n=n, h=h: Q.exit_by_patience(x, n, h))
            for i, h in enumerate(reg_th)
            for n in range(c.layers)
        },
    )
save(
    "pabee.safetensors",
    t,
    config=dims(c),
    losses=values,
    optimiser=ADAMW,
    steps=logs,
    regression_thresholds=reg_th,
    mean_exit=share,
)

# ---------------------------------------------------------------- ElasticBERT

c = config(4 if FIRST else 5, 2 if FIRST else 3, eps=1e-8)  # 1e-8 is the published checkpoint's epsilon
heads = {}
for k in range(1, c.layers + 1):
    pooler, classifier = Q.HEADS["elasticbert"](k)
    heads |= {pooler: (c.hidden, 0.25), classifier: (c.classes, 0.5)}
w, batches, ev = weights(c, heads), [batch(c, n) for n in LENGTHS], batch(c, EVAL)
balance(w, c, ev, "elasticbert")
opt = {**ADAMW, "weight_decay": 0.1, "total": 30, "warmup": 0.06 * 30}  # the warm-up is not rounded: 1.8 steps
t, values = inputs(**three(batches), eval=ev), {}
named = under("w", w)
p, b = live(w), batches[0]
loss = lambda eq: lambda p, b=b: Q.elasticbert_loss(Q.exits(p, c, b, "elasticbert", eq), b["labels"])
plain = loss_and_gradients(named, values, "sum", p, loss(False))
equal = loss_and_gradients(named, values, "equalised", p, loss(True), False)
if a.check:  # block i receives the mean of the gradients of exits i..L, the heads the plain sum
    z = Q.exits(p, c, b, "elasticbert")
    each = [Q.gradients(p, R.hard(z[j], b["labels"]), retain_graph=True) for j in z]
    for n, g in equal.items():
        i = int(n.split(".")[3]) + 1 if ".layer." in n else 1
        want = (
            plain[n] if "pooler" in n or "classifier" in n else sum(e.get(n, 0 * g) for e in each) / (c.layers - i + 1)
        )
        assert (g - want).abs().max() < 1e-13, n
    print("  equalised: mean of the later exits in every block")
logs = steps(named, "steps", p, batches, loss(True), opt)
with torch.no_grad():
    z = Q.exits(w, c, ev, "elasticbert")
    t |= {f"out/eval/logits.{k}": x for k, x in z.items()} | {
        f"out/eval/entropy.{k}": R.entropy(x) for k, x in z.items()
    }
    assert clear_argmax(z)
    th = between(torch.stack([R.entropy(x) for x in z.values()]), ENTROPY_SHARES)
    rules = {f"entropy.{i}": (lambda x, h=h: Q.exit_by_entropy(x, h)) for i, h in enumerate(th)}
    rules |= {f"patience.{n}": (lambda x, n=n: Q.exit_by_patience(x, n)) for n in range(c.layers)}
    share = exit_fixture(t, z, rules)
t |= {n.replace("/bert.", "/elasticbert."): x for n, x in named.items()}
save(
    "elasticbert.safetensors",
    t,
    config=dims(c),
    losses=values,
    optimiser=opt,
    steps=logs,
    thresholds=th,
    mean_exit=share,
)

# ---------------------------------------------------------------- TinyBERT

c = config(4 if FIRST else 6, 3 if FIRST else 2)
M, sd, sf = (2, 5, 28) if FIRST else (3, 4, 24)
s = config(M, c.classes, hidden=4 * sd, head_dim=sd, ffn=[sf] * M)
top = lambda c: {"bert.pooler.dense": (c.hidden, 0.25), "classifier": (c.classes, 0.5)}
teacher, w = weights(c, top(c)), weights(s, top(s) | {"fit_dense": (c.hidden, 0.25)})
fits = {}
for m in range(M + 1):
    linear(fits, f"fit_denses.{m}", c.hidden, s.hidden, 0.25)
ragged, equal = [batch(c, n) for n in LENGTHS], [batch(c, n) for n in EQUAL]
t = {**under("w", w), **under("w/teacher", teacher), **under("w/per_position", fits)}
t |= inputs(**{f"ragged.{i}": b for i, b in enumerate(ragged)}, **{f"equal.{i}": b for i, b in enumerate(equal)})
values, logs = {}, {}
wide = {k: torch.nn.functional.pad(v, (0, 3)) for k, v in ragged[0].items() if k != "labels"} | {
    "labels": ragged[0]["labels"]
}


def target_of(b):
    with torch.no_grad():
        return Q.tinybert(teacher, c, b)


def intermediate(p, b, real=False, parts="both"):
    mask, (hs, ss, _), (ht, ts, _) = b["mask"] if real else None, Q.tinybert(p, s, b), target_of(b)
    hidden, attention = Q.hidden_losses(p, hs, ht, mask), Q.attention_losses(ss, ts, mask)
    return {
        "hidden": sum(hidden),
        "attention": sum(attention),
        "both": sum(hidden) + sum(attention),
        "list": {"hidden": hidden, "attention": attention},
    }[parts]


p = live(w)
for tag, b, real in (
    ("equal", equal[0], False),
    ("padded", ragged[0], False),
    ("padded_by_3_more", wide, False),
    ("real_tokens", ragged[0], True),
):
    values[f"{tag}.pairs"] = {k: [x.item() for x in v] for k, v in intermediate(p, b, real, "list").items()}
    if tag == "padded_by_3_more":
        values[tag] = intermediate(p, b).item()
    else:
        loss_and_gradients(t, values, f"intermediate/{tag}", p, lambda p: intermediate(p, b, real))
loss_and_gradients(t, values, "hidden/equal", p, lambda p: intermediate(p, equal[0], False, "hidden"))
loss_and_gradients(t, values, "attention/equal", p, lambda p: intermediate(p, equal[0], False, "attention"))
each = {n: x for n, x in w.items() if "fit_dense" not in n} | fits
loss_and_gradients(t, values, "per_position/equal", live(each), lambda p: intermediate(p, equal[0]))
prediction = lambda T: lambda p, b=ragged[0]: Q.tinybert_prediction(Q.tinybert(p, s, b)[2], target_of(b)[2], T)
loss_and_gradients(t, values, "prediction_T1", p, prediction(1.0))
loss_and_gradients(t, values, "prediction_T2", p, prediction(2.0))
with torch.no_grad():
    for tag, (q, cc) in {"": (w, s), "teacher.": (teacher, c)}.items():
        h, sc, z = Q.tinybert(q, cc, equal[0])
        t |= {f"out/equal.0/{tag}hidden.{i}": x for i, x in enumerate(h)} | {
            f"out/equal.0/{tag}scores.{i}": x for i, x in enumerate(sc, 1)
        }
        t[f"out/ragged.0/{tag}logits"] = Q.tinybert(q, cc, ragged[0])[2]
x, y = rnd(2, 2, 3, 3, std=3.0), rnd(2, 2, 3, 3, std=3.0)  # large real scores: those <= -100 count as 0
x[0, 0, 0, 0], x[0, 1, 2, 1], y[1, 0, 1, 1], x[1, 1, 0, 2], x[1, 1, 0, 0] = -100.0, -99.75, -130.0, -10003.0, -250.0
y[1, 1, 0, 2] = -9998.0
x.requires_grad_(True)
zero = Q.attention_loss(x, y)
t |= {"in/floor.student": x, "in/floor.teacher": y, "out/floor.gradient": torch.autograd.grad(zero, x)[0]}
values["floor"] = zero.item()
OPT = {"betas": [0.9, 0.999], "eps": 1e-6, "weight_decay": 0.01, "max_norm": 1.0}
runs = {
    "intermediate": {**OPT, "lr": 1e-3, "schedule": "none"},
    "prediction": {**OPT, "lr": 6e-4, "schedule": "warmup_linear", "warmup": 0.1, "total": 25},
}
for tag, opt in runs.items():
    o, logs[tag], untouched = Q.BertAdam(p, **opt), [], set()
    for i, b in enumerate(equal if tag == "intermediate" else ragged):
        loss = intermediate(p, b) if tag == "intermediate" else prediction(1.0)(p, b)
        g = Q.gradients(p, loss)
        norms = {n: x.norm().item() for n, x in g.items()}
        logs[tag].append(
            {"loss": loss.item(), "lr": opt["lr"] * o.factor(), "clipped": sorted(n for n, v in norms.items() if v > 1)}
        )
        o.step(g)
        t |= {f"out/steps/{tag}/{i + 1}/{n}": x.detach().clone() for n, x in p.items() if n in g}
    logs[tag + ".without_gradient"] = sorted(set(p) - set(g))
save(
    "tinybert.safetensors",
    t,
    config=dims(s),
    teacher_config=dims(c),
    losses=values,
    optimiser=runs,
    steps=logs,
    pairs={
        "hidden": [[m, m * c.layers // M] for m in range(M + 1)],
        "attention": [[m, m * c.layers // M] for m in range(1, M + 1)],
    },
)

# ---------------------------------------------------------------- DistilBERT, BERT-nL

c = config(4 if FIRST else 5, 2 if FIRST else 3)
layers, T, alpha = [0, 2] if FIRST else [0, 2, 4], 2.0, {"ce": 5.0, "hard": 2.0, "cos": 1.0}
teacher, batches = weights(c, top(c)), [batch(c, n) for n in LENGTHS]
b = batches[0]
t, values = {**under("w/teacher", teacher), **inputs(**three(batches))}, {}
w, s = Q.take_layers(teacher, c, layers)


def classifier(p, b, part=None):
    so = R.single_exit(p, s, b)
    with torch.no_grad():
        to = R.single_exit(teacher, c, b)
    part_of = Q.distil_losses(
        so.logits[s.layers], to.logits[c.layers], so.hidden[-1], to.hidden[-1], b["labels"], b["mask"], T
    )
    return part_of[part] if part else sum(alpha[k] * x for k, x in part_of.items())


p = live(w)
for part in ("ce", "hard", "cos", None):
    loss_and_gradients(t, values, f"init/{part or 'total'}", p, lambda p: classifier(p, b, part))
opt = {
    "adam": "torch",
    "lr": 2e-3,
    "betas": [0.9, 0.98],
    "eps": 1e-6,
    "weight_decay": 0.0,
    "max_norm": 5.0,
    "warmup": 2,
    "total": 30,
}
logs = steps(t, "steps", p, batches, classifier, opt)
first, fc = Q.take_layers(teacher, c, range(c.layers - 1))  # BERT-nL
loss_and_gradients(
    t, values, "first_layers", live(first), lambda p: R.hard(R.single_exit(p, fc, b).logits[fc.layers], b["labels"])
)
V, H = 11, 6  # the pre-training loss, on given logits and states
tok = {
    "student_logits": rnd(*b["ids"].shape, V, std=2.0),
    "teacher_logits": rnd(*b["ids"].shape, V, std=2.0),
    "student_hidden": rnd(*b["ids"].shape, H),
    "teacher_hidden": rnd(*b["ids"].shape, H),
}
lab = torch.randint(0, V, b["ids"].shape, generator=gen)
chosen = (torch.rand(b["ids"].shape, generator=gen) < 0.3) & (b["mask"] == 1)
chosen[0, 0] = True
tok["labels"] = torch.where(chosen, lab, -100)
t |= {"in/token." + k: v for k, v in tok.items()}
sz, sh = tok["student_logits"].clone().requires_grad_(True), tok["student_hidden"].clone().requires_grad_(True)
token = Q.distil_token_losses(sz, tok["teacher_logits"], sh, tok["teacher_hidden"], tok["labels"], b["mask"], T)
token_alpha = {"ce": 5.0, "mlm": 2.0, "cos": 1.0}
total = sum(token_alpha[k] * x for k, x in token.items())
gz, gh = torch.autograd.grad(total, (sz, sh))
t |= {"out/token/student_logits": gz, "out/token/student_hidden": gh}
values |= {f"token/{k}": x.item() for k, x in token.items()} | {"token/total": total.item()}
d = R.replace(s, types=1)  # a model in DistilBERT's own layout
dist = {}
for n, x in weights(d, {"pre_classifier": (d.hidden, 0.3), "classifier": (d.classes, 0.5)}).items():
    for its, berts in Q.DISTILBERT.items():
        n = n.replace(berts, its)
    n = n.replace("bert.encoder.", "distilbert.transformer.") if "encoder" in n else n.replace("bert.", "distilbert.")
    if "token_type" not in n:
        dist[n] = x
t |= under("w/distilbert", dist)
with torch.no_grad():
    h, z = Q.distilbert(dist, d, b)
    t |= {f"out/distilbert_forward/hidden.{i}": x * b["mask"][..., None] for i, x in enumerate(h)} | {
        "out/distilbert_forward/logits": z
    }
loss_and_gradients(t, values, "distilbert", live(dist), lambda p: R.hard(Q.distilbert(p, d, b)[1], b["labels"]))
save(
    "distil.safetensors",
    t,
    config=dims(s),
    teacher_config=dims(c),
    layers=layers,
    published_layers=[0, 2, 4, 7, 9, 11],
    temperature=T,
    weights=alpha,
    token_weights=token_alpha,
    first_layers=fc.layers,
    losses=values,
    optimiser=opt,
    steps=logs,
)

# ---------------------------------------------------------------- PKD

c = config(6 if FIRST else 7, 3 if FIRST else 2)
M, skip = (3, [1, 3]) if FIRST else (4, [1, 3, 4])
pkd = {"T": 10.0, "alpha": 0.7, "beta": 500.0, "teacher_layers": skip}
teacher, b = weights(c, top(c)), batch(c, LENGTHS[0])
w, s = Q.take_layers(teacher, c, range(M))
w["classifier.weight"] = rnd(*w["classifier.weight"].shape, std=0.5)
t, values = {**under("w", w), **under("w/teacher", teacher), **inputs(_0=b)}, {}


def patient(p, part=None):
    so = R.single_exit(p, s, b)
    with torch.no_grad():
        to = R.single_exit(teacher, c, b)
    q = Q.pkd_losses(so.logits[M], to.logits[c.layers], so.hidden, to.hidden, b["labels"], pkd["T"], skip)
    return q[part] if part else pkd["alpha"] * q["kd"] + (1 - pkd["alpha"]) * q["hard"] + pkd["beta"] * q["patience"]


for part in ("kd", "hard", "patience", None):
    loss_and_gradients(t, values, part or "total", live(w), lambda p: patient(p, part))
save("pkd.safetensors", t, config=dims(s), teacher_config=dims(c), settings=pkd, losses=values)
