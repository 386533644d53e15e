"""A few hundred damaged files; `benchmarks.accounting.damaged_files` takes ten thousand."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tango_beam.errors import RefusedError
from tests import fuzzing


@pytest.mark.parametrize("kind", fuzzing.KINDS)
def test_damaged_files_are_accounted_for(kind, cascade, tmp_path):
    assert kind(tmp_path, str(cascade), 40, np.random.default_rng(7)) == []


def test_a_column_whose_name_is_no_utf8_is_refused_by_its_file(job, tmp_path):
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"text": ["good"], "name_to_break": [1]}), path)
    path.write_bytes(path.read_bytes().replace(b"name_to_break", b"\xe9ame_to_break"))
    with pytest.raises(RefusedError, match=r"in\.parquet: expected a readable Parquet file"):
        job(path)
