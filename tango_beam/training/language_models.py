"""Augmented texts out of language models, for a teacher to label.

A causal one writes texts like those that it is shown (after Tang et al., "Natural Language
Generation for Effective Knowledge Distillation", 2019). A masked one replaces words by others that
fit their place, and words that it cuts in pieces by GloVe's nearest (Jiao et al., "TinyBERT", 2020,
algorithm 1). TangoBERT, section 5.3.

Texts are made a few hundred at a time and kept on disk, so that a run that was killed makes none
twice. Each such part has a seed of its own: what is in it hangs on no other.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from tango_beam.arrays import Float32
from tango_beam.errors import RefusedError
from tango_beam.io.labelled import read_rows
from tango_beam.logs import figures
from tango_beam.training.inputs import naming
from tango_beam.training.texts import Row

logger = logging.getLogger(__name__)

PART = 256
# A part's texts that are no use are not replaced; a model that makes hardly any ends the search.
_LEAST_USED = 0.05
_LOG_EVERY_SECONDS = 20.0
# Between the two texts of a pair, and behind a text, in what a causal model reads and writes.
_BETWEEN, _END = "\t", "\n"

Maker = Callable[[Sequence[Row], int, np.random.Generator], list[Row]]


def made(maker: Maker, rows: Sequence[Row], count: int, seed: int, folder: Path) -> list[Row]:
    """`count` augmented texts or pairs, or fewer where the model makes too few that are of use.

    Args:
      maker: of some rows, how many and a random generator makes texts, maybe fewer.
      rows: that they are made of.
      count: how many.
      seed: the same texts for the same seed, rows and model.
      folder: where they are kept; those that are there already are not made again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found, part, started, looked = list[Row](), 0, time.monotonic(), time.monotonic()
    while len(found) < count:
        path = folder / f"{part:06d}.json"
        if path.is_file():
            new = [tuple(row) for row in json.loads(path.read_text())]
        else:
            new = maker(rows, PART, np.random.default_rng([seed, part]))
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(new))
            partial.rename(path)
        found, part = found + new, part + 1
        if len(found) < _LEAST_USED * part * PART:
            raise RefusedError(
                f"--augment: expected a model that makes texts like those it is shown, found "
                f"{len(found)} of {part * PART:,} of use"
            )
        now = time.monotonic()
        if now - looked > _LOG_EVERY_SECONDS:
            looked, left = now, (now - started) * (count - len(found)) / max(1, len(found))
            said = figures(rows=len(found), share=len(found) / count, seconds_left=left)
            counts = f"{len(found):,}", count, left
            logger.info("made %s of %s texts, about %.0f s left", *counts, extra=said)
    return found[:count]


def fingerprint(*parts: object) -> str:
    """Tells texts that are kept from those of another model, other rows or another seed."""
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()[:16]


def _loaded(head: Any, source: str) -> Any:
    """A language model, to be asked.

    Raises:
      ValueError: a checkpoint without a language model's head.
    """
    model, report = head.from_pretrained(
        source, use_safetensors=True, trust_remote_code=False, output_loading_info=True
    )
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"])[:3])
        raise ValueError(f"expected a language model, found no weights for {missing}")
    return model.eval()


