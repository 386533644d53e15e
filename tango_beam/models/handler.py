"""A Beam ModelHandler as a tier: texts in, its predictions out as probabilities of labels."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tango_beam.arrays import Float32, Float64, Int64
from tango_beam.models.handler_tier import (
    HandlerTier,
    fingerprint,
    is_keyed,
    listed,
    refuse,
    shown,
    tier_of,
)
from tango_beam.models.texts import RowsFailedError, TextModel, Texts, log_probabilities

__all__ = ["HandlerModel", "HandlerTier", "fingerprint", "load", "probabilities_of", "tier_of"]

logger = logging.getLogger(__name__)

# Rows that a handler is given at once when it does not say how many. RunInference starts at one
# and goes up to 10,000 by the time that batches take; rows are then cut in a different way in every
# run, and with some networks so are scores.
USUAL_ROWS = 64
# By how much probabilities may miss a sum of 1: those of a softmax in bf16 do.
TOLERANCE = 0.01


class _Key(str):
    """The key of a row, told from whatever else is a text."""

    __slots__ = ()


def _key(place: int) -> _Key:
    return _Key(f"row {place}")


class HandlerModel(TextModel):
    """A tier that has a ModelHandler answer; see `models.protocol.Model`.

    A model is shared by all threads of a process, as under RunInference, and so is the handler.

    Args:
      name: of the function, as options spell it.
      tier: what the function returned.
      labels: the answers that it may give, in the order of the outputs.
      model: what the handler's `load_model` gave.
      fingerprint: of what answers.
    """

    def __init__(
        self, name: str, tier: HandlerTier, labels: tuple[str, ...], model: Any, fingerprint: str
    ) -> None:
        self._batches = _Batches.of(tier.handler)
        super().__init__(labels, fingerprint, self._batches.rows)
        self._name, self._tier, self._model = name, tier, model
        self._before = tuple(tier.handler.get_preprocess_fns())
        self._after = tuple(tier.handler.get_postprocess_fns())
        self._whole = tier.handler.should_skip_batching()
        self._is_keyed = is_keyed(tier.handler)

    def plan(
        self, lengths: Int64, budget: int | None = None, threads: int | None = None
    ) -> list[Int64]:
        """Cuts rows into micro-batches of like lengths, since many a handler pads its texts."""
        order = np.argsort(lengths, kind="stable")
        return [order[part] for part in super().plan(lengths, budget, threads)]

    def forward(self, tokens: Texts, rows: Int64) -> Float32:
        """Log probabilities of the labels, float32, shape [rows, labels].

        Raises:
          RowsFailedError: rows whose text could not be prepared, or whose prediction is none of
            the labels' probabilities.
          ValueError: not one prediction for each row.
          Exception: whatever the handler raises for its batch.
        """
        errors: dict[int, str] = {}
        places, batch = self._prepared(self._examples(tokens.take(rows)), errors)
        outputs = np.full((len(rows), self.width), np.nan, np.float64)
        for place, prediction in zip(places, self._predictions(batch, len(places)), strict=True):
            try:
                said = self._tier.read(self._finished(prediction, place))
            except Exception as error:  # noqa: BLE001 - the user's code; the row bears it
                errors[place] = (
                    f"{self._name}: expected a prediction that can be read, found "
                    f"{type(error).__name__}: {error}"
                )[:500]
                continue
            try:
                outputs[place] = probabilities_of(said, self.labels, ordered=self._has_order)
            except ValueError as error:
                errors[place] = f"{self._name}: {error}"[:500]
        found = log_probabilities(outputs.astype(np.float32))
        if errors:
            raise RowsFailedError(found, errors)
        return found

    @property
    def _has_order(self) -> bool:
        return self._tier.labels is not None

    def _examples(self, chosen: Texts) -> list[Any]:
        """The rows as a pipeline would give them to RunInference."""
        examples = chosen.texts.to_pylist()
        if chosen.pairs is not None:
            examples = [*zip(examples, chosen.pairs.to_pylist(), strict=True)]
        if self._is_keyed:
            examples = [(_key(place), example) for place, example in enumerate(examples)]
        return examples

    def _prepared(self, examples: list[Any], errors: dict[int, str]) -> tuple[list[int], Any]:
        """What the functions before inference make of rows, and the rows on which none failed."""
        if self._whole:
            # A handler `with_no_batching` has functions that take a whole batch.
            places, batch = [*range(len(examples))], examples
            for function in self._before:
                batch = function(batch)
            return places, batch
        places, made = [], []
        for place, example in enumerate(examples):
            try:
                for function in self._before:
                    example = function(example)
            except Exception as error:  # noqa: BLE001 - the user's code; the row bears it
                errors[place] = (
                    f"{self._name}: expected a text that can be prepared, found "
                    f"{type(error).__name__}: {error}"
                )[:500]
            else:
                places.append(place)
                made.append(example)
        return places, made

    def _predictions(self, batch: Any, count: int) -> Iterator[Any]:
        """One prediction for each example of a micro-batch."""
        if self._whole:
            yield from self._run(batch, count)
            return
        for part in self._batches.cut(batch):
            yield from self._run(part, len(part))

    def _run(self, batch: Any, count: int) -> list[Any]:
        arguments = self._tier.inference_args
        found = self._tier.handler.run_inference(
            batch, self._model, None if arguments is None else dict(arguments)
        )
        if isinstance(found, str | bytes | Mapping) or not isinstance(found, Iterable):
            raise ValueError(
                f"{self._name}: expected predictions, one for each row, found "
                f"{type(found).__name__}"
            )
        predictions = [*found]
        # RunInference hands on what there is; rows without a prediction would be gone.
        if len(predictions) != count:
            raise ValueError(
                f"{self._name}: expected {count} predictions for {count} rows, found "
                f"{len(predictions)}"
            )
        return predictions

    def _finished(self, prediction: Any, place: int) -> Any:
        """A prediction behind the functions after inference, without its key."""
        for function in self._after:
            prediction = function(prediction)
        # The functions may have taken the key off already.
        with_key = type(prediction) is tuple and len(prediction) == 2
        if not with_key or not isinstance(prediction[0], _Key):
            return prediction
        key, unkeyed = prediction
        if key != _key(place):
            raise ValueError(f"that of {key} in place of {_key(place)}")
        return unkeyed


@dataclass(frozen=True)
class _Batches:
    """How many examples a handler is given at once.

    Attributes:
      rows: at most so many.
      weight: their sizes come to at most so much; None for any.
      size: of an example.
    """

    rows: int
    weight: float | None = None
    size: Callable[[Any], float] = lambda example: 1

    @classmethod
    def of(cls, handler: Any) -> _Batches:
        """As `handler.batch_elements_kwargs()` has it."""
        stated = handler.batch_elements_kwargs()
        rows, size = stated.get("max_batch_size"), stated.get("element_size_fn")
        usual = max(USUAL_ROWS, stated.get("min_batch_size") or 1)
        if size is None:
            return cls(rows or usual)
        weight = stated.get("max_batch_weight")
        # With sizes and no other limit, it is the sum of sizes that BatchElements bounds.
        return cls(rows or usual, weight, size) if weight else cls(usual, rows, size)

    def cut(self, examples: list[Any]) -> Iterator[list[Any]]:
        """Examples in runs whose sizes stay under the limit, or that are one alone."""
        part: list[Any] = []
        weight = 0.0
        for example in examples:
            more = 0 if self.weight is None else self.size(example)
            if part and self.weight is not None and weight + more > self.weight:
                yield part
                part, weight = [], 0.0
            part.append(example)
            weight += more
        if part:
            yield part


def probabilities_of(said: Any, labels: tuple[str, ...], *, ordered: bool = True) -> Float64:
    """Probabilities of labels, float64, shape [labels], from what a reading function returned.

    Args:
      said: a label, a mapping of labels to probabilities, or the probabilities in order.
      labels: in the order of the result.
      ordered: whether that is the order of the probabilities, too.

    Raises:
      ValueError: something else, or probabilities that are not finite, or whose sum is not 1.
    """
    if isinstance(said, str):
        if said not in labels:
            raise ValueError(f"expected one of {listed(labels)}, found {shown(said)}")
        return np.array([label == said for label in labels], np.float64)
    values = said
    if isinstance(said, Mapping):
        unknown = [key for key in said if key not in labels]
        if unknown:
            raise ValueError(f"expected the labels {listed(labels)}, found {shown(unknown)}")
        values = [said.get(label, 0.0) for label in labels]
    try:
        found = np.asarray(values, np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"expected a label or probabilities, found {shown(said)}") from error
    if found.shape != (len(labels),):
        raise ValueError(f"expected {len(labels)} probabilities, found {shown(said)}")
    if not ordered and not isinstance(said, Mapping):
        raise ValueError(
            "expected a label or a mapping of labels to probabilities, since no labels of "
            f"HandlerTier say in which order probabilities stand, found {shown(said)}"
        )
    fine = np.isfinite(found).all() and found.min() >= 0 and abs(found.sum() - 1) <= TOLERANCE
    if not fine:
        raise ValueError(f"expected probabilities of 0 to 1 with a sum of 1, found {shown(said)}")
    return found / found.sum()


def load(
    name: str, labels: tuple[str, ...] | None = None, *, revision: str | None = None
) -> HandlerModel:
    """Loads the model of a handler, as RunInference does.

    Each process loads a copy of its own: what a handler says of sharing one among processes is not
    heeded, nor are its resource hints. The log says so of a handler that states them.

    Args:
      name: `handler:package.module:function`.
      labels: of the cascade; None for those that the function states.
      revision: the `fingerprint` with which the job was launched; None for any.

    Raises:
      RefusedError: see `tier_of`; or labels that differ, or none at all.
      ValueError: another revision.
      Exception: whatever the handler raises when it loads its model.
    """
    tier = tier_of(name)
    if tier.labels is None and labels is None:
        refuse(name, "labels in HandlerTier, or --labels, found none")
    if tier.labels is not None and labels is not None and {*tier.labels} != {*labels}:
        refuse(name, f"the labels {listed(sorted(labels))}, found {listed(sorted(tier.labels))}")
    found = fingerprint(name)
    if revision not in (None, found):
        raise ValueError(
            f"{name}: expected the module with which the job was launched ({revision[:16]}), "
            f"found another ({found[:16]})"
        )
    handler = tier.handler
    _tell_what_is_not_heeded(name, handler)
    handler.validate_inference_args(tier.inference_args)
    # A model may look at them while it loads.
    handler.set_environment_vars()
    known = tier.labels or labels or ()
    return HandlerModel(name, tier, known, handler.load_model(), fingerprint(name, known))


def _tell_what_is_not_heeded(name: str, handler: Any) -> None:
    if handler.share_model_across_processes():
        logger.warning(
            "%s asks for one copy of its model on a machine, and has one in each process; run one "
            "process on a machine where that is too much",
            name,
        )
    hints = handler.get_resource_hints()
    if hints:
        logger.warning(
            "%s states the resource hints %s, which are not passed on; --placement apart with "
            "--second_tier_ram and --second_tier_accelerator does that",
            name,
            hints,
        )
