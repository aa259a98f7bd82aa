"""A multi-exit checkpoint of this engine, slender or not, evaluated by PyTorch with early exit on padded batches.

Written as a careful PyTorch user would: SDPA attention, inference mode, sentences sorted by length (--pad bucket) so that little is padded, and
after each layer the sequences that were certain are taken out of the batch. Prints a JSON line with the keys of `costeff eval --json`.
"""
import argparse
import csv
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import BertTokenizerFast

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", required=True)
parser.add_argument("--data", required=True, help="a TSV with the columns sentence and label")
parser.add_argument("--entropy", type=float, default=0.0, help="0: no early exit")
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--pad", default="bucket", choices=["batch", "bucket"])
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--device", default="cpu")
parser.add_argument("--precision", default="f32", choices=["f32", "bf16"])
args = parser.parse_args()
torch.set_num_threads(args.threads)
device = torch.device(args.device)

config = json.loads((Path(args.model) / "config.json").read_text(encoding="utf-8"))
weights = {name: value.float().to(device) for name, value in load_file(Path(args.model) / "model.safetensors").items()}
layers, own = config["num_hidden_layers"], config.get("costeff", {})
first_exit = own.get("exit_start", 1)
head_size = own.get("head_size", config["hidden_size"] // config["num_attention_heads"])
if config.get("pooler_dense", True) or config.get("last_n_hidden", 1) != 1:
    raise SystemExit("torch_early_exit.py: exits with a dense pooler or over several states are not written here")


def linear(name, x):
    return F.linear(x, weights[name + ".weight"], weights[name + ".bias"])


def norm(name, x):
    return F.layer_norm(x, x.shape[-1:], weights[name + ".weight"], weights[name + ".bias"], config["layer_norm_eps"])


def embed(ids):
    e = "bert.embeddings."
    if e + "word_embeddings1.weight" in weights:
        words = F.embedding(ids, weights[e + "word_embeddings1.weight"]) @ weights[e + "word_embeddings2.weight"].T
    else:
        words = F.embedding(ids, weights[e + "word_embeddings.weight"])
    return norm(e + "LayerNorm", words + weights[e + "position_embeddings.weight"][: ids.shape[1]] + weights[e + "token_type_embeddings.weight"][0])


def layer(k, x, mask):
    name = f"bert.encoder.layer.{k}."
    q, key, v = (linear(f"{name}attention.self.{part}", x).unflatten(-1, (-1, head_size)).transpose(1, 2) for part in ("query", "key", "value"))
    mixed = F.scaled_dot_product_attention(q, key, v, attn_mask=mask[:, None, None, :]).transpose(1, 2).flatten(2)
    x = norm(name + "attention.output.LayerNorm", x + linear(name + "attention.output.dense", mixed))
    return norm(name + "output.LayerNorm", x + linear(name + "output.dense", F.gelu(linear(name + "intermediate.dense", x))))


def logits(exit, x, mask):
    pooled = x[:, 0] if config.get("pooling_mode", "cls") == "cls" else (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    pooled = torch.tanh(pooled)
    return linear("classifier" if exit == layers else f"bert.encoder.highway.{exit - first_exit}.classifier", pooled)


def classify(ids, mask):
    """The class and the exit of each row."""
    rows = torch.arange(len(ids), device=device)
    labels, exits = torch.empty_like(rows), torch.empty_like(rows)
    x = embed(ids)
    for k in range(layers):
        x = layer(k, x, mask)
        if k + 1 < first_exit or (k + 1 < layers and args.entropy <= 0):
            continue
        z = logits(k + 1, x, mask)
        p = z.float().log_softmax(-1)
        leaves = -(p.exp() * p).sum(-1) < args.entropy if k + 1 < layers else torch.ones_like(rows, dtype=torch.bool)
        labels[rows[leaves]], exits[rows[leaves]] = z[leaves].argmax(-1), k + 1
        stays = ~leaves
        if not stays.any():
            break
        if leaves.any():
            rows, x, mask = rows[stays], x[stays], mask[stays]
    return labels, exits


with open(args.data, encoding="utf-8") as file:
    rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
if args.pad == "bucket":
    rows.sort(key=lambda row: len(row["sentence"]))
tokenizer = BertTokenizerFast(vocab_file=str(Path(args.model) / "vocab.txt"))
batches = []
for i in range(0, len(rows), args.batch):
    encoded = tokenizer([row["sentence"] for row in rows[i : i + args.batch]], truncation=True, max_length=128, padding="longest", return_tensors="pt")
    batches.append((encoded["input_ids"], encoded["attention_mask"].bool()))
truth = torch.tensor([int(row["label"]) for row in rows])


def evaluate():
    found = [classify(ids.to(device), mask.to(device)) for ids, mask in batches]
    return torch.cat([labels.cpu() for labels, _ in found]), torch.cat([exits.cpu() for _, exits in found])


with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=args.precision == "bf16"):
    evaluate()  # warming up
    start = time.perf_counter()
    predicted, exits = evaluate()
    seconds = time.perf_counter() - start
print(json.dumps({"engine": "torch " + torch.__version__, "examples": len(rows), "acc": (predicted == truth).double().mean().item(),
                  "average_exit": exits.double().mean().item(), "seconds": seconds, "sequences_per_second": len(rows) / seconds}))
