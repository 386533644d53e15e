"""Transformers through ONNX Runtime answer as torch does, and are part of the fingerprint."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from pipelines import classify
from tango_beam.cascade_directory import load_cascade
from tango_beam.errors import RefusedError
from tango_beam.models import onnx
from tests import jobs, tiny
from tests.models import families
from tests.models.test_packed import FAMILIES, checkpoint

pytest.importorskip("onnxruntime")


def texts(rng, count=60):
    return pa.array(["", "good", *(tiny.sentence(rng, 40) for _ in range(count))])


def outputs(model, tokens):
    found = np.zeros((len(tokens), len(model.labels)), np.float32)
    for rows in model.plan(tokens.lengths):
        found[rows] = model.forward(tokens, rows)
    return found


@pytest.mark.parametrize("family", ["bert", *FAMILIES])
def test_scores_are_those_of_torch(family, tmp_path, rng):
    folder = str(checkpoint(tmp_path / family, family))
    theirs = tiny.load(folder)
    ours = tiny.load(folder, precision="fp32", backend="onnx")
    assert isinstance(ours, onnx.OnnxTransformer)
    tokens = ours.tokenize(texts(rng))
    found = outputs(ours, tokens)
    np.testing.assert_allclose(found, outputs(theirs, tokens), atol=5e-5, rtol=1e-5)
    assert ours.parameters == theirs.parameters


def test_pairs_keep_their_segments(bert, rng):
    theirs, ours = (tiny.load(bert, precision="fp32", backend=name) for name in ("torch", "onnx"))
    first, second = (pa.array([tiny.sentence(rng) for _ in range(30)]) for _ in range(2))
    tokens = ours.tokenize(first, second)
    np.testing.assert_allclose(outputs(ours, tokens), outputs(theirs, tokens), atol=5e-5)


def test_int8_is_computed_as_such_and_answers_nearly_as_fp32(bert, rng):
    theirs = tiny.load(bert)
    ours = tiny.load(bert, precision="int8", backend="onnx")
    assert ours.precision == "int8"
    tokens = ours.tokenize(texts(rng, 200))
    found, full = outputs(ours, tokens), outputs(theirs, tokens)
    assert 0 < np.abs(found - full).mean() < 0.2 * full.std()
    assert (found.argmax(axis=1) == full.argmax(axis=1)).mean() > 0.85


OTHERS = ["Electra", "ConvBert", "XLNet", "Bart", "DebertaV2", "GPT2", "Qwen2", "Llama"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "pad"),
    [*((family, 0) for family in OTHERS), *((family, None) for family in OTHERS[-3:])],
)
def test_families_that_are_not_packed_answer_as_torch_does(family, pad, tmp_path, rng):
    families.checkpoint(tmp_path, family, pad=pad)
    theirs, ours = tiny.load(tmp_path), tiny.load(tmp_path, precision="fp32", backend="onnx")
    given = pa.array(["good [PAD] film </s> </s>", *(tiny.sentence(rng, 40) for _ in range(30))])
    tokens = ours.tokenize(given)
    np.testing.assert_allclose(outputs(ours, tokens), outputs(theirs, tokens), atol=5e-5)
    pairs = ours.tokenize(given, given[::-1])
    np.testing.assert_allclose(outputs(ours, pairs), outputs(theirs, pairs), atol=5e-5)


def test_an_export_that_fits_one_shape_only_is_refused(tmp_path):
    families.checkpoint(tmp_path, "BigBird")
    with pytest.raises(ValueError, match="expected an export to ONNX that answers as torch does"):
        tiny.load(tmp_path, precision="fp32", backend="onnx")


@pytest.mark.parametrize("family", ["lstm", "static"])
def test_other_families_are_refused_by_name(family, request):
    folder = request.getfixturevalue(family)
    with pytest.raises(ValueError, match="expected a transformer on a processor for backend onnx"):
        tiny.load(folder, precision="fp32", backend="onnx")


def test_without_the_extra_it_says_what_to_install(bert, monkeypatch):
    monkeypatch.setattr(onnx, "is_installed", lambda: False)
    with pytest.raises(ValueError, match=r"pip install 'tango-beam\[onnx\]'"):
        tiny.load(bert, precision="fp32", backend="onnx", batch_tokens=77)


def test_a_backend_has_a_fingerprint_of_its_own_and_a_wrong_one_is_refused(cascade):
    config = load_cascade(str(cascade))
    first, last = config.tiers
    other = replace(config, tiers=(first, replace(last, backend="onnx")))
    same = replace(config, tiers=(first, replace(last, backend="torch")))
    assert same.scoring_fingerprint("fp32") == config.scoring_fingerprint("fp32")
    assert other.scoring_fingerprint("fp32") != config.scoring_fingerprint("fp32")
    with pytest.raises(RefusedError, match="expected a backend of torch, onnx, found 'tf'"):
        replace(last, backend="tf")


def test_a_job_gives_the_rows_that_torch_gives(cascade, tmp_path, rng):
    path = jobs.write_jsonl(tmp_path / "in.jsonl", jobs.corpus(rng, 400))
    runs = []
    for backend in ("torch", "onnx"):
        mine = shutil.copytree(cascade, tmp_path / backend)
        config = json.loads((mine / "cascade.json").read_text())
        config["tiers"][1] |= {"precision": "fp32", "backend": backend}
        (mine / "cascade.json").write_text(json.dumps(config))
        output = tmp_path / f"out-{backend}"
        given = ["--input", str(path), "--output", str(output), "--cascade", str(mine)]
        assert classify.main(given) == 0
        rows, letters, manifest = jobs.read_output(output)
        jobs.accounted(rows, letters, manifest)
        assert manifest["rows"]["escalated"] > 20
        runs.append({row["id"]: (row["prediction"], row["route"]) for row in rows})
    assert runs[0] == runs[1]
