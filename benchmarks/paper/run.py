"""One of the paper's tasks: makes its tiers, evaluates them as the paper does.

    python -m benchmarks.paper.run --task sst2 --data DATA --work WORK --encoder MPNET --small MINILM

A tier that lies in WORK/TASK is taken as it is, whoever made it; a training that was cut short goes
on. Then `python -m benchmarks.paper.page` draws up the tables of all tasks in WORK. Timings want
the machine for themselves.
"""

import argparse
from collections.abc import Collection
from pathlib import Path

from benchmarks import steps
from benchmarks.paper.tasks import TASKS, Places, Task

REPORT = "report"
# Five timings of 500 rows, as the paper has them.
TIMING = "--repeats 5 --cost_rows 500 --single_rows 500 --overwrite"


def make_tiers(task: Task, places: Places) -> None:
    """Runs the commands whose folders have no card yet."""
    Path(places.work).mkdir(parents=True, exist_ok=True)
    task.prepare(places)
    steps.run(task.steps, places.work, lambda pattern: task.file(pattern, places))


def evaluate(
    task: Task,
    places: Places,
    tiers: tuple[str, str] = ("first_tier", "second_tier"),
    report: str = REPORT,
) -> None:
    """Writes the report of two of a task's tiers, by their folders."""
    first, second = (f"{{work}}/{tier}" for tier in tiers)
    pair = f"--first_tier {first} --second_tier {second} --input {{test}}"
    given = f"{pair} --metric {task.metric} {task.evaluating} {TIMING} --output {{work}}/{report}"
    steps.call("pipelines.evaluate", [*task.file(given, places).split(), *reading(task)])


def reading(task: Task) -> list[str]:
    """Options that say which columns a task has, without those that set rows aside."""
    words = task.columns.split()
    pairs = zip(words[::2], words[1::2], strict=True)
    known = ("--text_column", "--text_pair_column", "--label_column")
    return [word for pair in pairs if pair[0] in known for word in pair]


def arguments(description: str, tasks: Collection[str]) -> argparse.ArgumentParser:
    """A command line with one of some tasks, and the places that all of them have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--task", required=True, choices=sorted(tasks))
    parser.add_argument("--data", required=True, help="labelled rows, a folder a task")
    parser.add_argument("--work", required=True, help="for tiers and reports, a folder a task")
    parser.add_argument("--encoder", required=True, help="base size: second tiers are made of it")
    parser.add_argument("--small", required=True, help="small: some first tiers are made of it")
    return parser


def main() -> None:
    parser = arguments("One of the paper's tasks, trained and evaluated.", TASKS)
    ours = parser.parse_args()
    task = TASKS[ours.task]
    places = Places(ours.data, str(Path(ours.work, task.name)), ours.encoder, ours.small)
    make_tiers(task, places)
    evaluate(task, places)


if __name__ == "__main__":
    main()
