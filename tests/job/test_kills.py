"""Runs killed and resumed; `python -m benchmarks.accounting.killed_runs` does fifty."""

import pytest

from tests import killing, kinds


def test_a_run_killed_once_ends_exact(cascade, tmp_path):
    run = killing.killed_once(tmp_path, str(cascade), rows=400)
    assert run.exact
    assert run.kills == 1
    assert run.redone[0] <= 1
    assert not run.lost_commits


@pytest.mark.slow
def test_killed_runs_end_exact(cascade, tmp_path):
    runs = list(killing.killed_at_random(tmp_path, str(cascade), runs=2, rows=1500, seed=3))
    assert sum(run.kills for run in runs) >= 4
    for run in runs:
        assert run.exact
        assert max(run.redone, default=0) <= 1
        assert not run.lost_commits


@pytest.mark.slow
@pytest.mark.parametrize("kind", kinds.some_nightly("multi_label", "score"))
def test_a_run_of_every_kind_of_answer_killed_twice_ends_exact(kind, tmp_path):
    run = killing.killed_twice(tmp_path, kind, rows=1000)
    assert run.exact
    assert run.kills == 2
    assert max(run.redone) <= 1
    assert not run.lost_commits
