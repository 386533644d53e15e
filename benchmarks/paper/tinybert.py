"""TinyBERT students beside their teacher: how right all are, and how many rows a second they answer.

    python -m benchmarks.paper.tinybert --task sst2 --data DATA --work WORK --encoder MPNET \\
        --small MINILM

SST-2 has four students: one that learns from the teacher's encoder as it was before its task, as
TinyBERT does; one without that stage (the ablation); one that starts from four layers of a small
pretrained encoder; and one that goes on from there. QNLI's are its first tier, which starts so,
too, and one that goes on from there with more pairs. What lies in WORK/TASK is taken as it is; a
training that was cut short goes on; a report that is there stays (`--again`).
"""

from pathlib import Path

from benchmarks import steps
from benchmarks.paper.run import arguments, evaluate
from benchmarks.paper.tasks import GENERAL, TASKS, Places, Task, started, tinybert

TEACHER = "teacher"
# SST-2's first tier is a BiLSTM, so it has a student of its own here.
SENTENCES = (
    "--unlabeled {data}/imdb/train.parquet --unlabeled_rows 200000 --augmented 0 "
    "--layer_tokens 4096 --layer_epochs 2 --epochs 3 --batch_size 192 --learning_rate 3e-4"
)
FEWER_SENTENCES = (
    "--unlabeled {data}/imdb/train.parquet --unlabeled_rows 100000 --augmented 0 --batch_size 64"
)
MORE_PAIRS = "--unlabeled {work}/more.parquet --augmented 0 --epochs 3 --batch_size 64"
FIRST, LONGER = "first_tier", "tinybert_longer"
_COMMAND, _WHOLE = tinybert(SENTENCES)
STUDENTS: dict[str, steps.Steps] = {
    "sst2": {
        "tinybert": (_COMMAND, _WHOLE),
        "tinybert_without_general": (_COMMAND, _WHOLE.replace(f"{GENERAL} ", "")),
        "tinybert_started": started(f"{FEWER_SENTENCES} --epochs 3"),
        LONGER: started(f"{FEWER_SENTENCES} --epochs 2", "{work}/tinybert_started"),
    },
    "qnli": {
        FIRST: TASKS["qnli"].steps[FIRST],
        LONGER: started(MORE_PAIRS, f"{{work}}/{FIRST}"),
    },
}


def made(task: Task) -> steps.Steps:
    """A teacher and its students, by their folders."""
    return {TEACHER: task.steps[TEACHER], **STUDENTS[task.name]}


def main() -> None:
    parser = arguments("TinyBERT students beside their teacher.", STUDENTS)
    parser.add_argument("--again", action="store_true", help="evaluate what has a report, too")
    parser.add_argument("--students", nargs="+", help="to evaluate, of those of the task")
    ours = parser.parse_args()
    task = TASKS[ours.task]
    places = Places(ours.data, str(Path(ours.work, task.name)), ours.encoder, ours.small)
    Path(places.work).mkdir(parents=True, exist_ok=True)
    task.prepare(places)
    steps.run(made(task), places.work, lambda pattern: task.file(pattern, places))
    for name in ours.students or STUDENTS[task.name]:
        report = f"report_{name}"
        if ours.again or not Path(places.work, report).exists():
            evaluate(task, places, (name, TEACHER), report)


if __name__ == "__main__":
    main()
