"""Tiny checkpoints, made by the real code and loaded by it: random weights, real files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
)

from tango_beam.answers import LabelDecoder
from tango_beam.cascade_directory import save_cascade
from tango_beam.config import CascadeConfig, Compute, TierConfig
from tango_beam.models import loading
from tango_beam.models import transformer as families
from tango_beam.models.bilstm import BiLSTM, BiLSTMNetwork
from tango_beam.models.bilstm_config import BiLSTMConfig
from tango_beam.models.static import StaticModel, StaticNetwork
from tango_beam.models.static_config import StaticConfig

LABELS = ("negative", "positive")
WORDS = [
    "a",
    "an",
    "the",
    "film",
    "movie",
    "plot",
    "is",
    "was",
    "not",
    "very",
    "good",
    "bad",
    "great",
    "awful",
    "dull",
    "bright",
    "funny",
    "sad",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def sentence(rng, most=12) -> str:
    return " ".join(rng.choice(WORDS, size=int(rng.integers(1, most))))


def tokenizer() -> Tokenizer:
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = [*SPECIAL, "[unused0]", *WORDS, *letters[1:], *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.add_special_tokens(SPECIAL)
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ids = [(token, made.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ids
    )
    return made


def fast(backend: Tokenizer, max_length: int = 64) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=max_length,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def transformer(
    folder: Path, labels=LABELS, seed: int = 0, head=BertForSequenceClassification, **changes
) -> Path:
    backend = tokenizer()
    torch.manual_seed(seed)
    config = BertConfig(
        **{
            "vocab_size": backend.get_vocab_size(),
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "max_position_embeddings": 64,
            "initializer_range": 0.6,
            "id2label": dict(enumerate(labels)),
            "label2id": {label: index for index, label in enumerate(labels)},
            **changes,
        }
    )
    head(config).save_pretrained(folder)
    fast(backend).save_pretrained(folder)
    return folder


def reader(folder: Path, seed: int = 0, **changes) -> Path:
    """Answers questions with spans."""
    return transformer(folder, seed=seed, head=BertForQuestionAnswering, **changes)


def bilstm(folder: Path, labels=LABELS, seed: int = 0, spread: float = 1.0, **changes) -> Path:
    backend = tokenizer()
    torch.manual_seed(seed)
    config = BiLSTMConfig(tuple(labels), backend.get_vocab_size(), 16, 16, max_length=64)
    network = BiLSTMNetwork(replace(config, **changes))
    with torch.no_grad():
        # Random weights hardly tell texts apart; wider ones spread the confidences.
        for parameter in network.parameters():
            parameter.mul_(spread)
    BiLSTM(replace(config, **changes), network, backend).save(folder)
    return folder


def static(folder: Path, labels=LABELS, seed: int = 0, **changes) -> Path:
    """Means of embeddings; those of bigrams are random too, as after a training."""
    backend = tokenizer()
    torch.manual_seed(seed)
    config = StaticConfig(tuple(labels), backend.get_vocab_size(), 16, 64, 16, max_length=64)
    network = StaticNetwork(replace(config, **changes))
    if network.bigrams is not None:
        torch.nn.init.normal_(network.bigrams.weight)
    StaticModel(replace(config, **changes), network, backend).save(folder)
    return folder


def middle_confidence(folder: Path) -> float:
    """A threshold that sends about half of the sentences on."""
    model = load(folder)
    rng = np.random.default_rng(9)
    tokens = model.tokenize(pa.array([sentence(rng) for _ in range(200)]))
    confidences = LabelDecoder().confidences(model.forward(tokens, np.arange(200)))
    return round(float(np.median(confidences)), 3)


def load(folder, device="cpu", precision="fp32", **tier):
    """A checkpoint as a tier of a cascade loads it."""
    return loading.load(TierConfig(str(folder), **tier), Compute(device, precision))


def one_at_a_time(model, tokens, rows=None):
    """Logits of each row scored alone; on one thread, since several would only wait for each other.

    Args:
      rows: which, in which order; all by default.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        chosen = range(len(tokens)) if rows is None else rows
        return np.concatenate([model.forward(tokens, np.array([row])) for row in chosen])
    finally:
        torch.set_num_threads(threads)


def to_train(folder, precision="fp32", **tier):
    """A transformer as it is trained: transformers' own network, padded."""
    return families.load(TierConfig(str(folder), **tier), Compute("cpu", precision))


def cascade(folder: Path, labels=LABELS, tiers: int = 2) -> Path:
    small = [bilstm(folder / f"tier_{n}", labels, seed=n, spread=3.0) for n in range(1, tiers)]
    before = [TierConfig(str(path), threshold=middle_confidence(path)) for path in small]
    last = TierConfig(str(transformer(folder / "last_tier", labels)))
    save_cascade(CascadeConfig((*before, last), tuple(labels), folder.name), folder)
    return folder
