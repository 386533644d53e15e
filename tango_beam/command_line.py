"""What the entry points share: unknown options, quiet libraries, exit codes."""

from __future__ import annotations

import argparse
import atexit
import dataclasses
import difflib
import importlib.metadata
import logging
import os
import re
import shlex
import signal
import sys
import traceback
import typing
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tango_beam import logs
from tango_beam.errors import Interrupted, JobError, RefusedError

T = TypeVar("T")

DONE, FAILED, REFUSED, TOO_MANY_DEAD = 0, 1, 2, 3
ALARM, NOT_SIGNED = 4, 5

EXIT_CODES = f"""exit codes:
  {DONE}    complete: _manifest.json is there, every input row is accounted for
  {FAILED}    the job failed midway; there is no manifest
  {REFUSED}    refused before any work: an option, the input or the output is not as it must be
  {TOO_MANY_DEAD}    more dead rows than --max_dead_fraction allows; _failure.json says which
  {ALARM}    complete, but the audit contradicts the cascade's certificate; the output stands
  130  stopped by Ctrl-C (SIGINT)
  143  stopped by SIGTERM
"""


class _Version(argparse.Action):
    """Prints the version; it is looked up when it is asked for."""

    def __init__(self, **options: Any) -> None:
        super().__init__(nargs=0, default=argparse.SUPPRESS, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(version())
        parser.exit()


def version() -> str:
    """Name and version of this package, as it is installed."""
    return f"tango-beam {importlib.metadata.version('tango-beam')}"


class Parser(argparse.ArgumentParser):
    """An argument parser that never guesses an abbreviation and exits with `REFUSED`."""

    def __init__(self, **options: object) -> None:
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **options,  # type: ignore[arg-type]
        )
        self.add_argument("--version", action=_Version, help="show the version and end")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        given = sys.argv[1:] if args is None else args
        logs.use(logs.format_in(given))
        return super().parse_known_args(args, namespace)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        ours, rest = self.parse_known_args(args, namespace)
        refuse_unquoted(ours, rest)
        if rest:
            raise _unknown(rest[0], _names(self))
        return ours

    def error(self, message: str) -> None:  # type: ignore[override]
        raise RefusedError(message)


class Size(int):
    """A number of bytes, as `512MB`, `64MiB` or plain digits say it."""

    def __new__(cls, given: str | int) -> Size:
        """Reads what is given.

        Raises:
          argparse.ArgumentTypeError: it is no size.
        """
        if isinstance(given, int):
            return super().__new__(cls, given)
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?)b)?", given.strip().lower())
        if not found:
            raise argparse.ArgumentTypeError(
                f"expected bytes, such as 512MB, 64MiB or 1000000, found {given!r}"
            )
        number, unit, binary = found.groups()
        power = "kmgt".index(unit) + 1 if unit else 0
        return super().__new__(cls, round(float(number) * (1024 if binary else 1000) ** power))


def split_beam_arguments(parser: Parser, arguments: Sequence[str]) -> tuple:
    """Parses our own options; what is left goes to Beam, if Beam knows it.

    Beam itself passes over an option that it does not know, so that a misspelt one does nothing.

    Raises:
      RefusedError: an option that neither knows, with the nearest name.
    """
    ours, rest = parser.parse_known_args(arguments)
    refuse_unquoted(ours, rest)
    refuse_unknown(rest, _names(parser))
    return ours, rest


def refuse_unknown(arguments: Sequence[str], own: Sequence[str]) -> None:
    """Raises RefusedError for the first argument that Beam has no option for."""
    if not arguments:
        return
    known = beam_options()
    expects_value = False
    for argument in arguments:
        name = argument.split("=", 1)[0]
        if name in known:
            expects_value = "=" not in argument
        elif argument.startswith("--") or not expects_value:
            raise _unknown(name, [*own, *known])


def _unknown(argument: str, known: Sequence[str]) -> RefusedError:
    name = argument.split("=", 1)[0]
    return RefusedError(f"unknown option {name}{nearest(name, known) or '; --help lists them'}")


