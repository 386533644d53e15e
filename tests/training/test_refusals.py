"""What `pipelines.finetune` and `pipelines.distill` refuse before they train anything."""

import json
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import distill, finetune
from tango_beam.errors import RefusedError
from tango_beam.training import distill as distilling
from tango_beam.training import finetune as finetuning
from tango_beam.training import resume
from tests import tiny

ROWS = {
    "text": ["good film", "bad film", "a very good plot", "dull", "the film is bad", "great"],
    "label": ["positive", "negative", "positive", "negative", "negative", "positive"],
}


@pytest.fixture(autouse=True)
def no_training(monkeypatch):
    def train(*arguments):
        raise AssertionError("it trains")

    monkeypatch.setattr(finetuning, "fine_tune", train)
    monkeypatch.setattr(distilling, "distill", train)


@pytest.fixture
def write(tmp_path):
    """Writes a Parquet file; columns that are not given are those of `ROWS`, None drops one."""

    def parquet(name, **columns):
        table = {key: value for key, value in {**ROWS, **columns}.items() if value is not None}
        pq.write_table(pa.table(table), tmp_path / name)
        return str(tmp_path / name)

    return parquet


@pytest.fixture(params=["finetune", "distill"])
def train(request, bert, tmp_path, write):
    """Either entry point, on data that fit but for the options added."""
    source = {"finetune": "--encoder", "distill": "--teacher"}[request.param]
    main = {"finetune": finetune.main, "distill": distill.main}[request.param]
    fitting = {
        source: str(bert),
        "--train": write("train.parquet"),
        "--output": str(tmp_path / "out"),
    }
    if request.param == "distill":
        fitting |= {"--embedding_size": "4", "--augmented": "0"}

    def run(**options):
        given = {**fitting, **{f"--{name}": str(value) for name, value in options.items()}}
        try:
            return main([word for pair in given.items() for word in pair])
        finally:
            shutil.rmtree(tmp_path / "out", ignore_errors=True)

    run.source = source
    return run


def refused(run, message, **options):
    with pytest.raises(RefusedError, match=message):
        run(**options)


@pytest.mark.parametrize("name", resume.KEPT)
def test_what_a_training_left_behind_is_gone_on_with_or_refused(train, tmp_path, name):
    (tmp_path / "out" / name).mkdir(parents=True)
    refused(train, f"found {name} of a training that was cut short; --resume goes on with it")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "--teacher_logits: expected --teacher, found none"),
        (["--task", "span", "--teacher", "x"], "--teacher_logits: expected labels or a score"),
    ],
)
def test_logits_that_no_teacher_would_leave_are_not_asked_for(write, tmp_path, more, message):
    given = ["--encoder", "x", "--train", write("t.parquet"), "--output", str(tmp_path / "out")]
    with pytest.raises(RefusedError, match=message):
        finetune.main([*given, "--teacher_logits", str(tmp_path / "kept"), *more])


def test_what_fits_trains(train):
    with pytest.raises(AssertionError, match="it trains"):
        train()


@pytest.mark.parametrize("option", ["train", "dev"])
def test_files_that_do_not_fit_are_refused_by_name(train, write, tmp_path, option):
    def no(message, path):
        refused(train, message, **{option: path})

    no(r"none\.parquet: expected at least one file, found no match", tmp_path / "none.parquet")
    (tmp_path / "notes.parquet").write_text("text,label")
    no(r"notes\.parquet: expected a readable Parquet", tmp_path / "notes.parquet")
    no(r"--text_column text: no such column.*found label", write("a.parquet", text=None))
    no(r"--label_column label: no such column.*found text", write("b.parquet", label=None))
    texts = [None, *ROWS["text"][1:]]
    no(
        r"c\.parquet, row 0: column 'text': expected a text, found null",
        write("c.parquet", text=texts),
    )
    labels = [*ROWS["label"][:4], None, None]
    no(r"--label_column label: expected no nulls.*in row 5", write("d.parquet", label=labels))
    no(r"column of texts in .*e\.parquet, found int64", write("e.parquet", text=list(range(6))))
    no(
        r"f\.parquet: expected labelled rows, found none",
        write("f.parquet", text=pa.array([], "string"), label=pa.array([], "string")),
    )
    assert not (tmp_path / "out").exists()