@dataclass(frozen=True)
class Generator:
    """A causal language model that writes texts, or pairs, like those that it is shown.

    It is shown a few, a line each, the texts of a pair with a tab between them, and goes on with a
    line of its own, drawn from its whole distribution. Lines of another form are dropped.

    Attributes:
      model: of transformers.
      tokenizer: its own.
      examples: rows that it is shown before each text.
      most_tokens: in a text.
    """

    model: Any
    tokenizer: Any
    examples: int = 4
    most_tokens: int = 64

    @classmethod
    def load(cls, source: str, rows: Sequence[Row], max_length: int) -> Generator:
        """A checkpoint, from a folder or a hub id, safetensors only, no remote code.

        Args:
          source: of the causal language model.
          rows: texts that are made are no longer than twice what most of these are.
          max_length: the most tokens in a text.

        Raises:
          RefusedError: it is not there, or does not load.
        """
        with naming("--generator", source):
            model = _loaded(AutoModelForCausalLM, source)
            tokenizer = AutoTokenizer.from_pretrained(
                source, trust_remote_code=False, padding_side="left"
            )
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        lines = [_line(row) for row in rows[:1000]]
        lengths = [len(ids) for ids in tokenizer(lines, add_special_tokens=False)["input_ids"]]
        most = min(max_length, 2 * int(np.quantile(lengths, 0.95)) + 2)
        return cls(model, tokenizer, most_tokens=most)

    @torch.inference_mode()
    def __call__(self, rows: Sequence[Row], count: int, rng: np.random.Generator) -> list[Row]:
        """Up to `count` texts or pairs."""
        shown = [rng.integers(len(rows), size=self.examples) for _ in range(count)]
        prompts = ["".join(_line(rows[row]) for row in some) for some in shown]
        torch.manual_seed(int(rng.integers(1 << 62)))
        given = self.tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        given.pop("token_type_ids", None)
        written = self.model.generate(
            **given,
            do_sample=True,
            top_k=0,
            max_new_tokens=self.most_tokens,
            pad_token_id=self.tokenizer.pad_token_id,
            eos_token_id=self._ends(),
        )
        new = written[:, given["input_ids"].shape[1] :]
        lines = self.tokenizer.batch_decode(new, skip_special_tokens=True)
        found = (_row(line, len(rows[0])) for line in lines)
        return [row for row in found if row is not None]

    def _ends(self) -> list[int]:
        """Ids behind which a text ends: a line break's, and the model's own."""
        ids = self.tokenizer(_END, add_special_tokens=False)["input_ids"]
        own = self.model.generation_config.eos_token_id
        own = own if isinstance(own, list) else [own]
        return [end for end in (*ids[-1:], *own) if end is not None]


def _line(row: Row) -> str:
    return _BETWEEN.join(" ".join(text.split()) for text in row) + _END


def _row(line: str, sides: int) -> Row | None:
    """What a model wrote, as a text or a pair; None where it is neither."""
    first = line.split(_END)[0]
    row = tuple(text.strip() for text in first.split(_BETWEEN))
    return row if len(row) == sides and all(row) else None


