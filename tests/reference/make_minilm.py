"""Writes minilm.safetensors: a real pre-trained model (MiniLM L6 H384, as tools/fetch_backbone.sh fetches it) on real text.

    python make_minilm.py MODEL_DIR --sst2 TRAIN_TSV --out DIR      needs torch, transformers, safetensors

f64 arithmetic on the f32 weights; Hugging Face's own BertModel must agree. The classifiers, absent from the checkpoint, are stored.
"""

import argparse, csv, gzip
from pathlib import Path
import torch
from safetensors.torch import load_file
from transformers import BertModel, BertTokenizerFast
import fixture
import torch_reference as R

a = argparse.ArgumentParser()
a.add_argument("model", type=Path)
a.add_argument("--sst2", type=Path, required=True, help="SST-2's train.tsv, also gzipped; its first 160 rows are used")
a.add_argument("--out", type=Path, required=True)
a = a.parse_args()
tok = BertTokenizerFast(vocab_file=str(a.model / "vocab.txt"))
with (gzip.open if a.sst2.suffix == ".gz" else open)(a.sst2, "rt", encoding="utf-8") as file:
    sst = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[:160]
text = [r["sentence"] for r in sst]
labels = torch.tensor([int(r["label"]) for r in sst])


def encode(t):
    e = tok(t, padding=True, truncation=True, max_length=128, return_tensors="pt")
    return {"ids": e["input_ids"], "types": e["token_type_ids"], "mask": e["attention_mask"]}


raw = load_file(a.model / "model.safetensors")
p32 = {"bert." + n: t for n, t in raw.items() if "position_ids" not in n}
p = {n: t.double() for n, t in p32.items()}
c = R.Config(vocab=30522, hidden=384, head_dim=32, heads=[12] * 6, ffn=[1536] * 6, positions=512, classes=2)
g = torch.Generator().manual_seed(0)
for i in range(1, 7):
    p[R.exit_name(c, i) + ".weight"] = (torch.randn(2, 384, generator=g) * 0.02).double()
    p[R.exit_name(c, i) + ".bias"] = torch.zeros(2).double()
t, meta = {f"w/{n}": x for n, x in p.items() if "classifier" in n}, {}

# hidden states of 12 sentences
b = encode(text[:12])
with torch.no_grad():
    o = R.multi_exit(p, c, b)
    hf = BertModel.from_pretrained(a.model)(
        input_ids=b["ids"], attention_mask=b["mask"], token_type_ids=b["types"], output_hidden_states=True
    )
m = b["mask"].unsqueeze(-1)
worst = max(((x.double() - y) * m).abs().max().item() for x, y in zip(hf.hidden_states, o.hidden))
assert worst < 1e-4, worst
meta["agreement_with_transformers_f32"] = worst
t |= {f"in/{k}": v for k, v in b.items()}
for i, h in enumerate(o.hidden):
    t[f"out/hidden.{i}.cls"] = h[:, 0]
    t[f"out/hidden.{i}.mean"] = (h * m).sum(1) / m.sum(1)
for i, z in o.logits.items():
    t[f"out/logits.{i}"] = z

# equalised gradients of all exits' losses on those 12 sentences: norm and first entries of each parameter
live = {n: x.clone().requires_grad_(True) for n, x in p.items() if "pooler" not in n}
L = sum(R.hard(z, labels[:12]) for z in R.multi_exit(live, c, b, True).logits.values())
grads = R.gradients(live, L)
meta["equalised_loss"] = L.item()
meta["equalised_gradient_norms"] = {n: x.norm().item() for n, x in grads.items()}
t |= {f"out/equalised/{n}": x.flatten()[:64].clone() for n, x in grads.items()}
t["in/labels"] = labels

# ten steps of fine-tuning (BERT's pooler and one classifier), batches of 16 in file order, dropout off
p1 = {n: x.clone().requires_grad_(True) for n, x in p.items() if "highway" not in n}
opt, log = R.AdamW(p1, 5e-5, "torch"), []
for s in range(10):
    x = encode(text[16 * s : 16 * s + 16])
    L = R.hard(R.single_exit(p1, c, x).logits[6], labels[16 * s : 16 * s + 16])
    gr = R.gradients(p1, L)
    norm = R.clip(gr, 1.0)
    f = R.warmup_linear(s, 2, 10)
    opt.step(gr, 5e-5 * f)
    log.append([L.item(), norm, 5e-5 * f])
meta["fine_tune"] = {
    "batch": 16,
    "steps": 10,
    "lr": 5e-5,
    "warmup": 2,
    "adam": "torch",
    "weight_decay": 0.01,
    "max_norm": 1.0,
    "log [loss, grad norm, lr]": log,
    "text": "SST-2 train.tsv, first 160 data lines",
}
with torch.no_grad():
    t["out/fine_tuned_logits"] = R.single_exit({n: x.detach() for n, x in p1.items()}, c, b).logits[6]
fixture.save(a.out / "minilm.safetensors", t, **meta)
print("largest difference from transformers' f32:", meta["agreement_with_transformers_f32"])