def test_columns_are_refused_by_the_names_that_were_given(train):
    refused(train, r"--text_column review: no such column.*text.*label", text_column="review")
    refused(train, r"--label_column stars: no such column.*text, label", label_column="stars")


def test_an_unknown_label_is_refused(train, write):
    path = write("other.parquet", label=["positive", "mixed", *ROWS["label"][2:]])
    message = r"in .*other\.parquet the labels negative, positive, found mixed"
    refused(train, rf"--label_column label: expected {message}", dev=path)


def test_one_label_is_nothing_to_learn(bert, write, tmp_path):
    path = write("one.parquet", label=["positive"] * 6)
    with pytest.raises(RefusedError, match=r"two or more labels in 'label', found \['positive'\]"):
        finetune.main(["--encoder", str(bert), "--train", path, "--output", str(tmp_path / "out")])


def test_a_teacher_that_never_gives_a_training_label_is_refused(bert, write, tmp_path):
    path = write("t.parquet", label=["1", "0", "1", "0", "0", "1"])
    with pytest.raises(RefusedError, match=r"the labels negative, positive, found 0, 1"):
        distill.main(["--teacher", str(bert), "--train", path, "--output", str(tmp_path / "out")])


def test_an_output_directory_that_holds_something_is_left_alone(train, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("precious")
    refused(train, r"--output .*full: expected an empty.*thesis\.txt", output=tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]
    file = tmp_path / "full" / "thesis.txt"
    refused(train, r"expected a directory to write in, found the file", output=file)
    refused(train, r"expected a directory to write in, found the file", output=file / "below")


def test_more_held_out_sentences_than_there_are_are_refused(train):
    refused(train, "--held_out 99: expected at least 99 whole sentences, found 6", held_out=99)
    refused(train, "--held_out 6: expected rows .*found all 6 inside the held-out", held_out=6)


def test_values_of_a_column_are_held_out_whole_or_refused(train, write):
    path = write("topics.parquet", topic=["a", "a", "a", "b", "b", "b"])
    options = {"train": path, "held_out_by": "topic", "held_out": 2}
    with pytest.raises(AssertionError, match="it trains"):
        train(**options)
    refused(train, "--held_out 4: expected rows .*found all 6 ins", **{**options, "held_out": 4})
    refused(train, "--held_out 7: expected at least 7 rows", **{**options, "held_out": 7})
    refused(train, "--held_out_by author: no such column", **{**options, "held_out_by": "author"})
    refused(train, "--held_out_by: expected --held_out", train=path, held_out_by="topic")


@pytest.mark.parametrize(
    ("task", "labels", "more", "message"),
    [
        ("score", [0.5] * 6, {}, "expected rows that differ in 'label', found the same everywhere"),
        ("multi_label", [["a"]] * 6, {}, "expected rows that differ in 'label', found the same"),
        ("multi_label", [pa.scalar([], pa.list_(pa.string()))] * 6, {}, "found empty lists alone"),
        ("score", ROWS["label"], {}, "finite scores in .*t.parquet, found 'positive' in row 1"),
        ("multi_label", ROWS["label"], {}, "JSON arrays of labels in .*, found 'positive' in row"),
        (None, [0.5] * 6, {}, "--label_column label: expected --task score or --task labels"),
        (
            "score",
            [*range(6)],
            {"smoothing": 0.1},
            "--smoothing: expected --task labels, found",
        ),
        ("labels", ROWS["label"], {"rare_weight": 0.5}, "--rare_weight: expected at least 1"),
        ("ranks", ROWS["label"], {}, "--task: invalid choice: 'ranks'"),
    ],
)
def test_labels_that_are_not_of_the_task_are_refused(
    bert, write, tmp_path, task, labels, more, message
):
    path = write("t.parquet", label=labels)
    given = {"encoder": bert, "train": path, "output": tmp_path / "out", **more}
    given |= {"task": task} if task else {}
    with pytest.raises(RefusedError, match=message):
        finetune.main([word for name, value in given.items() for word in (f"--{name}", str(value))])


def test_a_student_is_taught_on_labels_of_its_teachers_kind(write, tmp_path):
    teacher = tiny.transformer(tmp_path / "many", problem_type="multi_label_classification")
    given = ["--teacher", str(teacher), "--output", str(tmp_path / "out"), "--train"]
    with pytest.raises(RefusedError, match=r"expected JSON arrays of labels .*found 'pos"):
        distill.main([*given, write("t.parquet")])
    path = write("t.parquet", label=[["positive"], [], ["mixed"]] * 2)
    with pytest.raises(RefusedError, match=r"negative, positive in .*, found mixed in row 3"):
        distill.main([*given, path])
    with pytest.raises(RefusedError, match="--cuts: expected probabilities over 0, found"):
        distill.main([*given, path, "--cuts", "1.5"])


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("epochs", "0", "expected at least 1, found 0"),
        ("batch_size", "-4", "expected at least 1, found -4"),
        ("learning_rate", "0", r"expected above 0, found 0\.0"),
        ("learning_rate", "nan", "expected above 0, found nan"),
        ("held_out", "-1", "expected at least 0, found -1"),
        ("max_length", "2", "expected at least 3, found 2"),
        ("seed", "-1", "expected at least 0, found -1"),
        ("epochs", "two", "invalid int value: 'two'"),
        ("store", "int8", "invalid choice: 'int8'"),
    ],
)
def test_numbers_out_of_range_are_refused_by_option(train, option, value, message):
    refused(train, f"--{option}: {message}", **{option: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--embedding_size", "0"], "--embedding_size: expected at least 1, found 0"),
        (["--embedding_size", "99"], "--embedding_size: expected at most the teacher's 32"),
        (["--hidden_size", "-1"], "--hidden_size: expected at least 1"),
        (["--layer_tokens", "0"], "--layer_tokens: expected at least 1"),
        (["--dropout", "1"], r"--dropout: expected at least 0 and under 1, found 1\.0"),
        (["--augmented", "-1"], "--augmented: expected at least 0"),
        (["--augment", "mask,shuffle"], r"--augment: expected kinds out of.*\['shuffle'\]"),
        (["--vectors", "glove.parquet"], "--vectors: expected --student words or --masked_lm"),
        (["--agreement", "2"], r"--agreement: expected 0 to 1, found 2\.0"),
        (["--augment_unlabeled"], "--augment_unlabeled: expected --unlabeled"),
        (["--unlabeled", "{tmp}/none"], "--unlabeled .*none: expected at least one file"),
        (
            ["--student", "words", "--vectors", "{tmp}/train.parquet"],
            "--vectors vector: no such column",
        ),
        (["--student", "words", "--vectors", "{tmp}/v.parquet"], "expected vectors of 50 numbers"),
    ],
)
def test_distill_refuses_what_makes_no_student(bert, write, tmp_path, options, message):
    path = write("train.parquet")
    write("v.parquet", word=["good", "bad"], vector=[[1.0], [2.0]], text=None, label=None)
    options = [option.format(tmp=tmp_path) for option in options]
    given = ["--teacher", str(bert), "--train", path, "--output", str(tmp_path / "out")]
    with pytest.raises(RefusedError, match=message):
        distill.main([*given, *options])


