"""Share of simulated promises that are broken.

    python -m benchmarks.statistics.simulated_promises

What is simulated is in `tests.guarantees.simulation` and, for filters, labels, buckets and mean F1,
in `tests.guarantees.simulated_kinds`, for exits in `tests.guarantees.simulated_exits`;
`--bound plain` takes what a sample looks like for the truth.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial

from tests.guarantees import simulated_exits, simulated_kinds, simulation

# What else is said of a case, by name.
SHOWN = {
    "reached": "reach the whole second tier",
    "cost": "of the second tier's cost",
    "escalated": "escalated",
    "least": "the least that would do",
    "walk": "exact walk",
}


def cases(ours: argparse.Namespace) -> Iterator[tuple[str, Callable[[float], dict[str, float]]]]:
    """All that is simulated, by name; each gives what was seen at a delta."""
    plain = ours.bound == "plain"
    for module in (simulated_exits, simulated_kinds):
        for case in module.cases():
            seen = partial(module.simulate, case, times=ours.times, plain=plain)
            yield f"{case.name}, {case.rows} rows", seen
    for shape in simulation.shapes():
        given = {"rows": ours.rows, "times": ours.times, "bound": ours.bound}
        yield f"{shape.name}, goal {shape.goal}", partial(simulation.simulate, shape, **given)


def main() -> None:
    parser = argparse.ArgumentParser(description="Share of simulated promises that are broken.")
    parser.add_argument("--times", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--bound", choices=("exact", "plain"), default="exact")
    parser.add_argument("--delta", type=float, nargs="+", default=[0.1, 0.05])
    parser.add_argument("--only", default="", help="shapes whose name holds this")
    ours = parser.parse_args()
    failed = False
    for name, simulate in cases(ours):
        if ours.only not in name:
            continue
        for delta in ours.delta:
            seen = simulate(delta=delta)
            fine = seen["broken"] <= delta + seen["noise"]
            failed |= not fine
            more = ", ".join(f"{SHOWN[key]} {seen[key]:.4f}" for key in SHOWN if key in seen)
            print(
                f"{name}, delta {delta}: {seen['broken']:.4f} broken "
                f"({'fine' if fine else 'TOO MANY'}); {more}",
                flush=True,
            )
    sys.exit(failed)


if __name__ == "__main__":
    main()
