"""A desk on which pages are walked: what a reader has at hand, on tiny models and small corpora."""

import json
import shutil
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import endpoint_server, pages, s3, tiny

TEAMS = ("account", "billing", "delivery", "product")
# A tutorial's model and corpus take minutes.
ROWS = 1000
# What tiny models can do: those of random weights are hardly learnt, and are narrow.
INSTEAD = {
    "--agreement": "0.4",
    "--recall": "spam=0.3",
    "--precision": "spam=0.3",
    "--embedding_size": "16",
}
# The last of an option that is given twice counts.
QUICK = {
    "calibrate": ("--sample_rows", "600"),
    "tune": (
        "--rounds",
        "1",
        "--timed_seconds",
        "0.02",
        "--sample_rows",
        "200",
        "--min_agreement",
        "0.9",
        "--no_processes",
    ),
    "evaluate": ("--repeats", "1", "--splits", "3", "--single_rows", "4", "--cost_rows", "100"),
    "finetune": ("--epochs", "1", "--held_out", "20", "--length_settings", "5"),
    "distill": ("--epochs", "1", "--held_out", "20"),
}


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A working directory beside which a checkout seems to lie."""
    for name in ("examples", "tango_beam"):
        (tmp_path / name).symlink_to(pages.ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def corpus(folder, rng, rows=ROWS):
    folder.mkdir()
    texts = [f"{tiny.sentence(rng)} {number % 7}" for number in range(rows)]
    labels = [tiny.LABELS["good" in text] for text in texts]
    columns = {"id": [*range(rows)], "text": texts, "review": texts, "label": labels}
    pq.write_table(pa.table(columns), folder / "texts.parquet")
    return folder / "texts.parquet"


def slow_model(folder):
    """Slower than its students; hardly any order of words is in it."""
    shutil.rmtree(folder, ignore_errors=True)
    sizes = {"num_hidden_layers": 5, "intermediate_size": 128}
    return tiny.transformer(folder, **sizes)


def manifest(folder):
    return json.loads((folder / "_manifest.json").read_text())


class Room:
    """Where most pages are walked: every corpus that they name is there, and models come by name.

    Args:
      desk: the working directory.
    """

    def __init__(self, desk):
        rng = np.random.default_rng(0)
        texts = pq.read_table(corpus(desk / "corpus", rng, 600))
        for name in ("labelled", "domain"):
            pq.write_table(texts.slice(0, 150), desk / f"{name}.parquet")
        said = [[{"content": tiny.sentence(rng)} for _ in range(2)] for _ in range(40)]
        (desk / "chats").mkdir()
        lines = [json.dumps({"id": n, "messages": one}) for n, one in enumerate(said)]
        (desk / "chats" / "some.jsonl").write_text("\n".join(lines) + "\n")
        rows = [f"{number},{tiny.sentence(rng)},{number:03}" for number in range(40)]
        (desk / "codes.csv").write_text("\n".join(["id,text,code", *rows]) + "\n")
        self._desk = desk

    def before(self, command):
        return command

    def change(self, words):
        """The words of a command, with what a tiny model can do in seconds."""
        verb, *words = words
        words = [INSTEAD.get(before, word) for before, word in _pairs(words)]
        if verb in ("finetune", "distill"):
            words = self._for_a_training(verb, words)
        elif verb in ("classify", "calibrate", "tune", "evaluate"):
            words = self._with_models(words)
        return [verb, *words, *QUICK.get(verb, ())]

    def _for_a_training(self, verb, words):
        for place, (before, word) in enumerate(_pairs(words)):
            if before == "--encoder" and not (self._desk / word).is_dir():
                # What is learnt with rates for a pretrained encoder.
                sizes = {"num_hidden_layers": 4, "max_position_embeddings": 256}
                made = tiny.transformer(self._desk / "encoder", initializer_range=0.02, **sizes)
                words[place] = str(made)
        # Of pairs none are made.
        single = verb == "distill" and "--text_pair_column" not in words
        return [*words, "--augmented", "60"] if single else words

    def _with_models(self, words):
        """Makes what the options name and is not there; a tiny one stands for the embedded one."""
        if "examples/reviews.jsonl" in words:
            return words
        if not {"--cascade", "--first_tier"} & {*words}:
            words = [*words, "--cascade", "sst2"]
        for place, (before, word) in enumerate(_pairs(words)):
            folder = self._desk / ("embedded" if word == "sst2" else word)
            if before == "--cascade" and "://" not in word:
                if not folder.is_dir():
                    tiny.cascade(folder, ("spam", "work") if word == "messages" else tiny.LABELS)
                words[place] = str(folder)
            elif before in ("--first_tier", "--second_tier") and not folder.is_dir():
                (tiny.bilstm if before == "--first_tier" else tiny.transformer)(folder)
        return words


def _pairs(words):
    return zip(["", *words[:-1]], words, strict=True)


class OfBuilds(Room):
    """Where builds are walked, in less than a minute each."""

    def __init__(self, desk, rng):
        self._desk = desk

    def change(self, words):
        if words[0] != "build":
            return words
        asks = any(word.startswith("openai:") for word in words)  # slower, a request a row
        minutes, students = "2" if asks else "0.4", "layers" if "my/reader" in words else "static"
        return [*words, "--agreement", "0.4", "--minutes", minutes, "--students", students]


@contextmanager
def plain(desk, rng):
    yield Room(desk)


@contextmanager
def readme(desk, rng):
    corpus(desk / "corpus", rng)
    slow_model(desk / "my" / "checkpoint")
    room = OfBuilds(desk, rng)

    def before(command):
        # Each of its examples is one of its own, and has the same output.
        shutil.rmtree(desk / "out", ignore_errors=True)
        return command

    room.before = before
    yield room
    assert (desk / "mine" / "report.html").is_file()
    assert manifest(desk / "out")["rows"]["read"] == 16


@contextmanager
def own_corpus(desk, rng):
    (desk / "questions").mkdir()
    sides = {name: [tiny.sentence(rng) for _ in range(ROWS)] for name in ("question", "context")}
    pq.write_table(pa.table(sides), desk / "questions" / "some.parquet")
    room = OfBuilds(desk, rng)

    def before(command):
        if "my/reader" in command:
            shutil.rmtree(desk / "mine")
            tiny.reader(desk / "my" / "reader", num_hidden_layers=4, hidden_size=64)
        elif "pipelines.build" in command:
            assert (desk / "my" / "checkpoint" / "model.safetensors").is_file()
            slow_model(desk / "my" / "checkpoint")
        return command.replace("range(5_000)", f"range({ROWS})")

    room.before = before
    yield room
    assert (desk / "mine" / "report.html").is_file()
    assert manifest(desk / "out")["rows"]["read"] == ROWS


@contextmanager
def endpoint(desk, rng):
    corpus(desk / "corpus", rng)
    tiny.static(desk / "small", TEAMS)
    room = OfBuilds(desk, rng)
    with endpoint_server.Server(labels=TEAMS, key="...", model="my-model") as server:
        room.before = lambda command: command.replace("http://localhost:8000/v1", server.url)
        yield room
        asked = server.stats()["by_text"]
    assert len(asked) > 200
    # Each once, whoever asked; those on which the model is held against itself, once more.
    assert max(asked.values()) == 2
    for output in ("out", "out_small", "out_handler"):
        assert manifest(desk / output)["rows"]["read"] == ROWS


@contextmanager
def outputs(desk, rng):
    """An output with an audit and with dead letters, as the page's snippets want one."""
    from pipelines import classify

    room = Room(desk)
    rows = [{"id": n, "text": tiny.sentence(rng) if n % 9 else None} for n in range(50)]
    pq.write_table(pa.Table.from_pylist(rows), desk / "in.parquet")
    given = ["classify", "--input", "in.parquet", "--output", "out", "--audit_rate", "0.5"]
    given += ["--source_columns"]
    assert classify.main(room.change([*given, "--max_dead_fraction", "0.5"])[1:]) in (0, 4)
    with pytest.MonkeyPatch.context() as environment:
        for name in ("HF_HOME", "HF_DATASETS_CACHE"):  # nothing is left in a home
            environment.setenv(name, str(desk / "cache"))
        yield room