MISFITS = {
    "none": "a folder or a Hugging Face id, found no such folder",
    "config.json": r"config\.json, found model\.safetensors, tokenizer\.json",
    "model.safetensors": r"weights in \.safetensors, found none",
    "tokenizer*": r"a tokenizer \(tokenizer\.json, say\), found special tokens only",
    "cut short": "a checkpoint that loads, found: .*header",
}


@pytest.mark.parametrize("missing", MISFITS)
def test_a_checkpoint_that_does_not_load_is_refused(train, bert, tmp_path, missing):
    folder = tmp_path / "checkpoint"
    if missing != "none":
        shutil.copytree(bert, folder)
        weights = folder / "model.safetensors"
        if missing == "cut short":
            weights.write_bytes(weights.read_bytes()[:900])
        for path in folder.glob(missing):
            path.unlink()
    found = f"^{train.source} {folder}: expected {MISFITS[missing]}"
    refused(train, found, **{train.source[2:]: folder})


def test_self_training_refuses_teachers_that_do_not_fit(bert, write, tmp_path):
    other = tiny.transformer(tmp_path / "other", labels=("no", "yes"))
    given = ["--encoder", str(bert), "--train", write("t.parquet")]
    given += ["--output", str(tmp_path / "out")]
    with pytest.raises(RefusedError, match=r"--teacher .*'positive'\], found \['no', 'yes'\]"):
        finetune.main([*given, "--teacher", str(bert), "--teacher", str(other)])
    with pytest.raises(RefusedError, match=r"--teacher .*none: expected a folder"):
        finetune.main([*given, "--teacher", str(tmp_path / "none")])
    with pytest.raises(RefusedError, match="--unlabeled: expected --teacher"):
        finetune.main([*given, "--unlabeled", str(tmp_path / "t.parquet")])
    with pytest.raises(RefusedError, match="--unlabeled_rows: expected at least 1, found 0"):
        finetune.main([*given, "--teacher", str(bert), "--unlabeled_rows", "0"])


