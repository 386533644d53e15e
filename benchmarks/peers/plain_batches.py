"""What people write inside an actor or a handler: bf16, batches of 32 sorted by length."""

import pyarrow.parquet as pq

BATCH = 32


def loaded(source: str) -> tuple:
    """Model and tokenizer of a checkpoint, in bf16."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(source, dtype=torch.bfloat16)
    return model.eval(), AutoTokenizer.from_pretrained(source)


def batched(model, tokenizer, texts: list[str], max_length: int) -> list[str]:
    """Labels of texts, in order."""
    import torch

    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    labels = [""] * len(texts)
    settings = {"padding": True, "truncation": True, "return_tensors": "pt"}
    for at in range(0, len(order), BATCH):
        rows = order[at : at + BATCH]
        inputs = tokenizer([texts[row] for row in rows], max_length=max_length, **settings)
        with torch.inference_mode():
            best = model(**inputs).logits.argmax(1).tolist()
        for row, label in zip(rows, best, strict=True):
            labels[row] = model.config.id2label[label]
    return labels


def rows_at_once(texts: str) -> int:
    """Rows of a file that a framework hands over at a time: 64 to 1,024, in 16 helpings or more."""
    return min(1024, max(64, pq.read_metadata(texts).num_rows // 16))
