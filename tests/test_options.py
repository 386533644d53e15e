"""Options made from a dataclass: its types, its choices, its defaults."""

from dataclasses import dataclass
from typing import Literal

import pytest

from pipelines import distill, finetune
from tango_beam.command_line import names_of, option, options_of, parser_of
from tango_beam.errors import RefusedError
from tango_beam.models.bilstm_config import BiLSTMConfig
from tango_beam.options import refuse_outside
from tango_beam.training.distill_options import DistillOptions
from tango_beam.training.finetune_options import FinetuneOptions


@dataclass(frozen=True)
class Order:
    dish: str = option("the dish, 100 % of it")
    size: int = option("the size, 100 % of it", 2, resumed="free")
    price: float = option("the price", 0.5)
    sauce: str | None = option("the sauce, 100 % of it", None)
    sides: tuple[str, ...] = option("the sides", ())
    to_go: bool = option("the to_go", False)
    plate: bool = option("no plate", True)
    heat: Literal["mild", "hot"] = option("the heat", "mild", group="taste")
    spices: tuple[str, ...] | None = option("A,B", None, separator=",", group="taste")
    drinks: tuple[str, ...] | None = option("the drinks", None, metavar="DRINK", group="taste")
    tip: float = 0.1


@pytest.fixture
def orders():
    return parser_of(Order, "order", "Orders a dish.")


def order(parser, *arguments):
    return options_of(Order, parser.parse_args(arguments))


def test_an_option_that_is_not_given_has_the_fields_default(orders):
    assert order(orders, "--dish", "soup") == Order("soup")


def test_values_have_the_fields_types(orders):
    given = "--dish soup --size 3 --price 2 --sauce none --sides a --sides b --to_go --heat hot"
    expected = Order("soup", 3, 2.0, "none", ("a", "b"), to_go=True, heat="hot")
    assert order(orders, *given.split()) == expected


def test_a_switch_that_is_on_can_be_turned_off(orders):
    assert order(orders, "--dish", "a", "--no_plate") == Order("a", plate=False)


def test_several_values_come_in_one_argument_where_there_is_a_separator(orders):
    assert order(orders, "--dish", "a", "--spices", "x,,y").spices == ("x", "y")


def test_several_values_that_may_be_none_are_given_one_by_one(orders):
    assert order(orders, "--dish", "a").drinks is None
    assert order(orders, "--dish", "a", "--drinks", "x", "--drinks", "y").drinks == ("x", "y")


def test_options_stand_in_their_groups_and_other_fields_are_none(orders):
    text = orders.format_help().partition("options:")[2]
    assert text.index("--sauce NAME") < text.index("taste:")
    assert text.index("taste:") < text.index("--heat {mild,hot}")
    assert text.index("--heat {mild,hot}") < text.index("--drinks DRINK")
    assert "--tip" not in text and "--verbose" in text
    assert names_of(Order, "free") == {"size"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: --dish"),
        (["--dish", "a", "--size", "big"], "--size: invalid int value: 'big'"),
        (["--dish", "a", "--heat", "cold"], r"--heat: invalid choice: 'cold'.*mild.*hot"),
    ],
)
def test_what_does_not_fit_the_field_is_refused(orders, arguments, message):
    with pytest.raises(RefusedError, match=message):
        order(orders, *arguments)


def test_the_help_shows_the_default(orders):
    text = " ".join(orders.format_help().split())
    assert "--size N the size, 100 % of it (default: 2)" in text
    assert "the sauce, 100 % of it --sides" in text


def test_the_entry_points_show_the_dataclasses_defaults():
    fine = " ".join(finetune.parser().format_help().split())
    assert f"tokens read of a text (default: {FinetuneOptions.max_length})" in fine
    small = " ".join(distill.parser().format_help().split())
    assert f"LSTM layers (tinybert: width, 312) (default: {BiLSTMConfig.hidden_size})" in small
    assert f"logits (spans, tinybert: 3) (default: {DistillOptions.epochs})" in small


@pytest.mark.parametrize(
    ("size", "bounds", "message"),
    [
        (0, {}, "--size: expected at least 1, found 0"),
        (1, {"above": True}, "--size: expected above 1, found 1"),
        (5, {"under": 5}, "--size: expected at least 1 and under 5, found 5"),
        (float("nan"), {}, "--size: expected at least 1, found nan"),
    ],
)
def test_numbers_outside_their_bounds_are_refused(size, bounds, message):
    with pytest.raises(RefusedError, match=message):
        refuse_outside(Order("a", size), 1, "size", **bounds)
    refuse_outside(Order("a", 2), 1, "size", "sauce", **bounds)


def test_an_option_that_is_given_as_it_is_by_default_is_not_taken_for_one_that_is_not_given():
    given = ["--teacher", "a", "--train", "b", "--output", "c", "--batch_size", "128"]
    options = options_of(DistillOptions, distill.parser().parse_args(given))
    assert options.usual(batch_size=1024, epochs=9) == {"batch_size": 128, "epochs": 9}