def nearest(name: str, known: Sequence[str]) -> str:
    """The question after the nearest of some names; empty where none is near."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def refuse_unquoted(ours: argparse.Namespace, rest: Sequence[str]) -> None:
    """Raises RefusedError where the shell has made several files of a glob behind --input."""
    given = [Path(one) for one in getattr(ours, "input", None) or []]
    folders = {one.parent for one in given}
    # What follows an option may be its value.
    alone = [one for before, one in zip(["", *rest], rest, strict=False) if before[:1] != "-"]
    more = [one for one in map(Path, alone) if one.parent in folders and one.exists()]
    if not more:
        return
    last = more[-1]
    names = [one.name for one in (*given, *more) if one.parent == last.parent]
    pattern = last.with_name(f"*{last.suffix}")
    raise RefusedError(
        f"--input: expected one file, folder or glob, found {len(names)} files behind it, from "
        f"{names[0]} to {names[-1]}; put the pattern into quotes ('{pattern}'), or repeat --input"
    )


def beam_options() -> set[str]:
    """Every option that Beam's installed runners know."""
    from apache_beam.options.pipeline_options import PipelineOptions

    parser = argparse.ArgumentParser(add_help=False, conflict_handler="resolve")
    pending = [PipelineOptions]
    while pending:
        options = pending.pop()
        pending += options.__subclasses__()
        if "_add_argparse_args" in options.__dict__:
            options._add_argparse_args(parser)
    return set(_names(parser))


def _names(parser: argparse.ArgumentParser) -> list[str]:
    return [name for action in parser._actions for name in action.option_strings]


