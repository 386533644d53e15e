"""The cascade as a transform: who answers what, and what becomes of rows that fail."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest

from tango_beam import record_columns
from tango_beam.answers import LabelDecoder
from tango_beam.batching import cut_rows, row_weight
from tango_beam.cascade import Cascade
from tango_beam.cascade_directory import load_cascade
from tango_beam.coders import RecordBatchCoder
from tango_beam.config import Compute
from tango_beam.record_columns import OutputColumns
from tests import eager, jobs, tiny

CPU = Compute("cpu", "fp32")


@pytest.fixture(scope="module")
def config(cascade):
    return load_cascade(str(cascade))


@pytest.fixture(scope="module")
def batches():
    rng = np.random.default_rng(1)
    texts = [tiny.sentence(rng) for _ in range(200)]
    table = pa.table({"id": range(200), "text": texts, "tags": [["x", str(n)] for n in range(200)]})
    return table.to_batches(max_chunksize=64)


def branches(result):
    return {"simple": result.simple, "complex": result.complex, "failed": result.failed}


def run(batches, config, **options):
    return eager.run(batches, Cascade(config, compute=CPU, **options), branches)


def alone(tier, texts):
    model = tiny.load(tier.source, precision="fp32", max_length=tier.max_length)
    tokens = model.tokenize(pa.array(texts))
    return LabelDecoder()(tiny.one_at_a_time(model, tokens), model.labels)


def test_each_row_is_answered_by_the_tier_that_its_confidence_asks_for(config, batches):
    found = run(batches, config)
    rows = [row for batch in batches for row in batch.to_pylist()]
    first, last = (alone(tier, [row["text"] for row in rows]) for tier in config.tiers)
    assert 20 < len(found["complex"]) < 180
    assert not found["failed"]
    by_id = {row["id"]: row for row in found["simple"] + found["complex"]}
    assert sorted(by_id) == list(range(200))
    for number, row in enumerate(rows):
        answer = by_id[row["id"]]
        confidence = first.confidences[number]
        if abs(confidence - config.threshold) < 1e-5:
            continue
        escalated = confidence < config.threshold
        chosen = last if escalated else first
        assert answer["tags"] == row["tags"]
        assert answer["route"] == ("escalated" if escalated else "accepted")
        assert answer["tier"] == (2 if escalated else 1)
        assert answer["prediction"] == chosen.predictions[number].as_py()
        assert answer["confidence"] == pytest.approx(chosen.confidences[number], abs=1e-5)
        assert answer["first_tier_prediction"] == first.predictions[number].as_py()
        assert answer["first_tier_confidence"] == pytest.approx(confidence, abs=1e-5)
        assert answer["threshold"] == np.float32(config.threshold)
        assert answer["cascade"] == config.fingerprint("fp32")


@pytest.mark.parametrize(("threshold", "empty"), [(0.0, "complex"), (1.0, "simple")])
def test_zero_is_the_first_tier_alone_and_one_the_second(config, batches, threshold, empty):
    found = run(batches, config.with_first_threshold(threshold))
    assert not found[empty]
    assert sum(map(len, found.values())) == 200


def test_the_size_of_the_batches_does_not_matter(config, batches):
    whole = run([pa.Table.from_batches(batches).combine_chunks().to_batches()[0]], config)
    single = run([piece for b in batches[:1] for piece in cut_rows(b, 1)], config)
    by_id = {row["id"]: row for row in whole["simple"] + whole["complex"]}
    for row in single["simple"] + single["complex"]:
        expected = by_id[row["id"]]
        assert row["prediction"] == expected["prediction"]
        assert row["confidence"] == pytest.approx(expected["confidence"], abs=1e-5)


def test_three_tiers(tmp_path, batches):
    config = load_cascade(str(tiny.cascade(tmp_path / "three", tiers=3)))
    found = eager.run(batches, Cascade(config, compute=CPU), lambda r: {"all": r.answered})["all"]
    assert sorted(row["id"] for row in found) == list(range(200))
    assert {row["tier"] for row in found} == {1, 2, 3}
    for row in found:
        assert (row["first_tier_confidence"] < np.float32(config.threshold)) == (row["tier"] > 1)
        if row["tier"] == 2:
            assert row["confidence"] >= np.float32(config.tiers[1].threshold)


def test_pairs_are_two_columns(bert, lstm, rng):
    from tango_beam.config import CascadeConfig, TierConfig

    config = CascadeConfig(
        (TierConfig(str(lstm), threshold=0.6), TierConfig(str(bert))), tiny.LABELS
    )
    first, second = ([tiny.sentence(rng) for _ in range(40)] for _ in range(2))
    batch = pa.record_batch({"text": first, "other": second})
    found = run([batch], config, columns=OutputColumns(("text", "other")))
    assert len(found["simple"]) + len(found["complex"]) == 40
    alone = run([batch], config)
    assert confidences(found) != confidences(alone)


def confidences(found):
    rows = found["simple"] + found["complex"]
    return {row["text"]: row["first_tier_confidence"] for row in rows}


def test_a_row_on_which_a_model_fails_is_found_and_its_mates_are_answered(cascade, tmp_path):
    folder = breaking(cascade, tmp_path)
    texts = ["good", "a good [BREAK] film", "bad", None, "dull plot", "[BREAK]"] * 20
    batch = pa.record_batch({"id": range(len(texts)), "text": texts})
    found = run([batch], load_cascade(str(folder)))
    dead = {row["id"]: row for row in found["failed"]}
    expected = {n for n, text in enumerate(texts) if text is None or "[BREAK]" in text}
    assert set(dead) == expected
    assert "found null" in dead[3][record_columns.ERROR]
    assert "IndexError" in dead[1][record_columns.ERROR]
    assert dead[1][record_columns.STAGE] == "tier 1"
    answered = {row["id"] for row in found["simple"] + found["complex"]}
    assert answered == set(range(len(texts))) - expected


def breaking(cascade, tmp_path):
    """A cascade whose tokenizer knows a token that its models have no embedding for."""
    folder = shutil.copytree(cascade, tmp_path / "breaking")
    for path in folder.glob("*/tokenizer.json"):
        stored = json.loads(path.read_text())
        token = {"id": 9999, "content": "[BREAK]", "single_word": False, "lstrip": False}
        token |= {"rstrip": False, "normalized": False, "special": True}
        stored["added_tokens"].append(token)
        path.write_text(json.dumps(stored))
    return folder


def test_scores_that_are_not_finite_are_failures(cascade, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(cascade, tmp_path / "nan")
    path = folder / "tier_1" / "model.safetensors"
    weights = load_file(path)
    weights["embedding.weight"][tiny.tokenizer().token_to_id("[UNK]")] = float("nan")
    save_file(weights, path)
    batch = pa.record_batch({"text": ["good", "€", "bad"]})
    found = run([batch], load_cascade(str(folder)))
    assert [row["text"] for row in found["failed"]] == ["€"]
    assert "expected finite scores" in found["failed"][0][record_columns.ERROR]


def test_scores_are_every_labels_probability(config, batches):
    found = run(batches[:1], config, columns=OutputColumns(scores=True))
    for row in found["simple"] + found["complex"]:
        assert set(row["scores"]) == set(tiny.LABELS)
        assert sum(row["scores"].values()) == pytest.approx(1)
        assert row["scores"][row["prediction"]] == row["confidence"]


def test_tokens_are_passed_on_and_dropped_at_the_end(config, batches):
    found = run(batches[:1], config)
    assert found["complex"]
    expected = ["id", "text", "tags", *jobs.ANSWER_NAMES]
    assert list(found["complex"][0]) == expected
    assert list(found["simple"][0]) == expected


def test_a_coded_slice_costs_its_own_rows():
    batch = pa.record_batch({"text": ["x" * 100] * 100_000})
    coder = RecordBatchCoder()
    coded = coder.encode(batch.slice(5, 10))
    assert len(coded) < 3000
    assert coder.decode(coded).equals(batch.slice(5, 10))


def test_long_texts_weigh_more_and_are_cut_smaller():
    batch = pa.record_batch({"text": ["x" * 100_000] * 64})
    assert row_weight(batch) > 1000
    pieces = list(cut_rows(batch, 256))
    assert sum(piece.num_rows for piece in pieces) == 64
    assert all(row_weight(piece) <= 256 for piece in pieces)
