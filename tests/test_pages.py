"""The README's first screen and the tutorials, run from beginning to end on tiny models."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import endpoint_server, pages, tiny

README = (pages.ROOT / "README.md").read_text().partition("## What you get")[0]
CORPUS = (pages.ROOT / "docs" / "your_own_corpus.md").read_text()
ENDPOINT = (pages.ROOT / "docs" / "llm_second_tier.md").read_text()
TEAMS = ("account", "billing", "delivery", "product")
# A tutorial's model and corpus take minutes.
ROWS = 1000
# Weights that are random are hardly learnt: a low goal.
QUICK = ("--agreement", "0.4")


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A working directory beside which a checkout seems to lie."""
    for name in ("examples", "tango_beam"):
        (tmp_path / name).symlink_to(pages.ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def slow_model(folder):
    """Slower than its students; hardly any order of words is in it."""
    shutil.rmtree(folder, ignore_errors=True)
    sizes = {"num_hidden_layers": 5, "intermediate_size": 128}
    return tiny.transformer(folder, **sizes)


def corpus(folder, rng, rows=ROWS):
    folder.mkdir()
    texts = [f"{tiny.sentence(rng)} {number % 7}" for number in range(rows)]
    pq.write_table(pa.table({"text": texts}), folder / "texts.parquet")


def quick(words):
    if words[0] != "pipelines.build":
        return words
    asks = any(word.startswith("openai:") for word in words)  # slower, a request a row
    minutes, students = "2" if asks else "0.4", "layers" if "my/reader" in words else "static"
    return [*words, *QUICK, "--minutes", minutes, "--students", students]


def walk(text, capfd, monkeypatch, change=quick, before=lambda command: command):
    """Runs all commands of a page; each is done, and says what the page shows behind it."""
    output, count = "", 0
    for block in pages.blocks(text):
        if not block.is_commands:
            assert pages.shows(output, block), f"line {block.line}: {block.lines}\n{output}"
            continue
        for command in block.commands:
            assert pages.run(before(command), change, monkeypatch) == 0, command
            count += 1
        output = "".join(capfd.readouterr())
    return count


def test_the_first_screen_of_the_readme(desk, rng, capfd, monkeypatch):
    corpus(desk / "corpus", rng)
    slow_model(desk / "my" / "checkpoint")

    def before(command):
        # Each of its examples is one of its own, and has the same output.
        shutil.rmtree(desk / "out", ignore_errors=True)
        return command

    commands, example = README.split("One command sets up")
    picture = commands.index("Two commands")
    assert walk(commands[picture:], capfd, monkeypatch) == 2
    assert (desk / "mine" / "report.html").is_file() and manifest(desk)
    assert walk(example, capfd, monkeypatch, before=before) == 1
    assert manifest(desk)["rows"]["read"] == 16


def manifest(desk):
    return json.loads((desk / "out" / "_manifest.json").read_text())


def test_the_tutorial_of_ones_own_corpus(desk, capfd, monkeypatch, rng):
    def before(command):
        if "pipelines.build" in command and "my/checkpoint" in command:
            assert (desk / "my" / "checkpoint" / "model.safetensors").is_file()
            slow_model(desk / "my" / "checkpoint")
        return command.replace("range(5_000)", f"range({ROWS})")

    walked = CORPUS.partition("## Questions and contexts")[0]
    assert walk(walked, capfd, monkeypatch, before=before) == 5
    assert (desk / "mine" / "report.html").is_file()
    assert manifest(desk)["rows"]["read"] == ROWS


@pytest.mark.slow
def test_the_tutorial_of_a_reader(desk, capfd, monkeypatch, rng):
    (desk / "questions").mkdir()
    sides = {name: [tiny.sentence(rng) for _ in range(ROWS)] for name in ("question", "context")}
    pq.write_table(pa.table(sides), desk / "questions" / "some.parquet")
    tiny.reader(desk / "my" / "reader", num_hidden_layers=4, hidden_size=64)
    section = CORPUS.partition("## Questions and contexts")[2].partition("\n## ")[0]
    assert walk(section, capfd, monkeypatch) == 1
    assert (desk / "mine" / "report.html").is_file()


def test_the_tutorial_of_an_endpoint_and_a_handler(desk, capfd, monkeypatch, rng):
    corpus(desk / "corpus", rng)
    tiny.static(desk / "small", TEAMS)

    def at_the_server(command):
        return command.replace("http://localhost:8000/v1", server.url)

    with endpoint_server.Server(labels=TEAMS, key="...", model="my-model") as server:
        assert walk(ENDPOINT, capfd, monkeypatch, before=at_the_server) == 7
        asked = server.stats()["by_text"]
    assert len(asked) > 200
    # Each once, whoever asked; those on which the model is held against itself, once more.
    assert max(asked.values()) == 2
    for output in ("out", "out_small", "out_handler"):
        assert json.loads((desk / output / "_manifest.json").read_text())["rows"]["read"] == ROWS
