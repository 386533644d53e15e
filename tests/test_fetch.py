"""Cascades that lie on URLs: copied once, checked, and as good as those in folders."""

import multiprocessing
import shutil

import fsspec
import pytest

from pipelines import calibrate
from tango_beam import checkpoint_files
from tango_beam.cascade_directory import load_cascade
from tango_beam.command_line import DONE
from tango_beam.config import Compute
from tango_beam.errors import RefusedError
from tango_beam.job import prepare
from tango_beam.job.options import ClassifyOptions
from tango_beam.resolve import load_tier
from tests import jobs


@pytest.fixture
def url(cascade, tmp_path, monkeypatch):
    """The tiny cascade as a store holds it; copies go to a folder of this test's own."""
    monkeypatch.setenv("TANGO_BEAM_CACHE", str(tmp_path / "copies"))
    checkpoint_files.fetch.cache_clear()
    store = fsspec.filesystem("memory")
    store.put(str(cascade), f"/{tmp_path.name}/tiny", recursive=True)
    yield f"memory://{tmp_path.name}/tiny"
    store.rm(f"/{tmp_path.name}", recursive=True)
    checkpoint_files.fetch.cache_clear()


def copies(tmp_path):
    return sorted(path.name for path in (tmp_path / "copies").iterdir() if path.is_dir())


def test_a_cascade_on_a_url_is_the_one_in_the_folder(url, cascade, tmp_path, job):
    near, far = load_cascade(str(cascade)), load_cascade(url)
    assert far.fingerprint("fp32") == near.fingerprint("fp32")
    path = jobs.write_jsonl(tmp_path / "in.jsonl", [{"id": 1, "text": "good"}])
    code, rows, _, manifest = job(path, options=["--cascade", url])
    assert code == DONE
    assert rows[0]["cascade"] == near.fingerprint("fp32")
    assert [tier["source"] for tier in manifest["cascade"]["tiers"]] == [
        f"{url}/tier_1",
        f"{url}/last_tier",
    ]
    assert len(copies(tmp_path)) == 2


def _asks(url, names):
    names.put(str(checkpoint_files.fetch(url)))


def test_processes_that_want_one_folder_share_a_copy(url, tmp_path):
    source, names = (
        str(checkpoint_files.fetch(f"{url}/tier_1")),
        multiprocessing.get_context("fork").Queue(),
    )
    shutil.rmtree(source)
    checkpoint_files.fetch.cache_clear()
    asking = [
        multiprocessing.get_context("fork").Process(target=_asks, args=(f"{url}/tier_1", names))
        for _ in range(6)
    ]
    for process in asking:
        process.start()
    assert {names.get(timeout=60) for _ in asking} == {source}
    for process in asking:
        process.join(60)
    assert len(copies(tmp_path)) == 1


def test_a_checkpoint_that_changed_after_the_launch_is_refused(url, tmp_path):
    path = jobs.write_jsonl(tmp_path / "in.jsonl", [{"id": 1, "text": "good"}])
    options = ClassifyOptions(
        input=(str(path),), output=str(tmp_path / "o"), cascade=url, precision="fp32"
    )
    tier = prepare.prepare(options).cascade.tiers[0]
    assert load_tier(tier, Compute("cpu", "fp32")).parameters
    store = fsspec.filesystem("memory")
    changed = f"/{tmp_path.name}/tiny/tier_1/config.json"
    store.pipe(changed, store.cat(changed) + b" ")
    checkpoint_files.fetch.cache_clear()
    with pytest.raises(ValueError, match="expected the checkpoint that the job was launched with"):
        load_tier(tier, Compute("cpu", "fp32"))


def test_a_cascade_on_a_url_can_be_calibrated(url, rng, tmp_path):
    path = jobs.write_jsonl(tmp_path / "in.jsonl", jobs.corpus(rng, 500))
    options = ["--agreement", "0.5", "--sample_rows", "400", "--precision", "fp32"]
    code = calibrate.main(jobs.arguments(url, path, tmp_path / "mine", *options))
    assert code == DONE
    assert all((tmp_path / "mine") in path.parents for path in (tmp_path / "mine").glob("*/*"))
    assert load_cascade(str(tmp_path / "mine")).tiers[0].source.startswith(str(tmp_path / "mine"))


@pytest.mark.parametrize("path", ["../elsewhere", "/etc", "tier_1/../../x", ""])
def test_paths_that_leave_a_url_are_refused(url, tmp_path, path):
    store = fsspec.filesystem("memory")
    where = f"/{tmp_path.name}/tiny/cascade.json"
    store.pipe(where, store.cat(where).replace(b'"tier_1"', f'"{path}"'.encode()))
    with pytest.raises(RefusedError, match="expected paths inside the directory"):
        load_cascade(url)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("memory://nowhere/none", "expected a file that can be read"),
        ("nothing://x/y", "expected a file that can be read"),
    ],
)
def test_what_is_not_there_is_refused_by_name(name, expected):
    with pytest.raises(RefusedError, match=expected) as refused:
        load_cascade(name)
    assert name in str(refused.value)


def test_an_empty_folder_is_refused(url):
    with pytest.raises(RefusedError, match="expected a folder with a checkpoint"):
        checkpoint_files.fetch(f"{url}/none")


def test_a_place_for_copies_that_is_none_is_named(url, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TANGO_BEAM_CACHE", str(tmp_path / "file" / "in"))
    with pytest.raises(RefusedError, match="TANGO_BEAM_CACHE"):
        checkpoint_files.fetch(f"{url}/tier_1")
