"""What mkdocs does beside rendering pages: pages of the commands, links out of docs/, notes."""

from __future__ import annotations

import argparse
import importlib
import posixpath
import re
import sys
from html import escape
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, InclusionLevel

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from pipelines.__main__ import COMMANDS  # noqa: E402

# Files beside docs/ that are pages of the site, too.
BESIDE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
}
# Files of the repository, and folders of such, that pages show as they are.
SHOWN = {
    "tango_beam/schemas": "schemas.md",
    "deploy/dataflow": "files/dataflow_image.md",
    **{
        f"examples/{name}.py": f"files/{name}.md"
        for name in ("sentiment_at_scale", "topic_routing", "pair_matching", "handlers", "steps")
    },
}
_LANGUAGES = {".py": "python", ".json": "json"}
_DRAWING = re.compile(r'(<!-- drawing -->\s*<div class=")')
NOT_RUN = re.compile(r"^<!-- not run: (.+?) -->$", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")
_NOTE = r'<p class="not-run" markdown>Not run by the tests: \1.</p>\n'
# Short ones are not broken behind their hyphens where a line ends.
_OPTION = re.compile(r"`(--[^`|]{1,30})`(?!\{)")
_FENCES = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_files(files: Any, config: Any) -> Any:
    """Adds a page for each command, and those that lie beside docs/."""
    for name in COMMANDS:
        files.append(File.generated(config, f"commands/{name}.md", content=command_page(name)))
    for name, place in BESIDE.items():
        text = (ROOT / name).read_text()
        folder = Path(name).parent
        text = _LINK.sub(lambda found, folder=folder: _from_docs(*found.groups(), folder), text)
        files.append(File.generated(config, place, content=text))
    for name, place in SHOWN.items():
        content = file_page(name)
        hidden = InclusionLevel.NOT_IN_NAV
        files.append(File.generated(config, place, content=content, inclusion=hidden))
    return files


def file_page(name: str) -> str:
    """A file of the repository, or each of a folder, as it is."""
    path = ROOT / name
    lines = [f"# `{name}`", ""]
    for one in sorted(path.iterdir()) if path.is_dir() else [path]:
        if one.is_file():
            lines += [f"## `{one.name}`", ""] * path.is_dir()
            language = _LANGUAGES.get(one.suffix, "text")
            lines += [f"```{language}", one.read_text().rstrip(), "```", ""]
    return "\n".join(lines)


def _from_docs(text: str, target: str, folder: Path) -> str:
    """A link of a page in a folder of the repository, as it leads from docs/."""
    if re.match(r"\w+:|#", target):
        return f"[{text}]({target})"
    path = posixpath.relpath(posixpath.normpath((folder / target).as_posix()), "docs")
    return f"[{text}]({path})"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Notes are shown, the table of commands is filled in, links leave docs/ by name only."""
    parts = _FENCES.split(markdown)
    for place in range(0, len(parts), 2):
        text = NOT_RUN.sub(_NOTE, parts[place])
        text = _LINK.sub(lambda found: _link(found, page.file.src_uri), text)
        parts[place] = _OPTION.sub(r"`\1`{ .option }", text)
    return "".join(parts).replace("<!-- table of commands -->", _table_of_commands())


def on_page_content(html: str, **_: Any) -> str:
    """Drawings are told from other blocks: their lines do not wrap."""
    return _DRAWING.sub(r"\1drawing ", html)


def _link(found: re.Match[str], source: str) -> str:
    """A link as the site has it: what is no page of it is named, and must be there."""
    text, target = found.groups()
    if not target.startswith("../"):
        return found[0]
    path, _, anchor = target.removeprefix("../").partition("#")
    if place := BESIDE.get(path) or SHOWN.get(path):
        return f"[{text}]({place}{'#' * bool(anchor)}{anchor})"
    if not (ROOT / path).exists():
        raise PluginError(f"{source}: expected a file of the repository, found {target}")
    return text


def _table_of_commands() -> str:
    rows = [f"| [`{name}`](commands/{name}.md) | {about} |" for name, about in COMMANDS.items()]
    return "\n".join(["| command | |", "|---|---|", *rows])


def command_page(name: str) -> str:
    """A command's description, and a table of the options of each group of its parser."""
    parser = importlib.import_module(f"pipelines.{name}").parser()
    lines = [f"# {name}", "", f"`python -m {parser.prog}`, or `tango-beam {name}`.", ""]
    lines += [*_prose(parser.description), ""]
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.dest != "help"]
        if actions:
            lines += [f"## {_title(group)}", "", "| option | |", "|---|---|"]
            lines += [_row(action) for action in actions]
            lines += [""]
    if parser.epilog:
        lines += ["## What comes of it", "", "```text", parser.epilog.rstrip(), "```", ""]
    return "\n".join(lines)


def _title(group: argparse._ArgumentGroup) -> str:
    usual = {"positional arguments": "Arguments", "options": "General"}
    title = group.title or "General"
    return usual.get(title, title[:1].upper() + title[1:])


def _prose(description: str | None) -> list[str]:
    """A description: indented lines are commands, others text."""
    lines: list[str] = []
    for block in re.split(r"\n\s*\n", (description or "").strip("\n")):
        if block.startswith("  "):
            own = [line.removeprefix("  ") for line in block.splitlines()]
            lines += ["```bash", *own, "```", ""]
        else:
            lines += [_plain(block), ""]
    return lines


def _plain(text: str) -> str:
    """Text of a help as Markdown shows it unchanged, option names as code."""
    text = re.sub(r"([\\`*_<>|{}\[\]])", r"\\\1", text)
    return re.sub(r"--\w+(?:\\_\w+)*", lambda found: f"`{found[0].replace(chr(92), '')}`", text)


def _row(action: argparse.Action) -> str:
    """An option with its values, and what its help says."""
    name = action.option_strings[-1] if action.option_strings else str(action.metavar)
    choices = " ".join(f"`{choice}`" for choice in action.choices or ())
    if action.option_strings and action.nargs != 0 and not choices:
        name += f" {action.metavar or action.dest.upper()}"
    about = _plain((action.help or "").replace("%%", "%"))
    required = " **Required.**" if action.required and action.option_strings else ""
    code = f"<code>{escape(name).replace('|', '&#124;')}</code>"
    return f"| {code} | {about}{required}{'<br>' * bool(choices)}{choices} |"
