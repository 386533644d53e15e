"""What a build that goes on may spell in another way than when it was begun."""

import json
from pathlib import Path

import pytest

from tango_beam.building import begun
from tango_beam.building.options import BuildOptions
from tango_beam.errors import RefusedError


def options(tmp_path, **changed):
    given = {"input": ("data/news.parquet",), "second_tier": "teacher", "agreement": 0.9}
    return BuildOptions(**{**given, **changed}, output=str(tmp_path / "mine"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("data", "teacher", "below/data"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    begun.open_output(options(tmp_path), tmp_path / "mine")
    return tmp_path / "mine"


def test_a_build_goes_on_from_another_working_directory(folder, tmp_path, monkeypatch):
    stated = json.loads((folder / begun.WORK / "options.json").read_text())
    assert stated["input"] == [str(tmp_path / "data" / "news.parquet")]
    monkeypatch.chdir(tmp_path / "below")
    given = {"input": ("../data/news.parquet",), "second_tier": "../teacher", "agreement": 0.95}
    begun.open_output(options(tmp_path, **given), folder)
    stated = json.loads((folder / begun.WORK / "options.json").read_text())
    assert stated["agreement"] == 0.95
    assert stated["input"] == [str(tmp_path / "data" / "news.parquet")]
    assert Path(stated["second_tier"]) == tmp_path / "teacher"
    with pytest.raises(RefusedError, match=r"--input: expected .* begins anew"):
        begun.open_output(options(tmp_path), folder)


def test_urls_and_ids_of_a_hub_stay_what_they_are(folder, tmp_path):
    given = {"input": ("s3://bucket/../news",), "second_tier": "mine/good", "overwrite": True}
    begun.open_output(options(tmp_path, **given), folder)
    stated = json.loads((folder / begun.WORK / "options.json").read_text())
    assert (stated["input"], stated["second_tier"]) == (["s3://bucket/../news"], "mine/good")
