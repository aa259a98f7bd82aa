"""Writes the model fixtures (safetensors, f64 unless named otherwise) from torch_reference.py.

    python make_model.py --out DIR [--seed N]      needs torch

Every file is self-contained: weights under "w/", inputs under "in/", expected values under "out/"; scalars and settings in the
file's metadata (JSON strings). Weights are exactly representable in f32.
"""

import argparse
from pathlib import Path
import torch
import fixture
import torch_reference as R

a = argparse.ArgumentParser()
a.add_argument("--seed", type=int, default=1)
a.add_argument("--out", type=Path, required=True)
a = a.parse_args()
torch.manual_seed(a.seed)
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
gen = torch.Generator().manual_seed(a.seed)
rnd = lambda *s, std=1.0: (torch.randn(*s, generator=gen, dtype=torch.float64) * std).float().double()

if a.seed == 1:
    C0 = R.Config(vocab=101, hidden=32, head_dim=8, heads=[4] * 4, ffn=[48] * 4, positions=40, classes=3)
    LENGTHS = [[17, 9, 3, 12, 6], [5, 20, 11, 2, 8], [13, 13, 4, 7, 19]]
else:
    C0 = R.Config(vocab=83, hidden=36, head_dim=6, heads=[6] * 5, ffn=[40] * 5, positions=32, classes=2)
    LENGTHS = [[11, 2, 23, 8], [7, 30, 5, 16], [9, 9, 14, 3]]


def save(name, tensors, **meta):
    fixture.save(a.out / name, tensors, **meta)


def cfg(c):
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


def make_weights(c, pooler=False, exits=True):
    """Large enough that every path carries a visible gradient."""
    e, H, p = "bert.embeddings.", c.hidden, {}
    p[e + "word_embeddings.weight"] = rnd(c.vocab, H, std=0.5)
    p[e + "position_embeddings.weight"] = rnd(c.positions, H, std=0.3)
    p[e + "token_type_embeddings.weight"] = rnd(c.types, H, std=0.3)

    def norm(n):
        p[n + ".weight"], p[n + ".bias"] = 1 + rnd(H, std=0.1).float().double(), rnd(H, std=0.1)
        p[n + ".weight"] = p[n + ".weight"].float().double()

    def lin(n, o, i, std):
        p[n + ".weight"], p[n + ".bias"] = rnd(o, i, std=std), rnd(o, std=0.1)

    norm(e + "LayerNorm")
    for k in range(1, c.layers + 1):
        n = R._layer_names(k)
        D, W = c.heads[k - 1] * c.head_dim, c.ffn[k - 1]
        for w in "qkv":
            lin(n[w], D, H, 0.25)
        lin(n["o"], H, D, 0.2)
        norm(f"bert.encoder.layer.{k - 1}.attention.output.LayerNorm")
        lin(n["fi"], W, H, 0.25)
        lin(n["fo"], H, W, 0.2)
        norm(f"bert.encoder.layer.{k - 1}.output.LayerNorm")
    if pooler:
        lin("bert.pooler.dense", H, H, 0.25)
        lin("classifier", c.classes, H, 0.3)
    if exits:
        for i in range(1, c.layers + 1):
            lin(R.exit_name(c, i), c.classes, H, 0.3)
    return p


