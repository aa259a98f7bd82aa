"""A tiny random BERT and tiny tasks, made from a seed with the standard library alone."""
import json
import pathlib
import random
import struct

LAYERS, HIDDEN, HEADS, FFN, POSITIONS = 3, 32, 4, 64, 128
WORDS = ["the", "a", "film", "story", "is", "was", "very", "good", "bad", "dull", "bright", "rich", "flat", "warm",
         "cold", "and", "but", "not", "of", "it", ".", ",", "plot", "cast"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + WORDS + ["##" + c for c in "abcdefghijklmnopqrstuvwxyz"]


def weights():
    """Name and shape of each weight, as Hugging Face's BertModel names them."""
    yield "embeddings.word_embeddings.weight", (len(VOCABULARY), HIDDEN)
    yield "embeddings.position_embeddings.weight", (POSITIONS, HIDDEN)
    yield "embeddings.token_type_embeddings.weight", (2, HIDDEN)
    norms = ["embeddings.LayerNorm"]
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}."
        for name, rows, columns in [("attention.self.query", HIDDEN, HIDDEN), ("attention.self.key", HIDDEN, HIDDEN),
                                    ("attention.self.value", HIDDEN, HIDDEN),
                                    ("attention.output.dense", HIDDEN, HIDDEN), ("intermediate.dense", FFN, HIDDEN),
                                    ("output.dense", HIDDEN, FFN)]:
            yield layer + name + ".weight", (rows, columns)
            yield layer + name + ".bias", (rows,)
        norms += [layer + "attention.output.LayerNorm", layer + "output.LayerNorm"]
    for norm in norms:
        yield norm + ".weight", (HIDDEN,)
        yield norm + ".bias", (HIDDEN,)
    yield "pooler.dense.weight", (HIDDEN, HIDDEN)
    yield "pooler.dense.bias", (HIDDEN,)


def write_model(folder, draw):
    folder.mkdir(parents=True)
    header, blobs, offset = {}, [], 0
    for name, shape in weights():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        mean = 1.0 if name.endswith("LayerNorm.weight") else 0.0
        blob = struct.pack(f"<{count}f", *(draw.gauss(mean, 0.1) for _ in range(count)))
        header["bert." + name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu", "vocab_size": len(VOCABULARY),
        "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": FFN,
        "max_position_embeddings": POSITIONS, "type_vocab_size": 2, "pad_token_id": 0, "layer_norm_eps": 1e-12,
        "initializer_range": 0.02, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}))


def sentence(draw):
    words = draw.choices(WORDS, k=draw.randint(1, 14))
    return " ".join(word + draw.choice(["", "", "", "ed", "s"]) for word in words)


def write_task(folder, draw, header, row, splits=(("train", 41), ("dev", 17))):
    folder.mkdir(parents=True)
    for split, rows in splits:
        lines = ["\t".join(header)] + ["\t".join(row(i)) for i in range(rows)]
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")


def write_all(folder, seed=1):
    """MODEL, and a folder each for SST-2, MRPC, STS-B and a task of three classes (`topics`)."""
    folder, draw = pathlib.Path(folder), random.Random(seed)
    write_model(folder / "model", draw)

    def text():
        return sentence(draw)

    write_task(folder / "sst2", draw, ["sentence", "label"], lambda i: [text(), str(draw.randint(0, 1))])
    write_task(folder / "mrpc", draw, ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"],
               lambda i: [str(draw.randint(0, 1)), str(i), str(i + 100), text(), text()])
    write_task(folder / "stsb", draw, ["index", "sentence1", "sentence2", "score"],
               lambda i: [str(i), text(), text(), f"{draw.uniform(0, 5):.3f}"])
    write_task(folder / "topics", draw, ["title", "topic"], lambda i: [text(), "xyz"[draw.randint(0, 2)]])
    lines = [text() for _ in range(12)]
    (folder / "lines.txt").write_text("\n".join(lines) + "\n")
    (folder / "pairs.txt").write_text("\n".join(f"{line}\t{text()}" for line in lines) + "\n")
