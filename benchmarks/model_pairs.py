"""Model pairs: the embedded cascade, and one whose second tier has BERT-base's shape."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from tango_beam.cascade_directory import CASCADE_FILE, load_cascade
from tango_beam.checkpoint_files import EMBEDDED
from tango_beam.config import Compute
from tango_beam.models.logits import logits_of
from tango_beam.resolve import load_tier

PAIRS = ("sst2", "bert_base")
# Devlin et al. (2019): 12 layers, 768 wide, 12 heads, 3,072 between, 30,522 words, 512 positions.
BERT_BASE = BertConfig(num_hidden_layers=12, hidden_size=768, intermediate_size=3072)


def cascade(pair: str, work: Path) -> str:
    """What `--cascade` takes for a pair; that of BERT-base's shape is built under `work`."""
    return "sst2" if pair == "sst2" else str(bert_base(work / "bert_base"))


def bert_base(folder: Path) -> Path:
    """A cascade directory: the embedded first tier, then random weights in BERT-base's shape.

    It reads the embedded cascade's word pieces, so texts have the tokens that they have there; the
    rest of its 30,522 are never asked for. Its answers mean nothing.
    """
    if (folder / CASCADE_FILE).is_file():
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
    entry = json.loads((embedded / CASCADE_FILE).read_text())
    (folder / CASCADE_FILE).write_text(json.dumps({**entry, "name": "bert_base"}, indent=2))
    return folder


def thresholds(cascade: str, texts: Sequence[str], shares: Sequence[float]) -> list[float]:
    """For each share, the first-tier confidence under which that share of the texts lies."""
    config = load_cascade(cascade)
    logits = logits_of(load_tier(config.tiers[0], Compute()), texts)
    confidences = np.sort(config.decoder(config.tiers[0]).confidences(logits))
    return [float(confidences[round(share * len(texts))]) for share in shares]