def quiet(verbose: bool) -> None:
    """Keeps libraries' messages off, or lets all of them through; our own warnings are shown."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    if verbose:
        _begin(logging.INFO, "%(asctime)s %(name)s: %(message)s")
        logging.getLogger("tango_beam").setLevel(logging.DEBUG)
        return
    warnings.filterwarnings("ignore")
    _begin(logging.CRITICAL, "%(message)s")
    for name in ("apache_beam", "transformers", "root"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # Our own warnings are for people: a lease that is not renewed, a file that is fetched again.
    logging.getLogger("tango_beam").setLevel(logging.WARNING)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # A request that is tried again is told by its end.
    os.environ.setdefault("HF_HUB_VERBOSITY", "critical")


def _begin(level: int, text: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logs.Lines(text))
    logging.basicConfig(level=level, handlers=[handler])


def as_given(module: str, arguments: Sequence[str]) -> str:
    """The command line, for model cards and reports."""
    return f"python -m {module} {shlex.join(arguments)}"


def option(
    about: str,
    default: Any = dataclasses.MISSING,
    *,
    metavar: str | None = None,
    group: str = "",
    separator: str | None = None,
    resumed: str = "same",
    positional: bool = False,
) -> Any:
    """A field of an options dataclass, with what its command line says of it.

    Args:
      about: the help; the default is put behind it.
      default: none for an option that must be given.
      metavar: what the help calls the value.
      group: title under which the help lists it.
      separator: between the values of a tuple that is given as one argument.
      resumed: how it may differ where a run is resumed: `same`, not at all; `spelled`, as it likes
        if it stands for the same; `free`, as it likes.
      positional: it is given by its place, without a name.
    """
    said = {"about": about, "metavar": metavar, "group": group, "separator": separator}
    more = {"resumed": resumed, "positional": positional}
    return dataclasses.field(default=default, metadata={**said, **more})


def names_of(kind: type, resumed: str) -> set[str]:
    """Names of the options that may differ in such a way where a run is resumed."""
    return {
        field.name for field in dataclasses.fields(kind) if field.metadata.get("resumed") == resumed
    }


def parser_of(kind: type, module: str, description: str, epilog: str = "") -> Parser:
    """The command line of an options dataclass: an option for every field that `option` made.

    An option that is not given stays out of the result, so that the field's own default holds.

    Args:
      kind: the dataclass.
      module: the entry point, `pipelines.classify` say.
      description: stands above the options.
      epilog: stands below them.
    """
    parser = Parser(prog=module, description=description, epilog=epilog)
    groups: dict[str, argparse._ActionsContainer] = {"": parser}
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if "about" not in field.metadata:
            continue
        title = field.metadata["group"]
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        _add_option(groups[title], field, hints[field.name])
    add_talk(parser)
    return parser


def add_talk(parser: Parser) -> None:
    """Adds what every command has: how much is said on standard error, and in which form."""
    parser.add_argument("--verbose", action="store_true", help="let Beam and the models talk")
    parser.add_argument(
        "--log_format",
        choices=logs.FORMATS,
        default=logs.FORMATS[0],
        help="of standard error; json: an object a line, with time, level, message, and figures as "
        "fields (default: text)",
    )


def _add_option(parser: argparse._ActionsContainer, field: dataclasses.Field, hint: Any) -> None:
    about = field.metadata["about"].replace("%", "%%")
    options: dict[str, Any] = {"default": argparse.SUPPRESS, "help": about}
    if field.default is dataclasses.MISSING:
        options["required"] = True
    elif hint is not bool and field.default not in (None, "", ()):
        default = field.default
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
        options["help"] = f"{about} (default: {shown})"
    if hint is bool:
        no = "no_" * bool(field.default)
        action = "store_false" if no else "store_true"
        parser.add_argument(f"--{no}{field.name}", action=action, dest=field.name, **options)
        return
    # `str | None` takes a str, `tuple[str, ...]` one str each time it is given.
    kinds = _inner(hint)
    if typing.Literal in (typing.get_origin(hint), *map(typing.get_origin, kinds)):
        options["choices"] = [
            choice for kind in kinds for choice in typing.get_args(kind) or [kind]
        ]
    else:
        options["type"] = kinds[0]
        usual = {int: "N", float: "X"}.get(options["type"], "NAME")
        options["metavar"] = field.metadata["metavar"] or usual
    separator = field.metadata["separator"]
    if separator:
        options["type"] = lambda given: tuple(
            kinds[0](one) for one in given.split(separator) if one
        )
    elif tuple in (typing.get_origin(hint), *map(typing.get_origin, typing.get_args(hint))):
        options["action"] = "append"
    if field.metadata["positional"]:
        parser.add_argument(field.name, metavar=field.name.upper(), help=about)
        return
    parser.add_argument(f"--{field.name}", **options)


def _inner(hint: Any) -> list[Any]:
    """The types within a hint: `str` of `tuple[str, ...] | None`."""
    parts = [part for part in typing.get_args(hint) if part not in (type(None), Ellipsis)]
    if not parts:
        return [hint]
    if len(parts) == 1 and typing.get_origin(parts[0]) is tuple:
        return _inner(parts[0])
    return parts


def options_of(kind: type[T], ours: argparse.Namespace) -> T:
    """The options dataclass that a command line states.

    A field `stated` gets the names of the options that were given.

    Raises:
      RefusedError: a value that the dataclass refuses.
    """
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    given = {name: value for name, value in vars(ours).items() if name in names}
    if "stated" in names:
        given["stated"] = sorted(given)
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in given.items()})


def talk(name: str, but: Sequence[str] = ()) -> None:
    """Lets one of our own loggers through: long work says how far it is, on standard error.

    Args:
      name: of the logger.
      but: loggers below it that stay silent.
    """
    logger = logging.getLogger(name)
    handler = logging.StreamHandler()
    handler.addFilter(lambda record: record.name not in but)
    handler.setFormatter(logs.Lines())
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def run_main(main: Callable[[], int]) -> None:
    """Runs an entry point and exits: errors for people, codes for scripts."""
    try:
        code = main()
    except RefusedError as error:
        code = _failed(f"refused: {error}", REFUSED)
    except JobError as error:
        code = _failed(f"failed: {error}", FAILED)
    except (OSError, ValueError) as error:
        logging.getLogger(__name__).debug("failed", exc_info=error)
        code = _failed(f"failed: {error}", FAILED)
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
        if logs.is_json():
            _failed("stopped by SIGINT", code)
    except Interrupted as error:
        name = signal.Signals(error.signum).name
        told = f"stopped by {name}; the output is not complete; --resume goes on with it"
        code = _failed(told, 128 + error.signum)
    except Exception as error:
        # A mistake of ours: people get Python's own traceback, a collector one line of it.
        if not logs.is_json():
            raise
        trace = "".join(traceback.format_exception(error))
        code = _failed(f"failed: {error!r}", FAILED, traceback=trace)
    # A pipeline that was abandoned goes on in its thread; it ends with the process.
    leave(code)


def _failed(message: str, code: int, **fields: Any) -> int:
    logs.say(message, {"exit_code": int(code), **fields}, level="ERROR")
    return code


def leave(code: int) -> None:
    """Ends the process now, threads of a pipeline that is being abandoned included."""
    # Beam stops the runners that it started (Prism, a Flink job server) when the process exits.
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