@contextmanager
def store(desk, rng):
    """S3's protocol on this machine, with two buckets."""
    s3fs = pytest.importorskip("s3fs", reason="needs s3fs (the extra s3)")
    pytest.importorskip("moto", reason="needs moto's server (the extra test)")
    with s3.Server() as server, pytest.MonkeyPatch.context() as environment:
        url = f"http://127.0.0.1:{server.port}"
        for name, value in {**s3.KEYS, "AWS_ENDPOINT_URL": url}.items():
            environment.setenv(name, value)
        environment.setenv("TANGO_BEAM_CACHE", str(desk / "copies"))
        s3fs.S3FileSystem.clear_instance_cache()
        files, room = s3fs.S3FileSystem(use_listings_cache=False), Room(desk)
        for bucket in ("corpus", "labelled"):
            files.mkdir(bucket)
        files.put(str(desk / "corpus" / "texts.parquet"), "corpus/reviews/texts.parquet")
        files.put(str(tiny.cascade(desk / "mine")), "corpus/mine", recursive=True)
        room.before = lambda command: command.replace("http://localhost:9000", url)
        yield room
        for output in ("run-1", "run-2"):
            found = json.loads(files.cat(f"labelled/{output}/_manifest.json"))
            assert found["rows"]["read"] == 600
        s3fs.S3FileSystem.clear_instance_cache()


# Pages that need more than what lies on every desk; builds take a file of tests of their own.
TUTORIALS = {
    "README.md": readme,
    "docs/your_own_corpus.md": own_corpus,
    "docs/llm_second_tier.md": endpoint,
}
ROOMS = {"docs/reading_outputs.md": outputs, "docs/object_stores.md": store}
