"""The input's files: found, told apart by format and compression, and what is passed over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from tango_beam.errors import RefusedError
from tango_beam.io import compression, json_array, json_objects, paths
from tango_beam.io.files import JSONL, PARQUET, InputFile
from tango_beam.io.first_bytes import HEAD_BYTES, Look, look
from tango_beam.io.paths import Match, Way

AUTO, MIXED, JSON = "auto", "mixed", "json"
_READERS = 16
_SHOWN = 3
# What lies beside data; not read as data where the user names the format of a whole folder.
_PAPERS = ("readme", "license", "licence", "notice", "changelog", "citation", "makefile")
_PAPER_ENDS = (".md", ".crc", ".html", ".py", ".yaml", ".yml", ".pdf", ".png", ".zip", ".sha256")


@dataclass(frozen=True)
class _Candidate:
    """A file, with what its name and its first bytes tell of its format and compression."""

    match: Match
    format: str | None
    end: str
    look: Look


def expand(
    patterns: Sequence[str],
    suffixes: Mapping[str, str],
    input_format: str = AUTO,
    option: str = "--input",
    texts: Sequence[str] = (),
) -> tuple[list[InputFile], tuple[str, ...]]:
    """Files that paths, globs and folders name, sorted by path, each once.

    In a folder, files and folders whose names begin with `_` or `.` are passed over, and in folders
    and globs what holds no rows. A file that is named by itself is read or refused.

    Args:
      patterns: paths, globs and folders, on any fsspec URL.
      suffixes: how files' names end, each with the format that it tells.
      input_format: of all files; `auto` goes by names and first bytes, `mixed` allows several.
      option: the option that names the files, for messages.
      texts: the text columns, to tell a row of JSON from an object that holds all rows.

    Returns:
      The files, and a line for each kind of file that is passed over.

    Raises:
      RefusedError: a pattern that nothing matches, a file that is no rows, or files of two formats.
    """
    files: dict[str, InputFile] = {}
    hidden: dict[str, None] = {}
    other: dict[str, None] = {}
    for pattern in patterns:
        found = paths.match(pattern, option)
        chosen = _choose(found.files, suffixes, input_format, f"{option} {pattern}")
        kept = [_described(one, texts) for one in chosen]
        taken = {one.match.real for one in chosen}
        over = [one.inside for one in found.files if one.real not in taken] + found.lost
        if not kept:
            what = _found(over, found.hidden)
            raise RefusedError(f"{option} {pattern}: expected at least one file{what}")
        files = {file.path: file for file in kept} | files
        hidden |= dict.fromkeys(found.hidden)
        other |= dict.fromkeys(over)
    ordered = [files[path] for path in sorted(files)]
    if input_format != MIXED:
        _refuse_several_formats(ordered)
    notes = (
        (hidden, "whose names or folders begin with _ or ."),
        (other, "that hold no rows of the input's format"),
    )
    return ordered, tuple(
        f"passed over {_count(names)} {why} ({_some(names)})" for names, why in notes if names
    )


def _refuse_several_formats(files: Sequence[InputFile]) -> None:
    firsts = {file.format: file.path for file in reversed(files)}
    if len(firsts) > 1:
        shown = " and ".join(f"{kind} ({firsts[kind]})" for kind in sorted(firsts))
        raise RefusedError(
            f"expected input files of one format, found {shown}; name one with --input_format, or "
            f"--input_format {MIXED} to read all of them"
        )


def _found(over: Sequence[str], hidden: Sequence[str]) -> str:
    if not over and not hidden:
        return ", found no match"
    found = f", found {_count(over)} of no known format ({_some(over)})" if over else ", found none"
    begin = f" but {_count(hidden)} whose names or folders begin with _ or . ({_some(hidden)})"
    return found + (begin if hidden else "") + "; say which with --input_format"


def _count(names: Iterable[str]) -> str:
    count = len([*names])
    return f"{count:,} file{'' if count == 1 else 's'}"


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join([*listed[:_SHOWN], *(["..."] if len(listed) > _SHOWN else [])])


def _choose(
    matches: Sequence[Match], suffixes: Mapping[str, str], input_format: str, where: str
) -> list[_Candidate]:
    """The files that are read, with their format."""
    candidates = _candidates(matches, suffixes, where)
    if input_format in (AUTO, MIXED):
        known = [one for one in candidates if _known(one, suffixes)]
    else:
        wanted = JSONL if input_format == JSON else input_format
        known = [replace(one, format=wanted) for one in _of_format(candidates, wanted)]
    # Metadata, as in every download of a data set: one object of JSON beside data. A file of one
    # line beside others of JSON may be a row.
    others = any(one.end != ".json" for one in known)
    rows = others or any(not _one_object(one, json_array.OBJECT) for one in known)
    single = [json_array.OBJECT] * rows + [json_array.ONE_LINE] * others
    known = [one for one in known if one.match.way is Way.NAMED or not _one_object(one, *single)]
    # A file that a folder holds under two names is read once, under the one that tells more.
    telling = sorted(known, key=lambda one: (one.match.way is not Way.NAMED, not one.end))
    once = {one.match.real: one for one in reversed(telling)}
    return [one for one in known if one.match.way is Way.NAMED or one is once[one.match.real]]


def _one_object(one: _Candidate, *shapes: str) -> bool:
    return one.end == ".json" and one.format == JSONL and one.look.shape in shapes


def _known(one: _Candidate, suffixes: Mapping[str, str]) -> bool:
    if one.format is None and one.match.way is Way.NAMED:
        found = one.look.foreign or "none of them"
        raise RefusedError(
            f"{one.match.path}: expected a name that ends in {', '.join(suffixes)} (with "
            f"{', '.join(compression.SUFFIXES)} behind it where it is compressed), found {found}"
            f"{'' if one.look.foreign else '; say which with --input_format'}"
        )
    return one.format is not None


def _of_format(candidates: Sequence[_Candidate], wanted: str) -> list[_Candidate]:
    """Files of a format that the user names: those that are named, or of no other format."""
    named = [one for one in candidates if one.match.way is Way.NAMED]
    told = [one for one in candidates if one.format == wanted and one not in named]
    untold = [
        one
        for one in candidates
        if one.format is None
        and one not in named
        and not one.match.inside.lower().endswith(_PAPER_ENDS)
        and not one.match.inside.rsplit("/", 1)[-1].lower().startswith(_PAPERS)
        # Where names in a folder tell the format, the others hold something else.
        and not (told and one.match.way is Way.FOLDER)
    ]
    return [*named, *told, *untold]


def _candidates(
    matches: Sequence[Match], suffixes: Mapping[str, str], where: str
) -> list[_Candidate]:
    def candidate(match: Match) -> _Candidate:
        kind, end, packed = _told(match.path, suffixes)
        # The footer of a Parquet file is read anyway, and tells more than the first bytes.
        if kind == PARQUET and packed is None and not match.path.startswith("http"):
            return _Candidate(match, kind, end, Look())
        try:
            seen = look(match.path, match.size, packed)
        except Exception as error:
            if kind is None:
                said = " ".join(f"{type(error).__name__}: {error}".split())
                raise RefusedError(
                    f"{where}: expected to read {match.path}, found {said}"
                ) from error
            # Whoever reads it meets the break too, and may be allowed to go on without it.
            seen = Look(packed, forward=match.size is None)
        return _Candidate(match, PARQUET if seen.parquet else kind, end, seen)

    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(candidate, matches))


def _told(path: str, suffixes: Mapping[str, str]) -> tuple[str | None, str, str | None]:
    """What a file's name tells: format, the end that says so, and compression."""
    name = path.partition("::")[0] if "://" in path else path
    if path.startswith(("http://", "https://")):
        name = urlsplit(path).path  # without ?download=true
    name = name.lower()
    end = next((end for end in compression.SUFFIXES if name.endswith(end)), None)
    stem = name.removesuffix(end or "")
    told = next((end for end in suffixes if stem.endswith(end)), "")
    return suffixes.get(told), told, compression.SUFFIXES.get(end or "")


