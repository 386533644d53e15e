"""What else a build asks an endpoint: how fast it is, and whether it answers alike twice."""

from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tango_beam.building import build, report, teacher
from tango_beam.building.begun import WORK
from tango_beam.building.options import BuildOptions
from tests import endpoint_server, tiny

REQUESTS = 4
TIMED = 4 * REQUESTS
TEXTS = [f"a film {number}" for number in range(2 * TIMED)]


@pytest.fixture
def server():
    with endpoint_server.Server(labels=tiny.LABELS) as running:
        yield running


@pytest.fixture
def begun(server, tmp_path):
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "in.parquet")
    (tmp_path / "prompt.txt").write_text(endpoint_server.PROMPT)
    options = BuildOptions(
        input=(str(tmp_path / "in.parquet"),),
        second_tier=f"openai:{server.url}",
        model="judge",
        prompt=str(tmp_path / "prompt.txt"),
        labels=tiny.LABELS,
        requests=REQUESTS,
        agreement=0.9,
        output=str(tmp_path / "mine"),
    )
    return build.begin(options)


def test_the_endpoint_is_timed_and_not_the_cache_of_its_answers(begun, server):
    for run in (1, 2, 3):
        # Twice there are rows that nobody asked about; then they are asked about once more.
        path = begun.work / f"{run}.json"
        teacher.load(begun.options, begun.compute, [pa.array(TEXTS)], path)
        assert server.stats()["calls"] == run * TIMED
    assert max(server.stats()["by_text"].values()) == 2


def test_rows_are_asked_about_twice_on_purpose_and_never_three_times(begun, server):
    path = begun.work / "settings.json"
    taught = teacher.load(begun.options, begun.compute, [pa.array(TEXTS)], path)
    made = SimpleNamespace(teacher=taught, rows=SimpleNamespace(sign=[pa.array(TEXTS)]))
    for _ in range(2):
        steady = report._steadiness(begun, made)
        assert steady.same == steady.rows == len(TEXTS)
        # As if it had been killed before it was written.
        (begun.folder / WORK / "steadiness.json").unlink()
    assert {*server.stats()["by_text"].values()} == {2}
