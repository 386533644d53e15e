"""Cascades of every kind of answer, and rows for them: real shapes and texts, random weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import transformers
from transformers import AutoTokenizer, BertConfig

from benchmarks import unseen_texts
from tango_beam.answers import Task
from tango_beam.cascade_directory import save_cascade
from tango_beam.checkpoint_files import EMBEDDED
from tango_beam.config import CascadeConfig, Compute, TierConfig
from tango_beam.models.logits import logits_of
from tango_beam.resolve import load_tier

KINDS = ("labels", "multi_label", "score", "span")
LABELS = {"score": ("LABEL_0",), "span": ()}
STATED = {"multi_label": "multi_label_classification", "score": "regression"}
# BERT-mini's shape (Turc et al., 2019), and MiniLM's.
SHAPES = ((4, 256, 4), (6, 384, 12))
SHARE, SAMPLE = 0.2, 872  # as many as SST-2 has dev rows


def options(kind: str) -> tuple[str, ...]:
    """Of the job, for the rows of a kind."""
    return ("--text_pair_column", "text_pair") if kind == "span" else ()


def rows(kind: str, data: str, count: int) -> pa.Table:
    """`count` rows: sentences, or SQuAD's questions with their contexts."""
    if kind != "span":
        texts = unseen_texts.repeated(unseen_texts.dev(data), count)
        return pa.table({"id": range(count), "text": texts})
    table = pq.read_table(f"{data}/squad/dev_half.parquet", columns=["question", "context"])
    # In random order, so that a sample is like the whole: the file goes article by article.
    order = np.random.default_rng(0).permutation(table.num_rows)
    texts, pairs = table.take(pa.array(order[np.arange(count) % len(order)])).columns
    return pa.table({"id": range(count), "text": texts, "text_pair": pairs})


def cascade(kind: str, data: str, work: Path) -> str:
    """A cascade directory, made once, whose first tier sends a fifth of the rows on."""
    folder = work / f"cascade_{kind}"
    labels = LABELS.get(kind, ("negative", "positive"))
    tiers = [TierConfig(str(_checkpoint(folder, kind, labels, shape))) for shape in SHAPES]
    task = Task(kind, (0.0,) if kind == "score" else ())
    config = CascadeConfig((replace(tiers[0], threshold=0.5), tiers[1]), labels, kind, task=task)
    sample = rows(kind, data, SAMPLE)
    texts, *pairs = (column.combine_chunks() for column in sample.columns[1:])
    outputs = logits_of(load_tier(tiers[0], Compute()), texts, *pairs)
    confidences = config.decoder(tiers[0]).confidences(outputs)
    save_cascade(config.with_first_threshold(float(np.quantile(confidences, SHARE))), folder)
    return str(folder)


def _checkpoint(folder: Path, kind: str, labels: tuple[str, ...], shape: tuple) -> Path:
    layers, wide, heads = shape
    path = folder / f"tier_of_{layers}_layers"
    if not (path / "config.json").is_file():
        tokenizer = AutoTokenizer.from_pretrained(EMBEDDED / "sst2" / "second_tier")
        config = BertConfig(
            vocab_size=len(tokenizer),
            num_hidden_layers=layers,
            hidden_size=wide,
            num_attention_heads=heads,
            intermediate_size=4 * wide,
            # Wider than BERT's own: answers must differ, as those of trained weights do.
            initializer_range=0.1,
            problem_type=STATED.get(kind),
            **({"id2label": dict(enumerate(labels))} if labels else {}),
        )
        torch.manual_seed(layers)
        head = "QuestionAnswering" if kind == "span" else "SequenceClassification"
        getattr(transformers, f"BertFor{head}")(config).save_pretrained(path)
        tokenizer.save_pretrained(path)
    return path
