"""A small corpus whose labels can be learnt, and a tiny teacher that has learnt them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import finetune
from tests import tiny


def teach(folder: Path, rows: int = 300, epochs: int = 8) -> Path:
    """Writes train.parquet, an encoder of three layers, and the teacher that it became."""
    rng = np.random.default_rng(0)
    texts = [tiny.sentence(rng) for _ in range(rows)]
    labels = ["good" if "good" in text else "other" for text in texts]
    pq.write_table(pa.table({"text": texts, "label": labels}), folder / "train.parquet")
    tiny.transformer(folder / "encoder", initializer_range=0.1, num_hidden_layers=3)
    finetune.main(
        f"--encoder {folder}/encoder --train {folder}/train.parquet --output {folder}/teacher "
        f"--epochs {epochs} --learning_rate 3e-3".split()
    )
    return folder
