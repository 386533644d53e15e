"""Vocabularies: a tokenizer without its unused pieces, and a word vocabulary from texts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from tango_beam.arrays import Float32, Int64
from tango_beam.errors import RefusedError
from tango_beam.io.labelled import read_rows

PAD, UNKNOWN = "[PAD]", "[UNK]"


def without_unused(tokenizer: Tokenizer) -> tuple[Tokenizer, Int64]:
    """A WordPiece tokenizer without its `[unusedN]` pieces, which no text ever gives.

    Returns:
      The tokenizer, and the old id of each new id: rows to keep of an embedding matrix.

    Raises:
      ValueError: it is no WordPiece tokenizer.
    """
    stored = json.loads(tokenizer.to_str())
    if stored["model"]["type"] != "WordPiece":
        raise ValueError(f"expected a WordPiece tokenizer, found {stored['model']['type']}")
    vocabulary = stored["model"]["vocab"]
    kept = {piece: old for piece, old in vocabulary.items() if not piece.startswith("[unused")}
    pieces = sorted(kept, key=kept.__getitem__)
    new = {piece: index for index, piece in enumerate(pieces)}
    stored["model"]["vocab"] = new
    for token in stored["added_tokens"]:
        token["id"] = new[token["content"]]
    _renumber(stored.get("post_processor"), new)
    old_ids = np.array([kept[piece] for piece in pieces], np.int64)
    return Tokenizer.from_str(json.dumps(stored)), old_ids


def _renumber(processor: dict[str, Any] | None, new: dict[str, int]) -> None:
    """Gives a post-processor's special tokens their new ids."""
    if processor is None:
        return
    for token in processor.get("special_tokens", {}).values():
        token["ids"] = [new[piece] for piece in token["tokens"]]
    for side in ("cls", "sep"):
        if isinstance(processor.get(side), list):
            processor[side][1] = new[processor[side][0]]


def word_tokenizer(texts: Iterable[str], size: int) -> Tokenizer:
    """A lower-case word tokenizer over the most frequent words of some texts.

    Args:
      texts: to count words in.
      size: words kept, padding and the unknown word among them.
    """
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordLevelTrainer(
        vocab_size=size, special_tokens=[PAD, UNKNOWN], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def word_vectors(path: str, tokenizer: Tokenizer, width: int) -> tuple[Int64, Float32]:
    """Pretrained vectors (GloVe) of the words that a tokenizer knows.

    Args:
      path: file with columns `word` and `vector`.
      tokenizer: gives the ids.
      width: length of a vector.

    Returns:
      Ids, int64, shape [found], and their vectors, float32, shape [found, width].

    Raises:
      RefusedError: no such file or column, or vectors of another length.
    """
    table = read_rows([path], ("word",), ("vector",), option="--vectors")
    try:
        vectors = np.array(table["vector"].to_pylist(), np.float32)
    except (TypeError, ValueError) as error:
        raise RefusedError(f"{path}: expected vectors of {width} numbers, found {error}") from error
    if vectors.ndim != 2 or vectors.shape[1] != width:
        raise RefusedError(f"{path}: expected vectors of {width} numbers, found {vectors.shape}")
    ids = [tokenizer.token_to_id(word) for word in table["word"].to_pylist()]
    known = np.array([index is not None for index in ids])
    return np.array([index for index in ids if index is not None], np.int64), vectors[known]