def test_an_encoder_with_a_head_for_other_labels_gets_a_new_one(write, tmp_path):
    three = tiny.transformer(tmp_path / "three", labels=("a", "b", "c"))
    given = ["--encoder", str(three), "--train", write("t.parquet")]
    with pytest.raises(AssertionError, match="it trains"):
        finetune.main([*given, "--output", str(tmp_path / "out")])


def test_an_encoder_whose_weights_do_not_fit_its_config_is_refused(write, bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "misfit")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))
    given = ["--encoder", str(folder), "--train", write("t.parquet")]
    with pytest.raises(RefusedError, match=r"expected weights of the shapes in config\.json"):
        finetune.main([*given, "--output", str(tmp_path / "out")])


@pytest.mark.parametrize("name", ["finetune", "distill"])
def test_a_refusal_reaches_the_shell_as_one_line_and_code_2(name, bert, tmp_path):
    source = {"finetune": "--encoder", "distill": "--teacher"}[name]
    given = f"{source} {bert} --train {tmp_path}/none.parquet --output {tmp_path}/out"
    found = subprocess.run(
        [sys.executable, "-m", f"pipelines.{name}", *given.split()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 2
    assert found.stderr.startswith("refused: ")
    assert "none.parquet: expected at least one file, found no match" in found.stderr
    assert len(found.stderr.splitlines()) == 1
    assert found.stdout == ""


@pytest.mark.parametrize("student", ["static", "words"])
def test_a_teacher_of_spans_has_no_student_of_another_family(tmp_path, write, student):
    teacher = tiny.reader(tmp_path / "reader")
    given = f"--teacher {teacher} --train {write('t.parquet')} --output {tmp_path}/out"
    with pytest.raises(RefusedError, match=f"--student {student}: expected a teacher that"):
        distill.main([*given.split(), "--student", student])


@pytest.mark.parametrize("buckets", [1, 3, 65_535])
def test_buckets_that_are_no_power_of_two_are_refused(tmp_path, buckets):
    given = f"--teacher {tmp_path} --train x --output {tmp_path}/out --bigrams {buckets}"
    with pytest.raises(RefusedError, match=f"--bigrams: expected 0, 2, 4, 8, .*found {buckets}"):
        distill.main(given.split())
