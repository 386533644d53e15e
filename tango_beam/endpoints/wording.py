"""What a row's request says, and the label that an answer gives; nothing here asks anybody."""

from __future__ import annotations

import json
import logging
import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tango_beam.endpoints.settings import Endpoint

logger = logging.getLogger(__name__)

# What an answer may be wrapped in: white space, quotes, markdown's asterisks.
NOISE = " \t\r\n\"'`*\u2018\u2019\u201c\u201d«»"
FEW_LOGPROBS = 5
# The schema's place in `response_format`: OpenAI's, and the one that older servers know.
Structure = Literal["json_schema", "json_object"]
_FENCED = re.compile(r"\A```\w*\s*(.*?)\s*```\Z", re.DOTALL)


@dataclass(frozen=True)
class Features:
    """What of a request some servers do not take.

    Attributes:
      structured: type of the `response_format` that brings a JSON schema whose `label` is one of
        the labels; None for no `response_format`.
      logprobs: alternatives to each token that are asked for; 0 for no log probabilities.
      temperature: 0 is asked for in so many words.
      completion_tokens: the answer's length is limited by `max_completion_tokens`, the newer name.
    """

    structured: Structure | None = "json_schema"
    logprobs: int = 20
    temperature: bool = True
    completion_tokens: bool = False

    @property
    def fewer_logprobs(self) -> Features:
        """With the next smaller number of alternatives."""
        return replace(self, logprobs=FEW_LOGPROBS if self.logprobs > FEW_LOGPROBS else 0)

    def plainer(self) -> Iterator[Features]:
        """Requests that ask for less, the best first and the plainest last."""
        structures: dict[Structure | None, None] = dict.fromkeys(
            [self.structured, "json_object", None]
        )
        for structured in structures if self.structured else [None]:
            for logprobs in dict.fromkeys([self.logprobs, self.fewer_logprobs.logprobs, 0]):
                less = replace(self, structured=structured, logprobs=logprobs)
                if less != self:
                    yield less

    def without_named(self, said: str) -> Features:
        """Without the one that a refusal names first; the same where it names none."""
        knows_object = self.structured == "json_schema" and "json_object" in said
        structured: Structure | None = "json_object" if knows_object else None
        ways = {
            r"response_format|json_schema|structured|guided|grammar": replace(
                self, structured=structured
            ),
            r"logprobs": self.fewer_logprobs,
            r"temperature": replace(self, temperature=False),
            # Not the bare name: a context that is too short is said with it as well.
            r"max_completion_tokens\W* instead": replace(self, completion_tokens=True),
        }
        named = (
            (found.start(), less)
            for pattern, less in ways.items()
            if less != self and (found := re.search(pattern, said, re.IGNORECASE))
        )
        return min(named, key=lambda pair: pair[0], default=(0, self))[1]

    def __str__(self) -> str:
        parts = [
            f"output of type {self.structured}" if self.structured else "no structured output",
            f"{self.logprobs} log probabilities a token" if self.logprobs else "no logprobs",
            *([] if self.temperature else ["no temperature"]),
            *(["max_completion_tokens"] if self.completion_tokens else []),
        ]
        return ", ".join(parts)


