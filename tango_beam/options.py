"""The options that commands share, as the dataclasses from which their command lines are made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal

from tango_beam.command_line import option
from tango_beam.errors import RefusedError

# Input that is read, scored and stored at a time.
CHECKPOINT_BYTES = 32 << 20

InputFormat = Literal["auto", "parquet", "jsonl", "json", "csv", "mixed"]

_cascade = partial(option, group="cascade")
_endpoint = partial(option, group="endpoint (openai:URL)")
_reading = partial(option, group="reading")


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """What is read."""

    input: tuple[str, ...] = _reading(
        "file, folder or glob of Parquet, CSV, TSV or JSON (lines, or an array), compressed too; "
        "local or an fsspec URL; may be given more than once",
        metavar="GLOB",
        resumed="spelled",
    )
    input_format: InputFormat = _reading(  # noqa: RUF009 - a field
        "auto goes by the files' names and first bytes, and takes one format; a name takes such "
        "files only (jsonl and json: lines or an array); mixed takes all formats",
        "auto",
    )
    text_column: str = _reading(
        "the text; doc.text and messages.0.content lead into structs and lists", "text"
    )
    text_pair_column: str | None = _reading("the second text, for tasks on pairs", None)

    @property
    def text_columns(self) -> tuple[str, ...]:
        """One column, or two for pairs."""
        pair = (self.text_pair_column,) if self.text_pair_column else ()
        return (self.text_column, *pair)


@dataclass(frozen=True, kw_only=True)
class AnswerOptions:
    """What kind of answer is wanted, and where and how models compute."""

    task: Literal["labels", "multi_label", "score", "span"] | None = _cascade(
        "kind of answer (default: what the checkpoints say): one of several labels, any number of "
        "them, a number, or a span of the context in --text_pair_column",
        None,
    )
    cuts: tuple[float, ...] | None = _cascade(
        "score: what it must reach, ascending; multi_label: the probability from which on a label "
        "is given, one for all or one for each (default: 0.5)",
        None,
        metavar="X,Y",
        separator=",",
    )
    tolerance: float | None = _cascade(
        "score: two agree that differ by no more (default: those of one bucket)", None
    )
    no_answer: bool = _cascade("span: a context may hold no answer, which is then empty", False)
    stride: int | None = _cascade(
        "span: tokens that neighbouring windows of a long context share (default: a third)",
        None,
        metavar="TOKENS",
    )
    max_length: int | None = _cascade(
        "read no more of a text; span: tokens in a window (default: 384)", None, metavar="TOKENS"
    )
    device: Literal["auto", "cpu", "cuda"] = _cascade(
        "where the models compute", "auto", resumed="spelled"
    )
    precision: Literal["auto", "bf16", "fp32", "int8"] = _cascade(
        "auto is each tier's own where it states one (pipelines.tune), else bf16 where the "
        "hardware computes in it natively; int8 is for transformers on a processor",
        "auto",
    )


@dataclass(frozen=True, kw_only=True)
class CascadeOptions(AnswerOptions):
    """The cascade, and where and how it computes."""

    cascade: str = _cascade(
        "cascade directory or embedded cascade (sst2: sentiment of sentences)",
        "sst2",
        metavar="DIR-or-name",
        resumed="spelled",
    )
    exit_threshold: float | None = _cascade(
        "a row leaves the last tier at the first of its exits (distill --student exits) whose "
        "confidence, 1 - entropy / log(labels), reaches it; 1: none does (default: the cascade's)",
        None,
        metavar="0..1",
    )


@dataclass(frozen=True, kw_only=True)
class TierOptions(CascadeOptions):
    """A cascade directory, or any two tiers."""

    first_tier: str | None = _cascade(
        "with --second_tier: a cascade of any two tiers",
        None,
        metavar="PATH-or-hub-id",
        resumed="spelled",
    )
    second_tier: str | None = _cascade(
        "with --first_tier: answers the rows that are escalated; openai:URL asks an endpoint that "
        "speaks OpenAI's protocol, handler:package.module:function a ModelHandler of Beam's",
        None,
        metavar="PATH-or-hub-id",
        resumed="spelled",
    )
    threshold: float | None = _cascade(
        "first-tier confidence under which a row is escalated; 0: first tier only, 1: second tier "
        "only (default: the cascade's own)",
        None,
        metavar="0..1",
    )

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise RefusedError(f"--threshold: expected 0 to 1, found {self.threshold}")


@dataclass(frozen=True, kw_only=True)
class AskingOptions:
    """How an endpoint is asked; its key comes from the environment alone (`OPENAI_API_KEY`)."""

    requests: int = _endpoint("under way at once, over all workers", 16, resumed="free")
    tokens_a_minute: int | None = _endpoint(
        "prompts and answers together, over all workers", None, resumed="free"
    )
    patience: float = _endpoint(
        "seconds without any reply of use, after which the run ends; --resume goes on with it",
        120.0,
        resumed="free",
    )
    answers_cache: str | None = _endpoint(
        "folder of answers, kept as they come: what lies there is not asked for again, by any run",
        None,
        metavar="DIR",
        resumed="free",
    )
    price_in: float | None = _endpoint(
        "of a million tokens of prompts: then the run says what was spent",
        None,
        metavar="PRICE",
        resumed="spelled",
    )
    price_out: float | None = _endpoint(
        "of a million tokens of answers", None, metavar="PRICE", resumed="spelled"
    )

    def __post_init__(self) -> None:
        refuse_outside(self, 1, "requests", "tokens_a_minute")
        refuse_outside(self, 0, "price_in", "price_out")
        refuse_outside(self, 0, "patience", above=True)


@dataclass(frozen=True, kw_only=True)
class EndpointOptions(AskingOptions):
    """What an endpoint is asked that no cascade directory describes."""

    model: str | None = _endpoint("its name there", None, resumed="spelled")
    prompt: str | None = _endpoint(
        "a text with {text}, {text_pair} and {labels} where those belong; a brace that is meant is "
        "doubled",
        None,
        metavar="FILE",
        resumed="spelled",
    )
    labels: tuple[str, ...] = _endpoint(
        "the answers that it may give (default: the first tier's)",
        (),
        metavar="A,B",
        separator=",",
        resumed="spelled",
    )


def refuse_outside(
    options: object, least: float, *names: str, under: float = math.inf, above: bool = False
) -> None:
    """Raises RefusedError for the first of some numbers that is too small or too large.

    Args:
      options: a dataclass whose fields are options.
      least: the smallest number allowed.
      names: the fields; one that is None passes.
      under: a number that they must stay under.
      above: numbers must be larger than `least`, and not equal to it.
    """
    for name in names:
        value = getattr(options, name)
        if value is None or ((value > least if above else value >= least) and value < under):
            continue
        limit = "" if under == math.inf else f" and under {under}"
        kind = "above" if above else "at least"
        raise RefusedError(f"--{name}: expected {kind} {least}{limit}, found {value}")