def _described(one: _Candidate, texts: Sequence[str]) -> InputFile:
    match, seen = one.match, one.look
    assert one.format
    if seen.foreign:
        raise RefusedError(f"{match.path}: expected {one.format}, found {seen.foreign}")
    if one.format == PARQUET and seen.forward:
        raise RefusedError(
            f"{match.path}: expected a server that says how long a file is and gives parts of it, "
            "since Parquet is read from its end, found one that does not; download the file first"
        )
    if one.format == JSONL:
        _refuse_objects(one, texts)
    array = one.format == JSONL and seen.shape == json_array.ARRAY
    return InputFile(
        match.path,
        match.size or 0,
        match.modified,
        one.format,
        seen.compression,
        array,
        seen.forward,
    )


def _is_torn_line(seen: Look) -> bool:
    """Whether what begins like an object over several lines is a damaged line ahead of others."""
    whole = not seen.compression and len(seen.head) < HEAD_BYTES
    if whole and not _is_object(seen.head):
        return True
    behind = [line for line in seen.head.split(b"\n")[1:-1] if line.strip()]
    return sum(map(_is_object, behind)) * 2 > len(behind)


def _is_object(data: bytes) -> bool:
    try:
        return bool(json_objects.load_object(data))
    except json_objects.LineError:
        return False


def _refuse_objects(one: _Candidate, texts: Sequence[str]) -> None:
    """Refuses a file that is one object of JSON with all rows in it, or a row over many lines."""
    seen, path = one.look, one.match.path
    inside = json_array.array_inside(seen.head)
    if seen.shape == json_array.ONE_LINE and one.end == ".json" and inside:
        # A row may hold lists, too; then the text stands beside them, or in them.
        roots = [text.split(".")[0] for text in texts]
        if any(f'"{root}"'.encode() in inside[1] or root == inside[0] for root in roots):
            return
    elif seen.shape != json_array.OBJECT or _is_torn_line(seen):
        return
    elif not inside:
        raise RefusedError(
            f"{path}: expected a JSON object on each line, or an array of objects, found an object "
            f"over several lines; `jq -c . {path}` puts each on one line"
        )
    if inside:
        raise RefusedError(
            f"{path}: expected a JSON object on each line, or an array of objects, found one "
            f"object with an array in it; `jq -c '.{inside[0]}[]' {path}` gives the rows as lines"
        )
