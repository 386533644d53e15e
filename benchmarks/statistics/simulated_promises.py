"""Share of simulated promises that are broken.

    python -m benchmarks.statistics.simulated_promises

What is simulated is in `tests.guarantees.simulation` and, for filters, labels, buckets and mean F1,
in `tests.guarantees.simulated_kinds`, for exits in `tests.guarantees.simulated_exits`;
`--bound plain` takes what a sample looks like for the truth.
"""

import argparse
import sys

from tests.guarantees import simulated_exits, simulated_kinds, simulation


def _exits(ours: argparse.Namespace) -> bool:
    """Prints what is broken of promises for exits; whether it is too much."""
    failed = False
    for case in simulated_exits.cases():
        if ours.only and ours.only not in case.name:
            continue
        for delta in (0.1, 0.05):
            seen = simulated_exits.simulate(case, delta, ours.times, plain=ours.bound == "plain")
            fine = seen["broken"] <= delta + seen["noise"]
            failed |= not fine
            print(
                f"{case.name}, {case.rows} rows, delta {delta}: {seen['broken']:.4f} broken "
                f"({'fine' if fine else 'TOO MANY'}); reach the whole second tier "
                f"{seen['reached']:.4f}",
                flush=True,
            )
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description="Share of simulated promises that are broken.")
    parser.add_argument("--times", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--bound", choices=("exact", "plain"), default="exact")
    parser.add_argument("--only", help="shapes whose name holds this")
    ours = parser.parse_args()
    failed = _exits(ours)
    for shape in simulation.shapes():
        if ours.only and ours.only not in shape.name:
            continue
        for delta in (0.1, 0.05):
            seen = simulation.simulate(shape, delta, ours.rows, ours.times, ours.bound)
            fine = seen["broken"] <= delta + seen["noise"]
            failed |= not fine
            print(
                f"{shape.name}, goal {shape.goal}, delta {delta}: {seen['broken']:.4f} broken "
                f"({'fine' if fine else 'TOO MANY'}); escalated {seen['escalated']:.4f}, the least "
                f"that would do {seen['least']:.4f}, exact walk {seen['walk']:.4f}",
                flush=True,
            )
    for case in simulated_kinds.cases():
        if ours.only and ours.only not in case.name:
            continue
        for delta in (0.1, 0.05):
            seen = simulated_kinds.simulate(case, delta, ours.times, plain=ours.bound == "plain")
            fine = seen["broken"] <= delta + seen["noise"]
            failed |= not fine
            print(
                f"{case.name}, {case.rows} rows, delta {delta}: {seen['broken']:.4f} broken "
                f"({'fine' if fine else 'TOO MANY'}); escalated {seen['escalated']:.4f}, the least "
                f"that would do {seen['least']:.4f}",
                flush=True,
            )
    sys.exit(failed)


if __name__ == "__main__":
    main()
