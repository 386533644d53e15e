"""TinyBERT students of a task's teacher, with general distillation and without it (the ablation).

    python -m benchmarks.paper.tinybert --task sst2 --data DATA --work WORK --encoder MPNET

Both learn from the same texts; the one also from the teacher's encoder as it was before its task. A
report of each beside its teacher says how right both are, and how many rows a second they answer. What
lies in WORK/TASK is taken as it is; a training that was cut short goes on.
"""

import argparse
from pathlib import Path

from benchmarks import steps
from benchmarks.paper.run import evaluate
from benchmarks.paper.tasks import TASKS, Places

TEACHER = "teacher"
STUDENTS = {"tinybert": "--encoder {encoder}", "tinybert_without_general": ""}
# Texts besides the task's own.
UNLABELED = {"sst2": "--unlabeled {data}/imdb/train.parquet --unlabeled_rows 50000", "qnli": ""}
_STUDENT = (
    "--student tinybert --teacher {work}/teacher --train {train} {columns} "
    "--teacher_logits {work}/tinybert_logits --augmented 0"
)


def main() -> None:
    parser = argparse.ArgumentParser(description="TinyBERT students, with and without one stage.")
    parser.add_argument("--task", required=True, choices=sorted(UNLABELED))
    parser.add_argument("--data", required=True, help="labelled rows, a folder a task")
    parser.add_argument("--work", required=True, help="for tiers and reports, a folder a task")
    parser.add_argument("--encoder", required=True, help="base size: the teacher is made of it")
    parser.add_argument("--students", nargs="+", default=[*STUDENTS], choices=[*STUDENTS])
    ours = parser.parse_args()
    task = TASKS[ours.task]
    places = Places(ours.data, str(Path(ours.work, task.name)), ours.encoder, "")
    Path(places.work).mkdir(parents=True, exist_ok=True)
    task.prepare(places)
    made = {TEACHER: task.steps[TEACHER]}
    for student in ours.students:
        more = f"{_STUDENT} {UNLABELED[task.name]} {STUDENTS[student]}"
        made[student] = ("distill", more.rstrip())
    steps.run(made, places.work, lambda pattern: task.file(pattern, places))
    for student in ours.students:
        evaluate(task, places, (student, TEACHER), f"report_{student}")


if __name__ == "__main__":
    main()
