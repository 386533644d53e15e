"""Options made from a dataclass: its types, its choices, its defaults."""

from dataclasses import dataclass
from typing import Literal

import pytest

from pipelines import distill, finetune
from tango_beam.command_line import Parser, add_option, stated
from tango_beam.errors import RefusedError
from tango_beam.models.bilstm_config import BiLSTMConfig
from tango_beam.training.settings import DistillConfig, FinetuneConfig


@dataclass(frozen=True)
class Order:
    dish: str
    size: int = 2
    price: float = 0.5
    sauce: str | None = None
    sides: tuple[str, ...] = ()
    to_go: bool = False
    heat: Literal["mild", "hot"] = "mild"


@pytest.fixture
def orders():
    parser = Parser(prog="order")
    for name in Order.__dataclass_fields__:
        add_option(parser, Order, name, f"the {name}, 100 % of it")
    return parser


def order(parser, *arguments):
    return Order(**stated(parser.parse_args(arguments), Order))


def test_an_option_that_is_not_given_has_the_fields_default(orders):
    assert order(orders, "--dish", "soup") == Order("soup")


def test_values_have_the_fields_types(orders):
    found = order(
        orders, "--dish", "soup", "--size", "3", "--price", "2", "--sauce", "none", "--sides", "a",
        "--sides", "b", "--to_go", "--heat", "hot",
    )  # fmt: skip
    assert found == Order("soup", 3, 2.0, "none", ("a", "b"), True, "hot")


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
    assert f"(default: {FinetuneConfig.learning_rate})" in fine
    small = " ".join(distill.parser().format_help().split())
    assert f"LSTM layers (default: {BiLSTMConfig.hidden_size})" in small
    assert f"passes over all texts (default: {DistillConfig.epochs})" in small
