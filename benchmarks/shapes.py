"""Model pairs: the embedded cascade, and one whose second tier has BERT-base's shape."""

import json
import shutil
from pathlib import Path

import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from tango_beam.config import EMBEDDED

PAIRS = ("sst2", "bert_base")
# Devlin et al. (2019): 12 layers, 768 wide, 12 heads, 3,072 in between, 30,522 words, 512 positions.
BERT_BASE = BertConfig(num_hidden_layers=12, hidden_size=768, intermediate_size=3072)


def cascade(pair: str, work: Path) -> str:
    """What `--cascade` takes for a pair; that of BERT-base's shape is built under `work`."""
    return "sst2" if pair == "sst2" else str(bert_base(work / "bert_base"))


def bert_base(folder: Path) -> Path:
    """A cascade directory: the embedded first tier, then random weights in BERT-base's shape.

    It reads the embedded cascade's word pieces, so texts have the tokens that they have there; the
    rest of its 30,522 are never asked for. Its answers mean nothing.
    """
    if (folder / "cascade.json").is_file():
        return folder
    embedded = EMBEDDED / "sst2"
    second = folder / "second_tier"
    tokenizer = AutoTokenizer.from_pretrained(embedded / "second_tier")
    stated = json.loads((embedded / "second_tier" / "config.json").read_text())
    config = BertConfig(**{**BERT_BASE.to_dict(), "id2label": stated["id2label"]})
    torch.manual_seed(0)
    BertForSequenceClassification(config).to(torch.bfloat16).save_pretrained(second)
    tokenizer.save_pretrained(second)
    shutil.copytree(embedded / "first_tier", folder / "first_tier", dirs_exist_ok=True)
    entry = json.loads((embedded / "cascade.json").read_text())
    (folder / "cascade.json").write_text(json.dumps({**entry, "name": "bert_base"}, indent=2))
    return folder


def useful_flop(config: BertConfig, lengths) -> float:
    """Multiplications and additions that a BERT needs for texts of some lengths, none for padding.

    A layer's products take 2 x (4 h^2 + 2 h i) a token, attention 4 h a pair of tokens; pooler and
    classifier read one token a text, so the last layer takes 2 x 2 h^2 a token (keys and values) and
    the rest once a text. Embeddings, norms and activations are left out.

    Args:
      config: of the model.
      lengths: tokens of each text, shape [rows].
    """
    wide, between = config.hidden_size, config.intermediate_size
    tokens, pairs = float(lengths.sum()), float((lengths.astype(float) ** 2).sum())
    layer = tokens * 2 * (4 * wide**2 + 2 * wide * between) + pairs * 4 * wide
    last = tokens * (4 * wide**2 + 4 * wide) + len(lengths) * 4 * (wide**2 + wide * between)
    head = len(lengths) * 2 * wide * (wide + config.num_labels)
    return (config.num_hidden_layers - 1) * layer + last + head
