"""The paper's five tasks: which rows, and by which commands their tiers are made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks import question_pairs
from tango_beam.training import holdout

MRPC_TEST = 408
GENERAL = "--encoder {encoder}"
_TEACHER, _FIRST, _SECOND = "teacher", "first_tier", "second_tier"


@dataclass(frozen=True)
class Places:
    """Where things lie.

    Attributes:
      data: the labelled rows, a folder a task.
      work: the task's own folder, for all that is made.
      encoder: a base-size pretrained encoder, of which second tiers are made.
      small: a small one, of which first tiers are made: that for spans, and those that start from
        its layers.
    """

    data: str
    work: str
    encoder: str
    small: str


@dataclass(frozen=True)
class Task:
    """One of the paper's tasks.

    Attributes:
      name: of its folder.
      shown: what people call it.
      metric: as `pipelines.evaluate` names it.
      train: file to train on.
      test: file to evaluate on.
      columns: options that say which columns they have.
      steps: commands that make the tiers, by the folder that each writes: `distill`, say, and its
        options.
      evaluating: options of `pipelines.evaluate` besides.
      differs: what is not as in the paper.
    """

    name: str
    shown: str
    metric: str
    train: str
    test: str
    columns: str
    steps: dict[str, tuple[str, str]]
    evaluating: str = ""
    differs: str = ""

    def file(self, pattern: str, places: Places) -> str:
        """One of the task's files or options, its places filled in."""
        own = {"train": self.train, "test": self.test, "columns": self.columns}
        known = {**vars(places), **{name: one.format(**vars(places)) for name, one in own.items()}}
        return pattern.format(**known)

    def prepare(self, places: Places) -> None:
        """Makes the files that the data lack."""
        if self.name == "mrpc":
            part_mrpc(places)
        if self.name == "qnli" and not Path(places.work, "more.parquet").is_file():
            squad = f"{places.data}/squad/train_subset.parquet"
            question_pairs.write(squad, f"{places.work}/pairs.parquet")
            question_pairs.write_more(squad, f"{places.work}/more.parquet", each=3)


def part_mrpc(places: Places) -> None:
    """Parts MRPC, of which there is one file, into rows to train on and rows to evaluate on."""
    table = pq.read_table(f"{places.data}/mrpc/train.parquet")
    pairs = zip(*(table[name].to_pylist() for name in ("text", "text_pair")), strict=True)
    # As --held_out of the training commands sets them aside.
    split = holdout.hold_out([" ".join(pair) for pair in pairs], MRPC_TEST, 0)
    for name, rows in (("train", split.train), ("test", split.held_out)):
        path = Path(places.work, f"{name}.parquet")
        if not path.is_file():
            pq.write_table(table.take(np.asarray(rows)), path)


def _exits(more: str = "") -> tuple[str, str]:
    return _student("exits", f"--augmented 0 {more}")


def _student(kind: str, more: str) -> tuple[str, str]:
    given = "--teacher {work}/teacher --train {train} {columns} --teacher_logits {work}/logits"
    return "distill", f"--student {kind} {given} {more}".rstrip()


def tinybert(more: str = "") -> tuple[str, str]:
    """A TinyBERT student, which first learns the layers of its teacher's encoder."""
    return _student("tinybert", f"{GENERAL} {more}")


def started(more: str, start: str = "{small}") -> tuple[str, str]:
    """A TinyBERT student that starts from four layers of the small encoder, or of another one."""
    return _student("tinybert", f"--start {start} --layer_epochs 0 {more}")


_PAIR = "--text_pair_column text_pair"
_SPANS = (
    "--text_column question --text_pair_column context --label_column answers "
    "--answer_start_column answer_starts"
)

TASKS = {
    task.name: task
    for task in (
        Task(
            "sst2",
            "SST-2",
            "accuracy",
            "{data}/sst2/train.parquet",
            "{data}/sst2/dev.parquet",
            "--held_out 1500 --max_length 128",
            {
                _TEACHER: (
                    "finetune",
                    "--encoder {encoder} --train {train} {columns} --epochs 1 --learning_rate 4e-5",
                ),
                _FIRST: _student(
                    "pieces",
                    "--unlabeled {data}/imdb/train.parquet --unlabeled_rows 100000 --augmented 0 "
                    "--embedding_size 64 --hidden_size 96 --pooling max --epochs 8",
                ),
                _SECOND: _exits(),
            },
            differs="100,000 sentences of IMDB in place of 800,000 augmented texts; dev rows",
        ),
        Task(
            "mrpc",
            "MRPC",
            "f1",
            "{work}/train.parquet",
            "{work}/test.parquet",
            _PAIR,
            {
                _TEACHER: (
                    "finetune",
                    "--encoder {encoder} --train {train} {columns} --epochs 3 --learning_rate 4e-5",
                ),
                _FIRST: _student("pieces", "--embedding_size 64 --hidden_size 96 --epochs 30"),
                _SECOND: _exits("--epochs 10"),
            },
            "--positive paraphrase",
            "no augmented texts in place of 768,000; 408 rows of the train split",
        ),
        Task(
            "cola",
            "CoLA",
            "mcc",
            "{data}/cola/train.parquet",
            "{data}/cola/dev.parquet",
            "--held_out 500",
            {
                _TEACHER: (
                    "finetune",
                    "--encoder {encoder} --train {train} {columns} --epochs 3 --batch_tokens 768 "
                    "--learning_rate 5e-5",
                ),
                _FIRST: tinybert(
                    "--augmented 60000 --unlabeled {data}/imdb/train.parquet "
                    "--unlabeled_rows 60000 --layer_tokens 4096 --layer_epochs 2 --epochs 3 "
                    "--batch_size 128 --learning_rate 2e-4"
                ),
                _SECOND: _exits("--epochs 10"),
            },
            differs="60,000 augmented texts, by words swapped and cut, and 60,000 sentences of IMDB "
            "in place of 172,000 augmented ones; dev rows",
        ),
        Task(
            "qnli",
            "QNLI",
            "accuracy",
            "{work}/pairs.parquet",
            "{data}/qnli/dev.parquet",
            f"{_PAIR} --held_out 1000 --held_out_by title",
            {
                _TEACHER: (
                    "finetune",
                    "--encoder {encoder} --train {train} {columns} --epochs 2 --learning_rate 4e-5",
                ),
                _FIRST: started(
                    "--unlabeled {work}/more.parquet --unlabeled_rows 40000 --augmented 0 "
                    "--epochs 3 --batch_size 64"
                ),
                _SECOND: _exits(),
            },
            differs="22,900 pairs made of SQuAD in place of 104,700, and 30,000 without a label in "
            "place of 2,095,000 augmented ones; a first tier that starts from four layers of "
            "MiniLM; half of dev",
        ),
        Task(
            "squad",
            "SQuAD 1.1",
            "f1",
            "{data}/squad/train_subset.parquet",
            "{data}/squad/dev_half.parquet",
            f"{_SPANS} --held_out 1000 --held_out_by title",
            {
                _SECOND: (
                    "finetune",
                    "--task span --encoder {encoder} --train {train} {columns} --max_length 384 "
                    "--epochs 2 --learning_rate 5e-5",
                ),
                _FIRST: (
                    "finetune",
                    "--task span --encoder {small} --layers 4 --teacher {work}/second_tier "
                    "--train {train} {columns} --max_length 384 --epochs 3 --learning_rate 1e-4 "
                    "--length_drop 0.2",
                ),
            },
            differs="11,877 of 87,599 questions; a MiniLM of four layers that drops tokens; half of "
            "dev",
        ),
    )
}
