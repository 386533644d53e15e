"""Every block of every page is run, or bears a mark that says why not; every command is parsed."""

import re
import tomllib

import pytest

from tango_beam.errors import RefusedError
from tests import desk as desks
from tests import pages
from tests.desk import desk  # noqa: F401 (fixture)

PAGES = pages.every_page()
FOUND = {page: pages.blocks((pages.ROOT / page).read_text()) for page in PAGES}


def of(page, language):
    return [block for block in FOUND[page] if block.language == language]


@pytest.mark.parametrize("page", [page for page in PAGES if page not in desks.TUTORIALS])
def test_a_page_does_what_it_shows(page, desk, rng, capfd, monkeypatch):  # noqa: F811
    if not any(block.is_run for block in FOUND[page]):
        return
    with desks.ROOMS.get(page, desks.plain)(desk, rng) as room:
        pages.walk(page, capfd, monkeypatch, room.change, room.before)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_read_by_the_parser_of_its_verb(page):
    for block in of(page, "bash"):
        for command in block.every_command:
            if words := pages.words_of(command):
                pages.parse(words)


def test_an_option_that_is_no_more_is_found():
    with pytest.raises(RefusedError, match="--agreemint"):
        pages.parse(
            ["build", "--input", "a", "--second_tier", "b", "--output", "c", "--agreemint", "1"]
        )
    with pytest.raises(RefusedError, match="--flink_mister"):
        pages.parse(["classify", "--input", "a", "--output", "b", "--flink_mister", "c"])


def test_the_changelog_begins_with_the_version_at_hand():
    stated = tomllib.loads((pages.ROOT / "pyproject.toml").read_text())["project"]
    first = re.search(r"^## (\S+?)[,\s]", (pages.ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first[1] == stated["version"]


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_installs_of_this_package_is_there(page):
    stated = tomllib.loads((pages.ROOT / "pyproject.toml").read_text())["project"]
    known = {*stated["optional-dependencies"]}
    text = (pages.ROOT / page).read_text()
    asked = re.findall(r"install (?:-e )?'(?:tango-beam|\.)\[(\S+?)\]'", text)
    assert {name for names in asked for name in names.split(",")} <= known


def test_what_is_run_elsewhere_stands_there():
    said = [(page, block) for page in PAGES for block in FOUND[page] if "as in " in block.mark]
    assert said
    for page, block in said:
        there = FOUND[block.mark.removeprefix("as in ")]
        assert [one for one in there if one.is_run and one.lines == block.lines], (page, block)


def test_a_block_is_left_out_by_its_mark_alone():
    text = """
```bash
python -m pipelines.show out
```

<!-- not run: needs a cloud account -->
```bash
gcloud auth
```

::: a.module
    options:

    tango-beam show out \\
        --json

<!-- drawing -->

    a ─> b
"""
    found = pages.blocks(text)
    assert [block.language for block in found] == ["bash", "bash", "bash", "text"]
    assert [block.is_run for block in found] == [True, False, True, False]
    assert found[2].commands == ["tango-beam show out --json"]
    assert [block.line for block in found] == [3, 8, 14, 19]
