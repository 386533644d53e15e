"""A local output directory is checked before any work: nothing of somebody else is replaced."""

import pytest

from tango_beam.errors import RefusedError
from tango_beam.local_output import check_local_output


def foreign(names):
    return [name for name in names if not name.startswith("ours")]


def test_an_empty_directory_or_none_yet_may_be_written(tmp_path):
    assert check_local_output(str(tmp_path)) == tmp_path
    assert check_local_output(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("output", ["s3://bucket/out", "memory://out"])
def test_a_url_is_refused(output):
    with pytest.raises(RefusedError, match=f"{output}: expected a local directory, found a URL"):
        check_local_output(output)


@pytest.mark.parametrize("below", ["", "/in/it"])
def test_a_file_is_refused_by_name(tmp_path, below):
    (tmp_path / "file").touch()
    with pytest.raises(RefusedError, match=f"found the file {tmp_path}/file"):
        check_local_output(f"{tmp_path}/file{below}")


def test_only_an_earlier_one_is_replaced_and_only_where_that_was_asked_for(tmp_path):
    (tmp_path / "ours.json").touch()
    with pytest.raises(RefusedError, match=r"ours\.json; --overwrite replaces an earlier page"):
        check_local_output(str(tmp_path), kind="page", overwrite=False)
    with pytest.raises(RefusedError, match=r"found ours\.json$"):
        check_local_output(str(tmp_path))
    assert check_local_output(str(tmp_path), overwrite=True, foreign=foreign) == tmp_path
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(RefusedError, match=r"earlier page and nothing else, found thesis\.txt"):
        check_local_output(str(tmp_path), kind="page", overwrite=True, foreign=foreign)


def test_a_file_that_is_kept_may_be_there(tmp_path):
    (tmp_path / "kept").touch()
    assert check_local_output(str(tmp_path), kept=["kept"]) == tmp_path
    (tmp_path / "other").touch()
    with pytest.raises(RefusedError, match="found kept, other"):
        check_local_output(str(tmp_path), kept=["kept"])