def make_batch(c, lengths):
    S = max(lengths)
    ids = torch.randint(5, c.vocab, (len(lengths), S), generator=gen)
    types, mask = torch.zeros_like(ids), torch.zeros_like(ids)
    for i, n in enumerate(lengths):
        ids[i, 0], ids[i, n - 1], ids[i, n:] = 2, 3, 0
        mask[i, :n] = 1
        if n > 6:
            ids[i, n // 2] = 3
            types[i, n // 2 + 1 : n] = 1
    return {
        "ids": ids,
        "types": types,
        "mask": mask,
        "labels": torch.randint(0, c.classes, (len(lengths),), generator=gen),
    }


def inputs(b, tag=""):
    return {f"in/{tag}{k}": v for k, v in b.items()}


W = lambda p: {"w/" + n: t for n, t in p.items()}
live = lambda p: {n: t.clone().requires_grad_(True) for n, t in p.items()}
nograd = torch.no_grad()

c = C0
weights = make_weights(c)
batches = [make_batch(c, n) for n in LENGTHS]
b = batches[0]

# 1. forward: hidden states, attention, logits, entropies (values on padding rows are unspecified: compare real rows only)
p = live(weights)
o = R.multi_exit(p, c, b)
t = {**W(weights), **inputs(b)}
for i, h in enumerate(o.hidden):
    t[f"out/hidden.{i}"] = h * b["mask"][..., None]
for i, q in enumerate(o.probs, 1):
    t[f"out/attention.{i}"] = q * b["mask"][:, None, :, None]
for i, z in o.logits.items():
    t[f"out/logits.{i}"], t[f"out/entropy.{i}"] = z, R.entropy(z)
save("forward.safetensors", t, config=cfg(c))

# 2. gradients of the exits' cross-entropies: each exit alone, their sum, equalised, equalised with a later first exit
t = {**W(weights), **inputs(b)}
values = {}
for i in range(1, c.layers + 1):
    L = R.hard(R.multi_exit(p, c, b).logits[i], b["labels"])
    values[f"exit.{i}"] = L.item()
    t |= {f"out/exit.{i}/{n}": g for n, g in R.gradients(p, L).items()}
for tag, eq, start in (
    ("sum", False, 1),
    ("equalised", True, 1),
    ("equalised_from_3", True, 3),
    ("sum_from_3", False, 3),
):
    L = sum(R.hard(z, b["labels"]) for z in R.multi_exit(p, c, b, eq, start).logits.values())
    values[tag] = L.item()
    t |= {f"out/{tag}/{n}": g for n, g in R.gradients(p, L).items()}
mean = R.replace(c, pooling="mean")
o = R.multi_exit(p, mean, b, True)
L = sum(R.hard(z, b["labels"]) for z in o.logits.values())
values["equalised_mean_pooling"] = L.item()
t |= {f"out/equalised_mean_pooling/{n}": g for n, g in R.gradients(p, L).items()}
t |= {f"out/mean_pooling_logits.{i}": z for i, z in o.logits.items()}
save("exit_gradients.safetensors", t, config=cfg(c), losses=values)

# 3. the losses of every stage, with equalised gradients
teacher, assistant = make_weights(c, pooler=True, exits=False), make_weights(c)
with nograd:
    zt = R.single_exit(teacher, c, b)
    at = R.multi_exit(assistant, c, b)
t = {**W(weights), **inputs(b)}
t |= {"w/teacher/" + n: x for n, x in teacher.items()} | {"w/assistant/" + n: x for n, x in assistant.items()}
t["out/teacher.logits"] = zt.logits[c.layers]
values = {}
for tag, fn in {
    "teacher_hard": None,
    "ta_paper_T1": lambda s: R.ta_loss(s, zt.logits[c.layers], b["labels"], 1.0, "paper"),
    "ta_release_T1": lambda s: R.ta_loss(s, zt.logits[c.layers], b["labels"], 1.0, "release"),
    "ta_release_T4": lambda s: R.ta_loss(s, zt.logits[c.layers], b["labels"], 4.0, "release"),
    "ta_features": lambda s: R.features(s.hidden, zt.hidden, b["mask"]),
    "prediction_T1": lambda s: R.prediction(s, at, 1.0),
    "prediction_T2": lambda s: R.prediction(s, at, 2.0),
    "features": lambda s: R.features(s.hidden, at.hidden, b["mask"]),
    "recovery": lambda s: R.recovery_loss(s, at, b["mask"]),
    "importance_release": lambda s: R.importance_loss(s, at, b["labels"], b["mask"], 1.0, "release"),
}.items():
    if fn is None:
        tp = live(teacher)
        L = R.hard(R.single_exit(tp, c, b).logits[c.layers], b["labels"])
        g = R.gradients(tp, L)
    else:
        L = fn(R.multi_exit(p, c, b, True))
        g = R.gradients(p, L)
    values[tag] = L.item()
    t |= {f"out/{tag}/{n}": x for n, x in g.items()}
save("stage_losses.safetensors", t, config=cfg(c), losses=values)

# 4. importance, kept indices, one and two slenderising rounds
keep_h, keep_f, keep_r = c.heads[0] - 2, c.ffn[0] // 3, c.hidden // 3
t = {**W(weights)} | {"w/assistant/" + n: x for n, x in assistant.items()}
for i, x in enumerate(batches):
    t |= inputs(x, f"{i}.")
meta = {}
teach = lambda x: R.multi_exit(assistant, c, x)
for fid in ("paper", "release"):
    cur, cc = live(weights), c
    for r in (1, 2):
        s = R.importance(cur, cc, batches, teach, fid)
        h, f, rank = R.schedule(r, 2, c, keep_h, keep_f, keep_r)
        heads, neurons = R.keep_top(s["heads"], h), R.keep_top(s["neurons"], f)
        nxt, cc = R.prune(cur, cc, heads, neurons)
        nxt, cc = R.factorise(nxt, cc, rank)
        meta[f"{fid}.round.{r}"] = {
            "heads": [x.tolist() for x in heads],
            "neurons": [x.tolist() for x in neurons],
            "rank": rank,
            "config": cfg(cc),
        }
        for k in range(c.layers):
            t[f"out/{fid}/{r}/heads.{k + 1}"], t[f"out/{fid}/{r}/neurons.{k + 1}"] = s["heads"][k], s["neurons"][k]
        with nograd:
            o = R.multi_exit(nxt, cc, b)
        t |= {f"out/{fid}/{r}/logits.{i}": z for i, z in o.logits.items()}
        e = "bert.embeddings."
        t[f"out/{fid}/{r}/embedding_product"] = (
            nxt[e + "word_embeddings1.weight"] @ nxt[e + "word_embeddings2.weight"].T
        )
        cur = live(nxt)
save(
    "slenderise.safetensors",
    t,
    config=cfg(c),
    keep={"heads": keep_h, "ffn": keep_f, "rank": keep_r, "rounds": 2},
    rounds=meta,
)

# 5. AdamW, clipping and the schedule on given gradients
shapes = {"a.weight": (7, 5), "a.bias": (7,), "x.LayerNorm.weight": (5,)}
start = {n: rnd(*s) for n, s in shapes.items()}
steps = 30
grads = []
for i in range(steps):
    scale = {3: 0.0, 7: 1e4, 11: 1e-9}.get(i, 0.3)
    grads.append({n: rnd(*s, std=1.0) * scale for n, s in shapes.items()})
t = {"w/" + n: x for n, x in start.items()}
meta = {
    "lr": 3e-3,
    "betas": [0.9, 0.999],
    "eps": 1e-8,
    "weight_decay": 0.01,
    "max_norm": 1.0,
    "warmup": 4,
    "total": steps,
}
norms, factors = [], []
for i, g in enumerate(grads):
    t |= {f"in/{i}/{n}": x for n, x in g.items()}
for variant in ("torch", "transformers"):
    q = {n: x.clone() for n, x in start.items()}
    opt = R.AdamW(q, meta["lr"], variant, weight_decay=meta["weight_decay"])
    norms, factors = [], []
    for i, g in enumerate(grads):
        g = {n: x.clone() for n, x in g.items()}
        norms.append(R.clip(g, meta["max_norm"]))
        factors.append(R.warmup_linear(i, meta["warmup"], steps))
        opt.step(g, meta["lr"] * factors[-1])
        if i % 5 == 4:
            t |= {f"out/{variant}/{i}/{n}": x.clone() for n, x in q.items()}
save("adamw.safetensors", t, **meta, norms=norms, schedule=factors, decayed=["a.weight"])

# 6. single ops with given cotangents, extremes included
t = {}


def op(name, fn, *xs):
    xs = [x.clone().requires_grad_(True) for x in xs]
    y = fn(*xs)
    g = rnd(*y.shape) if y.dim() else torch.tensor(1.0)
    for i, (x, d) in enumerate(zip(xs, torch.autograd.grad(y, xs, g))):
        t[f"in/{name}.{i}"], t[f"out/{name}.grad.{i}"] = x, d
    t[f"in/{name}.cotangent"], t[f"out/{name}"] = g, y


F = torch.nn.functional
wide = torch.cat([rnd(4, 9), rnd(1, 9) * 1e3, torch.full((1, 9), 5.0) + rnd(1, 9) * 1e-3])
op("gelu", F.gelu, torch.cat([torch.linspace(-12, 12, 41), torch.tensor([0.0, -1e-8, 1e3, -1e3])]))
op("tanh", torch.tanh, torch.linspace(-20, 20, 41))
op("softmax", lambda x: x.softmax(-1), wide)
op("log_softmax", lambda x: x.log_softmax(-1), wide)
op("layer_norm", lambda x, w, v: F.layer_norm(x, (9,), w, v, 1e-12), wide, rnd(9), rnd(9))
op("linear", F.linear, rnd(5, 7), rnd(3, 7), rnd(3))
op("matmul", torch.matmul, rnd(2, 4, 6), rnd(2, 6, 3))
op("cross_entropy", lambda z: F.cross_entropy(z, torch.tensor([0, 2, 1, 1, 0, 2])), wide[:, :3])
op("soft_cross_entropy", lambda z: R.soft(z, wide.flip(0)[:, :3], 2.0), wide[:, :3])
op("mse", lambda x, y: ((x - y) ** 2).mean(), rnd(4, 6), rnd(4, 6))
op("diamond", lambda x, y: (x + y) + x, rnd(3, 3), rnd(3, 3))
save("ops.safetensors", t)

# 7. the whole pipeline on a small data set, release rules, dropout off: fine-tune, TA, slenderise, recover
N, B = 48, 4
data = [make_batch(c, [int(n)]) for n in torch.randint(3, 20, (N,), generator=gen)]
for i, x in enumerate(data):  # a learnable label: is a low token id present?
    body = x["ids"][0, 1 : int(x["mask"].sum()) - 1]
    x["labels"] = ((body < c.vocab // 4).sum() % c.classes).view(1)


def collate(rows):
    S = max(int(x["mask"].sum()) for x in rows)
    out = {}
    for k in ("ids", "types", "mask"):
        out[k] = torch.zeros(len(rows), S, dtype=torch.int64)
        for j, x in enumerate(rows):
            n = int(x["mask"].sum())
            out[k][j, :n] = x[k][0, :n]
    out["labels"] = torch.cat([x["labels"] for x in rows])
    return out


per_epoch = N // B
t, meta = {}, {
    "batch": B,
    "steps_per_epoch": per_epoch,
    "adam": "transformers",
    "weight_decay": 0.01,
    "eps": 1e-8,
    "max_norm": 1.0,
    "stages": {},
}
flat_ids = torch.nn.utils.rnn.pad_sequence([x["ids"][0, : int(x["mask"].sum())] for x in data], batch_first=True)
t |= {
    "in/ids": flat_ids,
    "in/types": torch.nn.utils.rnn.pad_sequence(
        [x["types"][0, : int(x["mask"].sum())] for x in data], batch_first=True
    ),
    "in/lengths": torch.tensor([int(x["mask"].sum()) for x in data]),
    "in/labels": torch.cat([x["labels"] for x in data]),
}
backbone = make_weights(c, pooler=True, exits=False)
exits0 = {n: x for n, x in make_weights(c).items() if "classifier" in n}
t |= {"w/backbone/" + n: x for n, x in backbone.items()} | {"w/exits/" + n: x for n, x in exits0.items()}


def run(stage, p, steps, lr, warmup, loss_fn, total=None):
    p = live(p)
    opt = R.AdamW(p, lr, "transformers")
    total, log = total or steps, []
    perm = []
    for s in range(steps):
        if s % per_epoch == 0:
            perm = torch.randperm(N, generator=gen).tolist()
            t[f"in/{stage}/order.{s // per_epoch}"] = torch.tensor(perm)
        x = collate([data[j] for j in perm[(s % per_epoch) * B : (s % per_epoch + 1) * B]])
        L = loss_fn(p, x, s)
        g = R.gradients(p, L)
        norm = R.clip(g, 1.0)
        f = R.warmup_linear(s, warmup, total)
        opt.step(g, lr * f)
        log.append([L.item(), norm, lr * f])
    p = {n: x.detach() for n, x in p.items()}
    meta["stages"][stage] = {
        "steps": steps,
        "lr": lr,
        "warmup": warmup,
        "total": total,
        "log [loss, grad norm, lr]": log,
    }
    t.update({f"out/{stage}/{n}": x for n, x in p.items()})
    return p


fine = run(
    "fine_tune",
    backbone,
    3 * per_epoch,
    2e-3,
    3,
    lambda p, x, s: R.hard(R.single_exit(p, c, x).logits[c.layers], x["labels"]),
)
start = {n: x for n, x in backbone.items() if "pooler" not in n and "classifier" not in n} | exits0


def against_teacher(kind):
    def f(p, x, s):
        with torch.no_grad():
            zt = R.single_exit(fine, c, x)
        st = R.multi_exit(p, c, x, True)
        if kind == "features":
            return R.features(st.hidden, zt.hidden, x["mask"])
        return R.ta_loss(st, zt.logits[c.layers], x["labels"], 1.0, "release")

    return f


ta = run("ta_features", start, per_epoch, 2e-3, 1, against_teacher("features"))
ta = run("ta", ta, 3 * per_epoch, 2e-3, 3, against_teacher("prediction"))

rounds, period, restore, share = 2, 8, 0.12, 0.5
kh, kf, kr = c.heads[0] - rounds, c.ffn[0] // 4, c.hidden // 4
cc, cur = c, ta


def against_assistant(cfg_now, kind):
    def f(p, x, s):
        with torch.no_grad():
            at = R.multi_exit(ta, c, x)
        st = R.multi_exit(p, cfg_now, x, True)
        pick = kind(s) if callable(kind) else kind
        if pick == "features":
            return R.features(st.hidden, at.hidden, x["mask"])
        return R.recovery_loss(st, at, x["mask"])

    return f


calibration = [collate([data[j] for j in range(k * B, (k + 1) * B)]) for k in range(3)]
meta["slenderise"] = {
    "rounds": rounds,
    "period": period,
    "restore": restore,
    "feature_share": share,
    "lr": 1e-3,
    "keep": {"heads": kh, "ffn": kf, "rank": kr},
    "calibration": "rows 0..11 in order, batches of 4",
    "kept": [],
}
for r in range(1, rounds + 1):
    s = R.importance(live(cur), cc, calibration, lambda x: R.multi_exit(ta, c, x), "release")
    h, f, rank = R.schedule(r, rounds, c, kh, kf, kr)
    heads, neurons = R.keep_top(s["heads"], h), R.keep_top(s["neurons"], f)
    cur, cc = R.prune(cur, cc, heads, neurons)
    cur, cc = R.factorise(cur, cc, rank)
    meta["slenderise"]["kept"].append(
        {"heads": [x.tolist() for x in heads], "neurons": [x.tolist() for x in neurons], "rank": rank}
    )
    pick = (lambda s: "features" if s < int(share * period) else "both") if r < rounds else "both"
    cur = run(f"slenderise.{r}", cur, period, 1e-3 * (1 + restore) ** r, 2, against_assistant(cc, pick))
cur = run("recover_features", cur, per_epoch, 3e-3, 1, against_assistant(cc, "features"))
cur = run("recover", cur, 2 * per_epoch, 2e-3, 2, against_assistant(cc, "both"))
with torch.no_grad():
    whole = collate(data)
    for name, z in (("ta", R.multi_exit(ta, c, whole).logits), ("costeff", R.multi_exit(cur, cc, whole).logits)):
        for i, v in z.items():
            t[f"out/final/{name}/logits.{i}"], t[f"out/final/{name}/entropy.{i}"] = v, R.entropy(v)
            meta.setdefault("accuracy", {})[f"{name}.{i}"] = (v.argmax(-1) == whole["labels"]).float().mean().item()
save("pipeline.safetensors", t, config=cfg(c), final_config=cfg(cc), **meta)
