"""A multi-exit BERT-base with random weights, as a checkpoint: for measuring time where no trained model of that size is at hand.

    python3 bench/random_exits.py OUT --vocab FOLDER     FOLDER: holds vocab.txt

Classifiers are large enough for some sentences to be certain early and some never; `costeff eval --sweep` says at which thresholds.
"""
import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertForSequenceClassification

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("out", type=Path)
parser.add_argument("--vocab", required=True, type=Path)
parser.add_argument("--layers", type=int, default=12)
args = parser.parse_args()

torch.manual_seed(0)
config = BertConfig(num_hidden_layers=args.layers, num_labels=2)
model = BertForSequenceClassification(config)
weights = {name: value.contiguous() for name, value in model.state_dict().items() if "pooler" not in name and "position_ids" not in name}
for k in range(args.layers):
    name = "classifier" if k + 1 == args.layers else f"bert.encoder.highway.{k}.classifier"
    weights[name + ".weight"] = torch.randn(2, config.hidden_size) * 0.3
    weights[name + ".bias"] = torch.zeros(2)
args.out.mkdir(parents=True, exist_ok=True)
save_file(weights, args.out / "model.safetensors")
exits = {"costeff": {"exit_start": 1}, "pooler_dense": False, "pooling_mode": "avg", "last_n_hidden": 1, "hidden_mode": "concat"}
(args.out / "config.json").write_text(json.dumps({**config.to_dict(), **exits}, indent=1), encoding="utf-8")
for name in ("vocab.txt", "tokenizer_config.json"):
    if (args.vocab / name).exists():
        shutil.copy(args.vocab / name, args.out / name)
