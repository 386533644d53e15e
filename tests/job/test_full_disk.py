"""A disk that fills up: a real, small file system, mounted where the tests may mount."""

import shutil
import subprocess

import pytest

from pipelines import classify
from tango_beam.command_line import DONE, FAILED
from tests import forked
from tests.jobs import arguments, corpus, write_jsonl


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if not made or made.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run([shutil.which("umount"), str(folder)], check=True)


def test_a_full_disk_ends_in_a_message_and_the_run_goes_on_when_there_is_room(
    cascade, rng, tmp_path, small_disk
):
    path = write_jsonl(tmp_path / "in.jsonl", corpus(rng, 2000) * 4)
    output = small_disk / "out"
    options = ("--output_format", "jsonl", "--checkpoint_bytes", "60000")
    given = arguments(cascade, path, output, *options)
    run = forked.classify(given)
    assert run.ended() == FAILED
    assert "No space left on device" in run.err
    assert "Traceback" not in run.err
    assert not (output / "_manifest.json").exists()
    before = {file.name for file in output.glob("part-*")}
    subprocess.run([shutil.which("mount"), "-o", "remount,size=64m", str(small_disk)], check=True)
    assert classify.main([*given, "--resume"]) == DONE
    rows = sum(len(file.read_text().splitlines()) for file in output.glob("part-*"))
    assert rows == 8_000
    assert before & {file.name for file in output.glob("part-*")}
