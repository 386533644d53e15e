"""A Beam ModelHandler as a tier: real handlers, called as RunInference calls them."""

import itertools
import os
import sys
from dataclasses import replace

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.ml.inference.base import (
    KeyedModelHandler,
    KeyModelMapping,
    MaybeKeyedModelHandler,
    ModelHandler,
    PredictionResult,
    RemoteModelHandler,
    RunInference,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from tango_beam import record_columns, scoring
from tango_beam.errors import RefusedError
from tango_beam.models import handler
from tango_beam.models.handler import HandlerTier
from tango_beam.models.logits import logits_of
from tango_beam.models.texts import RowsFailedError
from tango_beam.record_columns import OutputColumns
from tests.test_scoring import ROLE

LABELS = ("loud", "quiet")
TEXTS = ["OH NO", "well", "HELP", "fine by me", "so", "STOP it"]


class Loudness(ModelHandler):
    """A handler as people write them: a share of capitals is what it calls loud."""

    def __init__(self, **batching):
        super().__init__(**batching)
        self.batches = []

    def load_model(self):
        return lambda letter: letter.isupper()

    def run_inference(self, batch, model, inference_args=None):
        self.batches.append(list(batch))
        letters = ("".join(filter(str.isalpha, text)) for text in batch)
        shares = (sum(map(model, text)) / max(1, len(text)) for text in letters)
        return [PredictionResult(text, [1 - p, p]) for text, p in zip(batch, shares, strict=True)]


STATED = ("quiet", "loud")  # the order in which the handler has them


def in_order(result):
    return result.inference


def label(result):
    return STATED[np.argmax(result.inference)]


def mapping(result):
    return dict(zip(STATED, result.inference, strict=True))


def loudness():
    return HandlerTier(Loudness(), in_order, STATED)


@pytest.fixture
def loaded(monkeypatch):
    """Loads what a test's own function returns, by name, as any function is."""

    def load(tier, labels=None):
        monkeypatch.setattr(sys.modules[__name__], "made", lambda: tier, raising=False)
        return handler.load(f"handler:{__name__}:made", labels)

    return load


def probabilities(model, texts, pairs=None, labels=LABELS):
    found = np.exp(logits_of(model, texts, pairs, labels=labels).astype(np.float64))
    return found.round(4).tolist()


def answered(model, texts, pairs=None):
    """Predictions by text, and errors by text, of what becomes of a batch."""
    columns = {"text": texts} if pairs is None else {"text": texts, "text_pair": pairs}
    role = replace(ROLE, threshold=0.0, columns=OutputColumns(text_columns=tuple(columns)))
    routed = scoring.score(model, pa.record_batch(columns), role)
    simple, failed = routed.simple.to_pylist(), routed.failed.to_pylist()
    assert routed.complex.num_rows == 0
    return (
        {row["text"]: row["prediction"] for row in simple},
        {row["text"]: row[record_columns.ERROR] for row in failed},
    )


def test_a_handler_answers_with_probabilities_in_the_order_that_it_states():
    model = handler.load(f"handler:{__name__}:loudness")
    assert model.labels == STATED
    assert probabilities(model, ["STOP it", "so"]) == [[0.6667, 0.3333], [0, 1]]
    said, _ = answered(model, TEXTS)
    assert [text for text in TEXTS if said[text] == "loud"] == ["OH NO", "HELP", "STOP it"]


@pytest.mark.parametrize("labels", [LABELS, LABELS[::-1]])
def test_labels_and_mappings_fit_any_order_of_labels(loaded, labels):
    assert probabilities(loaded((Loudness(), label), labels), ["STOP it", "so"]) == [[1, 0], [0, 1]]
    shares = probabilities(loaded((Loudness(), mapping), labels), ["STOP it", "so"])
    assert shares == [[0.6667, 0.3333], [0, 1]]


def test_a_sequence_of_probabilities_needs_labels_that_give_its_order(loaded):
    _, failed = answered(loaded((Loudness(), in_order), LABELS), TEXTS)
    assert len(failed) == len(TEXTS)
    assert "no labels of HandlerTier say in which order" in failed["so"]
    assert not answered(loaded((Loudness(), in_order, ["quiet", "loud"]), LABELS), TEXTS)[1]


def test_pairs_are_given_as_tuples(loaded):
    class Same(ModelHandler):
        def load_model(self):
            return None

        def run_inference(self, batch, model, inference_args=None):
            return ["loud" if one == other else "quiet" for one, other in batch]

    model = loaded((Same(), str), LABELS)
    assert answered(model, ["a", "b"], ["a", "c"]) == ({"a": "loud", "b": "quiet"}, {})
    keyed = loaded((MaybeKeyedModelHandler(Same()), str), LABELS)
    assert answered(keyed, ["a", "b"], ["a", "c"]) == ({"a": "loud", "b": "quiet"}, {})


class Dropping(Loudness):
    def run_inference(self, batch, model, inference_args=None):
        found = super().run_inference(batch, model)
        return (result for result in found if "gap" not in result.example)


def test_too_few_predictions_are_refused_not_zipped(loaded):
    model = loaded((Dropping(), mapping), LABELS)
    tokens = model.tokenize(pa.array(["OH", "a gap", "well"]))
    with pytest.raises(ValueError, match="expected 3 predictions for 3 rows, found 2"):
        model.forward(tokens, np.arange(3))
    said, failed = answered(model, [*TEXTS, "a gap"])
    assert said.keys() == {*TEXTS}
    assert "expected 1 predictions for 1 rows, found 0" in failed["a gap"]


def test_a_text_on_which_the_handler_raises_costs_no_other(loaded):
    class Picky(Loudness):
        def run_inference(self, batch, model, inference_args=None):
            if "HELP" in batch:
                raise OSError("no help")
            return super().run_inference(batch, model)

    said, failed = answered(loaded((Picky(), mapping), LABELS), TEXTS)
    assert failed == {"HELP": "OSError: no help"}
    assert said.keys() == {*TEXTS} - {"HELP"}


@pytest.mark.parametrize(
    ("nonsense", "complaint"),
    [
        ("deafening", "expected one of quiet, loud, found 'deafening'"),
        ({"deafening": 1.0}, "expected the labels quiet, loud, found ['deafening']"),
        ([0.2, 0.3, 0.5], "expected 2 probabilities, found [0.2, 0.3, 0.5]"),
        ([0.2, float("nan")], "with a sum of 1, found [0.2, nan]"),
        ([3.1, -2.1], "with a sum of 1, found [3.1, -2.1]"),
        ({"loud": 0.4}, "with a sum of 1, found {'loud': 0.4}"),
        (["loud", "quiet"], "expected a label or probabilities, found ['loud', 'quiet']"),
        (None, "expected 2 probabilities, found None"),
        (1, "expected 2 probabilities, found 1"),
    ],
)
def test_a_reading_that_is_nonsense_is_that_rows_error(loaded, nonsense, complaint):
    def read(result):
        return nonsense if result.example == "HELP" else result.inference

    inner = Loudness()
    model = loaded((inner, read, STATED))
    said, failed = answered(model, TEXTS)
    assert said.keys() == {*TEXTS} - {"HELP"}
    assert complaint in failed["HELP"]
    assert len(inner.batches) == 1  # what could not be read is not asked for again


def test_rows_that_cannot_be_prepared_or_read_are_told_by_their_place(loaded):
    def lowered(text):
        return text.lower() if text != "so" else 1 / 0

    def read(result):
        return {}["nothing"] if result.example == "help" else mapping(result)

    model = loaded((Loudness().with_preprocess_fn(lowered), read), LABELS)
    with pytest.raises(RowsFailedError) as raised:
        model.forward(model.tokenize(pa.array(TEXTS)), np.array([4, 2, 0]))
    assert sorted(raised.value.errors) == [0, 1]
    assert "can be prepared, found ZeroDivisionError" in raised.value.errors[0]
    assert "can be read, found KeyError: 'nothing'" in raised.value.errors[1]
    assert np.isnan(raised.value.outputs[:2]).all()
    assert np.exp(raised.value.outputs[2]).round(4).tolist() == [0, 1]


def strip_key(pair):
    return pair[1]


# Each with the examples that RunInference is given: the rows' texts, or those with a key.
WRAPPED = {
    "two functions before": (
        Loudness().with_preprocess_fn(str.upper).with_preprocess_fn(lambda text: text[:1] + "x"),
        mapping,
        False,
    ),
    "two functions behind": (
        Loudness().with_postprocess_fn(in_order).with_postprocess_fn(max),
        lambda most: [1 - most, most],
        False,
    ),
    "keys": (KeyedModelHandler(Loudness()), mapping, True),
    "keys and functions": (
        KeyedModelHandler(Loudness())
        .with_preprocess_fn(lambda pair: (pair[0], pair[1] + "X"))
        .with_postprocess_fn(strip_key),
        mapping,
        True,
    ),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_predictions_are_those_of_run_inference(loaded, kind):
    wrapped, read, keyed = WRAPPED[kind]
    _kept.clear()
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        examples = beam.Create([*enumerate(TEXTS)] if keyed else TEXTS, reshuffle=False)
        _ = pipeline | examples | RunInference(wrapped) | beam.Map(_keep)
    found = map(strip_key, _kept) if kind == "keys" else _kept
    expected = [handler.probabilities_of(read(one), STATED) for one in found]
    model = loaded((wrapped, read, STATED))
    assert probabilities(model, TEXTS, labels=STATED) == np.round(expected, 4).tolist()


_kept: list = []


def _keep(prediction):
    _kept.append(prediction)


def test_a_prediction_under_another_rows_key_is_not_taken(loaded):
    class Turned(KeyedModelHandler):
        def run_inference(self, batch, model, inference_args=None):
            return [*super().run_inference(batch, model)][::-1]

    _, failed = answered(loaded((Turned(Loudness()), mapping), LABELS), ["a", "B"])
    assert "that of row 1 in place of row 0" in failed["a"]


def test_functions_of_a_handler_without_batching_take_whole_batches(loaded):
    def upper(batch):
        return [text.upper() for text in batch]

    model = loaded((Loudness().with_no_batching().with_preprocess_fn(upper), label), LABELS)
    assert {*answered(model, TEXTS)[0].values()} == {"loud"}


@pytest.mark.parametrize(
    ("batching", "sizes"),
    [
        ({}, [6]),
        ({"max_batch_size": 4}, [4, 2]),
        ({"min_batch_size": 100}, [6]),
        ({"max_batch_size": 10, "element_size_fn": len}, [3, 1, 1, 1]),
        ({"max_batch_size": 2, "max_batch_weight": 9, "element_size_fn": len}, [2, 2, 1, 1]),
    ],
)
def test_micro_batches_are_as_large_as_the_handler_says(loaded, batching, sizes):
    inner = Loudness(**batching)
    assert not answered(loaded((inner, mapping), LABELS), TEXTS)[1]
    assert [len(batch) for batch in inner.batches] == sizes
    # Of like lengths.
    assert [*itertools.chain(*inner.batches)] == sorted(TEXTS, key=len)


def test_a_model_is_loaded_once_with_its_environment_and_arguments(loaded, monkeypatch):
    monkeypatch.delenv("LOUDNESS", raising=False)
    seen = []

    class Watching(Loudness):
        def load_model(self):
            seen.append(os.environ["LOUDNESS"])
            return lambda letter: letter.isupper()

        def validate_inference_args(self, inference_args):
            seen.append(dict(inference_args))

        def run_inference(self, batch, model, inference_args=None):
            seen.append(inference_args)
            return super().run_inference(batch, model)

    tier = HandlerTier(Watching(env_vars={"LOUDNESS": "11"}), mapping, LABELS, {"dial": 3})
    model = loaded(tier)
    answered(model, TEXTS)
    answered(model, TEXTS)
    assert seen == [{"dial": 3}, "11", {"dial": 3}, {"dial": 3}]


def test_what_a_handler_asks_for_and_does_not_get_is_told(loaded, caplog):
    class Greedy(Loudness):
        def get_resource_hints(self):
            return {"min_ram": "16GB"}

    loaded((Greedy(large_model=True), mapping), LABELS)
    assert "one copy of its model on a machine" in caplog.text
    assert "--second_tier_ram" in caplog.text


class Remote(RemoteModelHandler):
    def create_client(self):
        return None

    def request(self, batch, model, inference_args=None):
        return batch


class Async(ModelHandler):
    async def run_inference(self, batch, model, inference_args=None):
        return batch


PER_KEY = KeyedModelHandler(
    [KeyModelMapping(["a"], Loudness()), KeyModelMapping(["b"], Loudness())]
)


@pytest.mark.parametrize(
    ("tier", "complaint"),
    [
        (Loudness(), "expected a HandlerTier, or a tuple of its attributes, found <"),
        ((len, len), "expected a ModelHandler of apache_beam.ml.inference, found <built-in"),
        ((Loudness(), "label"), "expected a function that reads a prediction, found 'label'"),
        ((Loudness(), label, ("loud",)), r"at least two labels, each once, found \('loud',\)"),
        ((Loudness(), label, "loud"), "at least two labels, each once, found 'loud'"),
        ((Loudness(), label), "expected labels in HandlerTier, or --labels, found none"),
        (
            (Remote("remote").with_preprocess_fn(len), label),
            "found Remote, which asks a server; openai:",
        ),
        ((PER_KEY, label), "expected one model for all rows, found KeyedModelHandler with a"),
        ((Async(), label), "expected a run_inference that returns predictions, found Async's"),
    ],
)
def test_what_is_no_tier_is_refused(loaded, tier, complaint):
    with pytest.raises(RefusedError, match=complaint):
        loaded(tier)


def test_labels_that_are_not_the_cascades_are_refused(loaded):
    with pytest.raises(RefusedError, match="expected the labels ham, spam, found loud, quiet"):
        loaded((Loudness(), label, LABELS), ("spam", "ham"))
