"""The JSON Schemas and the Arrow schemas in the code say the same."""

import json
from importlib import resources

import jsonschema
import pyarrow as pa
import pytest

from tango_beam import record_columns
from tango_beam.cascade_directory import load_cascade, save_cascade
from tango_beam.config import CascadeConfig, TierConfig
from tests import kinds as tasks
from tests.jobs import ANSWER_NAMES, SCHEMAS, schema

NAMES = ["cascade", "dead_letter", "input", "manifest", "output", "report"]
KINDS = {
    pa.string(): "string",
    pa.float32(): "number",
    pa.int8(): "integer",
    pa.int32(): "integer",
    pa.int64(): "integer",
    pa.bool_(): "boolean",
    pa.list_(pa.string()): "array",
}


def test_the_package_carries_them_all():
    shipped = {path.name for path in (resources.files("tango_beam") / "schemas").iterdir()}
    assert {f"{name}.schema.json" for name in NAMES} <= shipped
    assert sorted(path.name for path in SCHEMAS.glob("*.json")) == [
        f"{n}.schema.json" for n in NAMES
    ]


@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_valid_json_schema(name):
    jsonschema.Draft202012Validator.check_schema(schema(name))


def kinds(entry):
    found = entry.get("type")
    if found is None:
        return {"string"} if all(isinstance(v, str | None) for v in entry["enum"]) else set()
    return {found} - {"null"} if isinstance(found, str) else set(found) - {"null"}


def test_the_output_schema_has_the_columns_and_types_of_every_kind_of_answer():
    stored = schema("output")
    assert tuple(stored["required"]) == ANSWER_NAMES
    types = {field.name: {KINDS[field.type]} for field in record_columns.SOURCE_FIELDS}
    for kind, task in tasks.TASKS.items():
        for field in task.decoder(tasks.LABELS[kind]).shape(tasks.LABELS[kind]).fields():
            types.setdefault(field.name, set()).add(KINDS[field.type])
    assert {*stored["properties"]} == {*types, "scores"}
    for name, found in types.items():
        assert kinds(stored["properties"][name]) == found, name


@pytest.mark.parametrize("kind", tasks.TASKS)
def test_a_cascade_of_every_kind_fits_its_schema_and_is_read_back(kind, tmp_path):
    labels, task = tasks.LABELS[kind], tasks.TASKS[kind]
    more = {"fits": ((2.0, 0.5),) * 3} if kind == "multi_label" else {}
    tiers = TierConfig(str(tmp_path / "a"), 0.5, stride=8, **more), TierConfig(str(tmp_path / "b"))
    save_cascade(CascadeConfig(tiers, labels, "made", task=task), tmp_path)
    stored = json.loads((tmp_path / "cascade.json").read_text())
    jsonschema.validate(stored, schema("cascade"))
    read = load_cascade(str(tmp_path))
    assert (read.task, read.labels, read.tiers[0].fits) == (task, labels, tiers[0].fits)
    assert (read.tiers[0].stride, read.tiers[1].stride) == (8, None)


def test_the_dead_letter_schema_has_the_codes_columns_and_types():
    stored = schema("dead_letter")
    assert stored["required"] == record_columns.DEAD_LETTER_SCHEMA.names
    for field in record_columns.DEAD_LETTER_SCHEMA:
        assert kinds(stored["properties"][field.name]) == {KINDS[field.type]}, field.name


def test_the_input_schema_refuses_the_names_that_the_code_refuses():
    stored = schema("input")
    refused = [entry["required"][0] for entry in stored["not"]["anyOf"]]
    assert tuple(refused) == ANSWER_NAMES
    jsonschema.validate(json.loads('{"text": "a", "more": 1}'), stored)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"text": "a", "tier": 1}, stored)
