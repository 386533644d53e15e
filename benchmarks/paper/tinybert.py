"""A TinyBERT student beside its teacher, and one without general distillation (the ablation).

    python -m benchmarks.paper.tinybert --task sst2 --data DATA --work WORK --encoder MPNET --ablation

Both students learn from the same texts; one also from the teacher's encoder as it was before its
task. A report of each beside its teacher says how right both are, and how many rows a second they
answer. What lies in WORK/TASK is taken as it is; a training that was cut short goes on.
"""

from pathlib import Path

from benchmarks import steps
from benchmarks.paper.run import arguments, evaluate
from benchmarks.paper.tasks import GENERAL, TASKS, Places, Task, tinybert

TEACHER = "teacher"
# SST-2's first tier is a BiLSTM, so it has a student of its own here.
SENTENCES = (
    "--unlabeled {data}/imdb/train.parquet --unlabeled_rows 200000 --augmented 0 "
    "--layer_tokens 4096 --layer_epochs 2 --epochs 3 --batch_size 192 --learning_rate 3e-4"
)
STUDENTS = {"sst2": ("tinybert", tinybert(SENTENCES)), "qnli": ("first_tier", None)}
ABLATED = "tinybert_without_general"


def made(task: Task, *, ablation: bool) -> steps.Steps:
    """A teacher and its student, or students, by their folders."""
    name, own = STUDENTS[task.name]
    command, options = own or task.steps[name]
    students = {name: (command, options)}
    if ablation:
        students[ABLATED] = command, options.replace(f"{GENERAL} ", "").removesuffix(GENERAL)
    return {TEACHER: task.steps[TEACHER], **students}


def main() -> None:
    parser = arguments("TinyBERT students, with and without one stage.", STUDENTS)
    parser.add_argument("--ablation", action="store_true", help="a student without one stage, too")
    ours = parser.parse_args()
    task = TASKS[ours.task]
    places = Places(ours.data, str(Path(ours.work, task.name)), ours.encoder, "")
    Path(places.work).mkdir(parents=True, exist_ok=True)
    task.prepare(places)
    tiers = made(task, ablation=ours.ablation)
    steps.run(tiers, places.work, lambda pattern: task.file(pattern, places))
    for student in [*tiers][1:]:
        evaluate(task, places, (student, TEACHER), f"report_{student}")


if __name__ == "__main__":
    main()
