"""Simulated tiers: how sure each is of rows that are easy or hard for all of them alike."""

import numpy as np

from tango_beam.guarantees.chains import Candidate

# Names, skills, and costs of a row.
STUDENTS = (
    ("static", 1.2, 1.0),
    ("bilstm", 2.0, 20.0),
    ("tiny", 2.5, 80.0),
    ("middle", 4.0, 300.0),
)
TEACHER_COST = 1000.0


def simulated(
    rows: int, seed: int = 0, students: tuple[tuple[str, float, float], ...] = STUDENTS
) -> tuple[list[Candidate], Candidate]:
    """Students, and their teacher, on the same rows.

    A row's score is positive where the student is right, and its confidence is that of the score's
    size. Half of what disturbs a score disturbs all students alike.
    """
    rng = np.random.default_rng(seed)
    ease, shared = rng.gamma(1.5, 1.0, rows), rng.normal(size=rows)
    found = []
    for name, skill, cost in students:
        score = skill * ease + (shared + rng.normal(size=rows)) / np.sqrt(2)
        sure = 1 / (1 + np.exp(-2 * np.abs(score)))
        found.append(Candidate(name, sure.astype(np.float32), score > 0, cost))
    return found, teacher(rows)


def teacher(rows: int, cost: float | np.ndarray = TEACHER_COST) -> Candidate:
    return Candidate("teacher", np.ones(rows, np.float32), np.ones(rows, bool), cost)


def taken(tier: Candidate, rows: np.ndarray) -> Candidate:
    """The same tier on some of the rows."""
    return Candidate(tier.name, tier.confidences[rows], tier.right[rows], tier.costs[rows])
