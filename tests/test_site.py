"""The pages as a site: built strictly, complete, without a network, and laid out by a browser."""

import html
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys

import pytest

import tango_beam
from pipelines.__main__ import COMMANDS
from tests import pages
from tests.browser import DARK, brightness

NEEDED = ("mkdocs", "material", "mkdocstrings")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.docs,
    pytest.mark.skipif(bool(MISSING), reason="needs the extra docs (pip install -e '.[docs]')"),
]
WIDTHS = (390, 1280)
# A page of each make: text with a picture, wide tables, code, options, signatures.
SHOWN = (
    "index.html",
    "promises.html",
    "quick_start.html",
    "your_own_corpus.html",
    "examples.html",
    "efficiency.html",
    "benchmarks.html",
    "own_pipeline.html",
    "architecture.html",
    "commands/classify.html",
    "api.html",
)
# A frame is as narrow as a phone; a window is not. Files may look into each other here. Code,
# tables and drawings scroll in frames of their own.
FRAMES = """<!doctype html><meta charset="utf-8"><body>{frames}<script>
addEventListener("load", () => setTimeout(() => {{
  const found = Array.from(document.querySelectorAll("iframe"), frame => {{
    const page = frame.contentDocument, root = page.documentElement;
    const wide = Array.from(page.querySelectorAll(".md-content *"), part => [
      part.getBoundingClientRect().right,
      part.closest("pre, img, .md-typeset__scrollwrap") === null,
      part.outerHTML.slice(0, 120)]).filter(one => one[1] && one[0] > frame.clientWidth + 1);
    return {{ page: frame.title, width: frame.clientWidth, page_width: root.scrollWidth,
      background: frame.contentWindow.getComputedStyle(page.body).backgroundColor,
      pictures: Array.from(page.images, image => image.naturalWidth),
      wide: wide.map(one => one[2]) }};
  }});
  const note = document.createElement("pre");
  note.id = "probe";
  note.textContent = JSON.stringify(found);
  document.body.append(note);
}}, 500));
</script></body>"""
FILES = ("--allow-file-access-from-files", "--virtual-time-budget=20000")


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the built site, and what mkdocs said."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=pages.ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return folder


def test_every_page_is_there(site):
    for page in pages.every_page():
        if page.startswith("docs/"):
            name = page.removeprefix("docs/").removesuffix(".md")
            assert (site / f"{name}.html").is_file(), page
    assert not list(site.rglob("*.py")) and not list(site.rglob("*.md"))


@pytest.mark.parametrize("command", COMMANDS)
def test_no_option_of_a_command_is_missing(site, command):
    text = (site / "commands" / f"{command}.html").read_text()
    rows = re.findall(r"<tr>\s*<td>(.*?)</td>\s*<td>(.*?)</td>\s*</tr>", text, re.DOTALL)
    found = {words(name)[0]: words(about) for name, about in rows}
    parser = importlib.import_module(f"pipelines.{command}").parser()
    actions = [action for action in parser._actions if action.dest != "help"]
    assert len(rows) == len(found) == len(actions) > 2
    for action in actions:
        name = action.option_strings[-1] if action.option_strings else action.metavar
        said = words(html.escape(action.help.replace("%%", "%")))
        assert found[name][: len(said)] == said
        assert {str(choice) for choice in action.choices or ()} <= {*found[name]}


def words(text):
    """Of a piece of HTML, as a reader sees them."""
    return html.unescape(re.sub(r"<.*?>", "", text.replace("<br", " <br"))).split()


def test_all_that_the_package_exports_is_described(site):
    text = (site / "api.html").read_text()
    found = set(re.findall(r'id="tango_beam\.[\w.]*?(\w+)"', text))
    assert {*tango_beam.__all__} <= found


def test_files_that_pages_name_are_shown(site):
    shown = words((site / "schemas.html").read_text())
    for path in (pages.ROOT / "tango_beam" / "schemas").iterdir():
        assert path.name in " ".join(shown), path
    assert 'href="schemas.html"' in (site / "reading_outputs.html").read_text()
    assert (site / "files" / "topic_routing.html").is_file()
    assert 'href="files/topic_routing.html"' in (site / "examples.html").read_text()


def test_drawings_are_told_from_other_blocks(site):
    assert (site / "architecture.html").read_text().count('class="drawing ') == 2


def test_a_page_loads_nothing_from_a_network(site):
    loaded = re.compile(r"<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)=\"?(https?:[^\" >]+)")
    for page in site.rglob("*.html"):
        assert [url for url in loaded.findall(page.read_text()) if "canonical" not in url] == []
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert not re.findall(r"url\(\W?https?:|@import", styles)


def test_a_reader_sees_why_a_command_is_not_run(site):
    text = (site / "dataflow.html").read_text()
    marks = (pages.ROOT / "docs" / "dataflow.md").read_text().count("<!-- not run: needs a cloud")
    assert text.count('class="not-run"') == text.count("needs a cloud account") == marks > 2


def opened(browse, site, names, widths, *options):
    """What a browser finds in pages, each at each width."""
    frames = "".join(
        f'<iframe title="{name}" src="{name}" style="border:0;width:{width}px;height:900px">'
        "</iframe>"
        for name in names
        for width in widths
    )
    frame = site / "frames.html"
    frame.write_text(FRAMES.format(frames=frames))
    dom, complaints = browse(frame, "--dump-dom", *FILES, *options)
    assert complaints == []
    return json.loads(html.unescape(re.search(r'<pre id="probe">(.*?)</pre>', dom, re.S)[1]))


def test_pages_fit_a_phone_and_a_desk(browse, site):
    found = opened(browse, site, SHOWN, WIDTHS)
    assert len(found) == len(SHOWN) * len(WIDTHS)
    for one in found:
        assert one["page_width"] <= one["width"], one
        assert one["wide"] == [], one
        assert 0 not in one["pictures"]
        assert brightness(one["background"]) > 600


def test_pages_are_dark_where_the_system_is(browse, site):
    for one in opened(browse, site, SHOWN[:1], WIDTHS[:1], DARK):
        assert brightness(one["background"]) < 200


def test_a_search_finds_pages_without_a_server(browse, site):
    page = (site / "index.html").read_text()
    searched = site / "searched.html"
    # What a reader types, and what a result is.
    typed = """<script>addEventListener("load", () => setTimeout(() => {
      const box = document.querySelector(".md-search__input");
      box.focus(); box.value = "hypergeometric"; box.dispatchEvent(new Event("keyup"));
    }, 300))</script>"""
    searched.write_text(page.replace("</body>", f"{typed}</body>"))
    dom, complaints = browse(searched, "--dump-dom", *FILES)
    assert complaints == []
    assert "promises.html" in "".join(re.findall(r'class="md-search-result__link"[^>]*', dom)) or (
        re.search(r'href="[^"]*promises\.html[^"]*"[^>]*class="md-search-result__link', dom)
    )
