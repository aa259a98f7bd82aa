"""PyTorch on the work of bench_bert, with the same flags and the same JSON line.

Written as a careful PyTorch user would: transformers' BERT with SDPA attention, fused AdamW, gradients set to None, inference mode.
--pad says how sentences of a TSV are laid out: to --tokens (max), to the batch's longest (batch), or that after sorting by length (bucket).
"""
import argparse
import csv
import json
import random
import resource
import time

import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", default="base", help="base, minilm, or a Hugging Face folder")
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--tokens", type=int, default=128)
parser.add_argument("--tsv")
parser.add_argument("--pad", default="bucket", choices=["max", "batch", "bucket"])
parser.add_argument("--mode", default="train", choices=["train", "infer"])
parser.add_argument("--reps", type=int, default=8)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--vocab", help="a Hugging Face folder with vocab.txt, for a model that is none")
parser.add_argument("--device", default="cpu")
parser.add_argument("--precision", default="f32", choices=["f32", "bf16"], help="bf16: autocast")
parser.add_argument("--compile", action="store_true")
args = parser.parse_args()

torch.set_num_threads(args.threads)
torch.manual_seed(0)
random.seed(0)
SHAPES = {"base": (12, 768, 12, 3072), "minilm": (6, 384, 12, 1536)}
if args.model in SHAPES:
    layers, hidden, heads, ffn = SHAPES[args.model]
    model = BertForSequenceClassification(BertConfig(num_hidden_layers=layers, hidden_size=hidden,
                                                     num_attention_heads=heads, intermediate_size=ffn))
else:
    model = BertForSequenceClassification.from_pretrained(args.model)


def sentences():
    with open(args.tsv, encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    random.shuffle(rows)
    rows = rows[: args.batch * (args.reps + 3)]
    if args.pad == "bucket":
        rows.sort(key=lambda row: len(row["sentence"]))
    tokenizer = BertTokenizerFast(vocab_file=f"{args.vocab or args.model}/vocab.txt")
    for i in range(0, len(rows) - args.batch + 1, args.batch):
        chunk = rows[i : i + args.batch]
        encoded = tokenizer([row["sentence"] for row in chunk], truncation=True, max_length=args.tokens,
                            padding="max_length" if args.pad == "max" else "longest", return_tensors="pt")
        yield {**encoded, "labels": torch.tensor([int(row["label"]) for row in chunk])}


if args.tsv:
    batches = list(sentences())
    random.shuffle(batches)
else:
    ids = torch.randint(1000, 30000, (args.batch, args.tokens))
    batches = [{"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids),
                "labels": torch.arange(args.batch) % 2}] * (args.reps + 3)

training = args.mode == "train"
model.to(args.device).train(training)
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, weight_decay=0.01, fused=True) if training else None
forward = torch.compile(model, dynamic=args.tsv is not None) if args.compile else model


def step(batch):
    batch = {key: value.to(args.device, non_blocking=True) for key, value in batch.items()}
    autocast = torch.autocast(torch.device(args.device).type, torch.bfloat16, enabled=args.precision == "bf16")
    if not training:
        with torch.inference_mode(), autocast:
            forward(**{key: value for key, value in batch.items() if key != "labels"})
        return
    optimizer.zero_grad(set_to_none=True)
    with autocast:
        loss = forward(**batch).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def wait():
    if torch.device(args.device).type == "cuda":
        torch.cuda.synchronize()


if args.compile:  # each layout once: what compiling takes is not timed
    for batch in batches:
        step(batch)
timings = []
for batch in batches:
    wait()
    start = time.perf_counter()
    step(batch)
    wait()
    timings.append((time.perf_counter() - start, int(batch["attention_mask"].sum())))
timings = timings[3:]  # warming up
seconds = sum(t for t, _ in timings)
tokens = sum(n for _, n in timings)
c = model.config
per_token = (6 if training else 2) * c.num_hidden_layers * (4 * c.hidden_size**2 + 2 * c.hidden_size * c.intermediate_size)
print(json.dumps({
    "engine": "torch " + torch.__version__ + (" compiled" if args.compile else ""), "device": args.device,
    "precision": args.precision, "model": args.model, "mode": args.mode, "pad": args.pad if args.tsv else "none",
    "batch": args.batch, "max_tokens": args.tokens, "median_s": round(sorted(t for t, _ in timings)[len(timings) // 2], 5),
    "seq_per_s": round(args.batch * len(timings) / seconds, 2), "real_tokens_per_s": round(tokens / seconds),
    "useful_gflops_per_s": round(per_token * tokens / seconds / 1e9, 1),
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))
