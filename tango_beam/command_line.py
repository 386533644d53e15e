"""What the entry points share: unknown options, quiet libraries, exit codes."""

from __future__ import annotations

import argparse
import atexit
import dataclasses
import difflib
import functools
import logging
import os
import shlex
import signal
import sys
import typing
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from tango_beam.errors import Interrupted, JobError, RefusedError

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


class Parser(argparse.ArgumentParser):
    """An argument parser that never guesses an abbreviation and exits with `REFUSED`."""

    def __init__(self, **options: object) -> None:
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **options,  # type: ignore[arg-type]
        )

    def error(self, message: str) -> None:  # type: ignore[override]
        raise RefusedError(message)


def split_beam_arguments(parser: Parser, arguments: Sequence[str]) -> tuple:
    """Parses our own options; what is left goes to Beam, if Beam knows it.

    Beam itself passes over an option that it does not know, so that a misspelt one does nothing.

    Raises:
      RefusedError: an option that neither knows, with the nearest name.
    """
    ours, rest = parser.parse_known_args(arguments)
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
            near = difflib.get_close_matches(name, [*own, *known], n=1, cutoff=0.6)
            hint = f"; did you mean {near[0]}?" if near else "; --help lists them"
            raise RefusedError(f"unknown option {name}{hint}")


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
    """Keeps libraries' chatter off, or lets all of it through."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
        logging.getLogger("tango_beam").setLevel(logging.DEBUG)
        return
    warnings.filterwarnings("ignore")
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    for name in ("apache_beam", "transformers", "root"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.getLogger().setLevel(logging.CRITICAL)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def as_given(module: str, arguments: Sequence[str]) -> str:
    """The command line, for model cards and reports."""
    return f"python -m {module} {shlex.join(arguments)}"


def add_option(
    parser: argparse._ActionsContainer, kind: type, name: str, about: str, **changes: Any
) -> None:
    """Adds `--name` for a field of a dataclass; type, choices and default are the field's.

    An option that is not given stays out of the result, so that the field's own default holds.

    Args:
      parser: gets the option.
      kind: the dataclass.
      name: the field.
      about: the help; the default is put behind it.
      **changes: anything else that argparse takes, `metavar` say.
    """
    (field,) = (field for field in dataclasses.fields(kind) if field.name == name)
    hint = typing.get_type_hints(kind)[name]
    about = about.replace("%", "%%")
    options: dict[str, Any] = {"default": argparse.SUPPRESS, "help": about}
    if field.default is dataclasses.MISSING:
        options["required"] = True
    elif hint is not bool and field.default not in (None, "", ()):
        options["help"] = f"{about} (default: {field.default})"
    # `str | None` takes a str, `tuple[str, ...]` one str each time it is given.
    inner = [part for part in typing.get_args(hint) if part not in (type(None), Ellipsis)]
    if hint is bool:
        options["action"] = "store_true"
    elif typing.get_origin(hint) is typing.Literal:
        options["choices"] = inner
    else:
        options["type"] = inner[0] if inner else hint
        options["metavar"] = {int: "N", float: "X"}.get(options["type"], "NAME")
    if typing.get_origin(hint) is tuple:
        options["action"] = "append"
    parser.add_argument(f"--{name}", **{**options, **changes})


def stated(ours: argparse.Namespace, kind: type) -> dict[str, Any]:
    """The fields of a dataclass that the command line states."""
    given = {name: value for name, value in vars(ours).items() if name in _field_names(kind)}
    return {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}


def _field_names(kind: type) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


def add_reading_arguments(group: argparse._ArgumentGroup) -> None:
    """The options on what is read that classify, calibrate and evaluate share."""
    group.add_argument(
        "--input", action="append", required=True, metavar="GLOB",
        help="file, folder or glob of Parquet or JSONL (.gz, .zst too); local or an fsspec URL; "
        "may be given more than once",
    )  # fmt: skip
    group.add_argument(
        "--input_format", choices=("auto", "parquet", "jsonl"), default="auto",
        help="auto goes by the files' names",
    )  # fmt: skip
    group.add_argument("--text_column", default="text", metavar="NAME")
    group.add_argument(
        "--text_pair_column", metavar="NAME", help="the second text, for tasks on pairs"
    )


def add_tier_arguments(group: argparse._ArgumentGroup) -> None:
    """The options on the cascade, and on where and how it computes, that they share."""
    group.add_argument(
        "--cascade", default="sst2", metavar="DIR-or-name",
        help="cascade directory or embedded cascade (default: sst2, sentiment of sentences)",
    )  # fmt: skip
    group.add_argument("--max_length", type=int, metavar="TOKENS", help="read no more of a text")
    group.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    group.add_argument(
        "--precision", choices=("auto", "bf16", "fp32", "int8"), default="auto",
        help="auto is each tier's own where it states one (pipelines.tune), else bf16 where the "
        "hardware computes in it natively; int8 is for transformers on a processor",
    )  # fmt: skip


def add_pair_arguments(group: argparse._ArgumentGroup, about_threshold: str) -> None:
    """The options that make a cascade of any two checkpoints."""
    group.add_argument(
        "--first_tier", metavar="PATH-or-hub-id",
        help="with --second_tier: a cascade of any two checkpoints",
    )  # fmt: skip
    group.add_argument("--second_tier", metavar="PATH-or-hub-id")
    group.add_argument("--threshold", type=float, metavar="0..1", help=about_threshold)


def add_data_options(parser: argparse.ArgumentParser, kind: type) -> None:
    """The options on data that fine-tuning and distillation share.

    Args:
      parser: gets them.
      kind: a dataclass of `training.settings` that extends `TrainingFiles`.
    """
    add = functools.partial(add_option, parser, kind)
    add("train", "texts and labels", metavar="PARQUET")
    add("output", "empty, or not there yet", metavar="DIR")
    add("dev", "labelled too; scored once, at the end, to report", metavar="PARQUET")
    add("text_column", "of every file")
    add("label_column", "of --train and --dev")
    add("held_out", "whole sentences to set aside, with every row inside one of them")
    add("held_out_seed", "the same sentences for the same seed")
    add("store", "precision of the weights on disk")


def talk(name: str) -> None:
    """Lets one of our own loggers through: long work says how far it is, on standard error."""
    logger = logging.getLogger(name)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def run_main(main: Callable[[], int]) -> None:
    """Runs an entry point and exits: errors for people, codes for scripts."""
    try:
        code = main()
    except RefusedError as error:
        print(f"refused: {error}", file=sys.stderr)
        code = REFUSED
    except JobError as error:
        print(f"failed: {error}", file=sys.stderr)
        code = FAILED
    except (OSError, ValueError) as error:
        logging.getLogger(__name__).debug("failed", exc_info=error)
        print(f"failed: {error}", file=sys.stderr)
        code = FAILED
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except Interrupted as error:
        name = signal.Signals(error.signum).name
        print(f"stopped by {name}; the output is not complete", file=sys.stderr)
        code = 128 + error.signum
    # A pipeline that was abandoned goes on in its thread; it ends with the process.
    leave(code)


def leave(code: int) -> None:
    """Ends the process now, threads of a pipeline that is being abandoned included."""
    # Beam stops the runners that it started (Prism, a Flink job server) when the process exits.
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