@dataclass(frozen=True)
class Replacer:
    """Replaces words by others that a masked language model, or GloVe, finds to fit.

    Jiao et al., algorithm 1: each word with a probability of 0.4, by one of 15 candidates.

    Attributes:
      model: a masked language model of transformers.
      tokenizer: its own.
      nearest: for words that the model cuts in pieces, or None to leave those alone.
      share: of words that are replaced.
      candidates: among which one is drawn.
    """

    model: Any
    tokenizer: Any
    nearest: Nearest | None = None
    share: float = 0.4
    candidates: int = 15

    @classmethod
    def load(cls, source: str, vectors: str | None) -> Replacer:
        """A checkpoint, from a folder or a hub id, safetensors only, no remote code.

        Args:
          source: of the masked language model.
          vectors: a file of GloVe's, columns `word` and `vector`.

        Raises:
          RefusedError: one is not there, or does not load.
        """
        with naming("--masked_lm", source):
            model = _loaded(AutoModelForMaskedLM, source)
            tokenizer = AutoTokenizer.from_pretrained(
                source, trust_remote_code=False, add_prefix_space=True
            )
            if tokenizer.mask_token_id is None:
                raise ValueError("expected a tokenizer with a mask, found one without")
        return cls(model, tokenizer, Nearest.read(vectors) if vectors else None)

    def __call__(self, rows: Sequence[Row], count: int, rng: np.random.Generator) -> list[Row]:
        """`count` rows with some words replaced; one of which nothing was is left out."""
        drawn = [rows[row] for row in rng.integers(len(rows), size=count)]
        texts = [text.split() for row in drawn for text in row]
        chosen = [np.flatnonzero(rng.random(len(words)) < self.share) for words in texts]
        masked = self._masked(texts, chosen)
        for number, (words, places) in enumerate(zip(texts, chosen, strict=True)):
            before = list(words)
            for place in places:
                fitting = masked.get((number, int(place)))
                if fitting is None and self.nearest is not None:
                    fitting = self.nearest(before[place], self.candidates)
                if fitting:
                    words[place] = fitting[int(rng.integers(len(fitting)))]
        joined = [" ".join(words) for words in texts]
        sides = len(rows[0])
        made = [tuple(joined[at : at + sides]) for at in range(0, len(joined), sides)]
        return [new for new, old in zip(made, drawn, strict=True) if new != _plain(old)]

    def _masked(
        self, texts: list[list[str]], chosen: list[np.ndarray]
    ) -> dict[tuple[int, int], list[str]]:
        """Candidates for the words that are one piece, by text and place in it."""
        asked, ids = list[tuple[int, int]](), list[list[int]]()
        for number, (words, places) in enumerate(zip(texts, chosen, strict=True)):
            if not len(places):
                continue
            encoded = self.tokenizer(words, is_split_into_words=True, truncation=True)
            owners = np.array([-1 if own is None else own for own in encoded.word_ids()])
            for place in places:
                (at,) = np.nonzero(owners == place)
                known = len(at) == 1 and encoded["input_ids"][at[0]] != self.tokenizer.unk_token_id
                if known:
                    asked.append((number, int(place)))
                    ids.append([*encoded["input_ids"]])
                    ids[-1][int(at[0])] = self.tokenizer.mask_token_id
        return dict(zip(asked, self._fitting(ids), strict=True))

    @torch.inference_mode()
    def _fitting(self, ids: list[list[int]], rows: int = 64) -> list[list[str]]:
        """Candidates for the masked place of each text, the likeliest first."""
        found: list[list[str]] = [[] for _ in ids]
        order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
        for at in range(0, len(order), rows):
            batch = order[at : at + rows]
            given = self.tokenizer.pad(
                {"input_ids": [ids[row] for row in batch]}, return_tensors="pt"
            )
            logits = self.model(**given).logits
            place = (given["input_ids"] == self.tokenizer.mask_token_id).int().argmax(dim=1)
            best = (
                logits[torch.arange(len(batch)), place]
                .topk(min(self.candidates, logits.shape[-1]))
                .indices
            )
            for row, pieces in zip(batch, best.tolist(), strict=True):
                words = [self.tokenizer.decode([piece]).strip() for piece in pieces]
                special = {*self.tokenizer.all_special_ids}
                kept = zip(words, pieces, strict=True)
                found[row] = [w for w, p in kept if w and p not in special and "##" not in w]
        return found


def _plain(row: Row) -> Row:
    return tuple(" ".join(text.split()) for text in row)


@dataclass(frozen=True)
class Nearest:
    """The words whose vectors are nearest to a word's, by cosine.

    Attributes:
      words: in order.
      places: of each word in it.
      vectors: float32, shape [words, width], each of length 1.
    """

    words: Sequence[str]
    places: dict[str, int]
    vectors: Float32

    @classmethod
    def read(cls, path: str) -> Nearest:
        """Reads GloVe's file: columns `word` and `vector`.

        Raises:
          RefusedError: no such file or column.
        """
        table = read_rows([path], ("word",), ("vector",), option="--vectors")
        vectors = np.array(table["vector"].to_pylist(), np.float32)
        lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        words = table["word"].to_pylist()
        places = {word: row for row, word in enumerate(words)}
        return cls(words, places, vectors / lengths)

    def __call__(self, word: str, count: int) -> list[str]:
        """Up to `count` other words, the nearest first; none for a word without a vector."""
        row = self.places.get(word)
        if row is None:
            return []
        near = np.argsort(-(self.vectors @ self.vectors[row]), kind="stable")[: count + 1]
        return [self.words[other] for other in near if other != row][:count]