class Negotiation:
    """Finds out by refusals what a server takes, and remembers it.

    Args:
      name: of the server, for the log.

    Attributes:
      features: those to ask with.
      proven: a request with them was answered; one that is refused is so for its row's sake.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.features = Features()
        self.proven = False

    def works(self, features: Features) -> None:
        """Notes that a request with these was answered."""
        if features == self.features:
            self.proven = True
        elif not self.proven:
            self._settle(features)
            self.proven = True

    def is_refusal(self, said: str, features: Features) -> bool:
        """Whether a server's failure is its way to refuse what it does not take.

        Args:
          said: of the failure.
          features: that the request had.
        """
        named = features.without_named(said) != features
        return named and not (self.proven and features == self.features)

    def has_kept_to_it(self, features: Features, content: str, labels: Sequence[str]) -> bool:
        """Whether an answer has the form that was asked for.

        Some servers take the older form and pass over the schema in it: what comes then is JSON of
        any kind. Asked only until it is known: later, an answer that is no label is its row's.
        """
        if self.proven or features.structured != "json_object":
            return True
        return said_label(content, labels) is not None

    def refused(self, said: str, tried: Sequence[Features]) -> Features | None:
        """What to ask with next.

        Args:
          said: the refusal.
          tried: what this row was asked with so far, the refused one last.

        Returns:
          None where nothing is left to try: the row itself is refused.
        """
        if self.features not in tried:
            return self.features
        if self.proven:
            return None
        named = tried[-1].without_named(said)
        if named not in tried:
            # Believed: else every request under way would find it out for itself.
            self._settle(named)
            return named
        return next((less for less in self.features.plainer() if less not in tried), None)

    def _settle(self, features: Features) -> None:
        self.features = features
        logger.warning(
            "%s: refused a request with more; asked from now on with %s", self._name, self
        )

    def __str__(self) -> str:
        return str(self.features)


def prompt_of(endpoint: Endpoint, row: Sequence[str]) -> str:
    """The prompt with a row's texts in it; braces in a text mean nothing."""
    values = dict(zip(("text", "text_pair"), row, strict=False))
    values["labels"] = ", ".join(endpoint.labels)
    return "".join(
        literal + ("" if field is None else values[field])
        for literal, field, _, _ in string.Formatter().parse(endpoint.prompt)
    )


def request_body(
    endpoint: Endpoint, row: Sequence[str], features: Features, said: str | None = None
) -> dict[str, Any]:
    """The JSON body of one row's request to `/chat/completions`.

    Args:
      endpoint: whom it goes to.
      row: the text, and the second one.
      features: what the server takes.
      said: an earlier answer that was no label; the labels are named once more after it.
    """
    messages = [{"role": "user", "content": prompt_of(endpoint, row)}]
    if said is not None:
        # Some chat templates want turns that alternate, and none that is empty.
        messages.append({"role": "assistant", "content": said[:200].strip() or "-"})
        names = ", ".join(endpoint.labels)
        again = f"Answer with exactly one of these labels, and with nothing else: {names}"
        messages.append({"role": "user", "content": again})
    length = "max_completion_tokens" if features.completion_tokens else "max_tokens"
    body = {"model": endpoint.model, "messages": messages, length: endpoint.max_answer_tokens}
    if features.temperature:
        body["temperature"] = 0
    if features.logprobs:
        body |= {"logprobs": True, "top_logprobs": features.logprobs}
    if features.structured:
        body["response_format"] = _response_format(endpoint.labels, features.structured)
    return body


def _response_format(labels: Sequence[str], structured: Structure) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {"label": {"type": "string", "enum": [*labels]}},
        "required": ["label"],
        "additionalProperties": False,
    }
    if structured == "json_object":
        return {"type": "json_object", "schema": schema}
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": schema},
    }


def said_label(content: str, labels: Sequence[str]) -> str | None:
    """The label that an answer is, `{"label": ...}` or plain; None where it is none.

    White space, quotes, asterisks and a final full stop around it do not matter. Nor does case,
    but where labels differ by nothing else.
    """
    said = _stated(_FENCED.sub(r"\1", content.strip()))
    for same in (str, _bare, lambda text: _bare(text).casefold()):
        found = [label for label in labels if same(label) == same(said)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _stated(text: str) -> str:
    """What `{"label": ...}` holds; the text itself where it is no such thing."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if not isinstance(value, dict) or "label" not in value:
        return text
    return value["label"] if isinstance(value["label"], str) else json.dumps(value["label"])


def _bare(text: str) -> str:
    return text.strip(NOISE).removesuffix(".").strip(NOISE)


def no_label(content: str, labels: Sequence[str], cut: bool = False) -> str:
    """The error of a row whose answer was no label.

    Args:
      content: the answer.
      labels: those that it could have been.
      cut: the answer ended because it had reached `max_answer_tokens`.
    """
    names = ", ".join(labels[:20]) + (f" (and {len(labels) - 20} more)" if len(labels) > 20 else "")
    found = " ".join(content[:200].split())
    way_out = ", cut short: raise max_answer_tokens" if cut else ""
    return f"expected one of the labels {names}, found '{found}'{way_out}"
