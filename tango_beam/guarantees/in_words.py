"""A promise in words, as pages and terminals say it."""

from __future__ import annotations

from tango_beam.guarantees.certificate import Guarantee

# What is promised, and what the rows that tested it showed.
_SAID = {
    "agreement": (
        "on at least {value} of all rows the cascade gives the second tier's answer",
        "{errors} of {rows} rows that nobody had looked at have another answer than the second "
        "tier's",
    ),
    "recall": (
        "of the rows that the second tier calls {label}, the cascade calls at least {value} so",
        "of {rows} such rows that nobody had looked at, it calls {errors} otherwise",
    ),
    "precision": (
        "of the rows that the cascade calls {label}, the second tier calls at least {value} so",
        "of {rows} such rows that nobody had looked at, it calls {errors} otherwise",
    ),
    "escalation": (
        "at most {value} of all rows go on to the second tier",
        "{errors} of {rows} rows that nobody had looked at went on",
    ),
}
_OTHER = (
    "the cascade has {goal} of at least {value}",
    "{errors} of {rows} rows that nobody had looked at count against it",
)


def sentence(one: Guarantee) -> str:
    """A promise, and what the rows that tested it showed.

    Args:
      one: with its counts.
    """
    what, found = (
        text.format(
            value=f"{100 * one.value:.4g} %",
            label=one.label,
            goal=one.goal.replace("_", " "),
            errors=f"{one.errors:,}",
            rows=f"{one.rows:,}",
        )
        for text in _SAID.get(one.goal, _OTHER)
    )
    return f"We are {100 * (1 - one.delta):.6g} % sure that {what}: {found} ({one.method} test)."
