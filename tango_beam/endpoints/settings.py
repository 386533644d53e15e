"""An endpoint as a value: what moves its answers, and what only limits how they are asked for."""

from __future__ import annotations

import hashlib
import json
import string
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from tango_beam.errors import RefusedError

SCHEME = "openai:"
FIELDS = ("text", "text_pair", "labels")


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible endpoint that labels texts: all that moves an answer.

    Attributes:
      url: the API's base, such as `http://localhost:8000/v1`; `/chat/completions` is put behind it.
      model: its name there.
      prompt: what is sent, with `{text}`, `{text_pair}` and `{labels}` where those belong; a brace
        that is meant is doubled.
      labels: the answers that it may give, in the order of the outputs.
      max_answer_tokens: tokens that an answer may take.
    """

    url: str
    model: str
    prompt: str
    labels: tuple[str, ...]
    max_answer_tokens: int = 64

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            self._refuse(f"a URL of http or https, found {parts.scheme or 'none'}")
        if "@" in parts.netloc or parts.query or parts.fragment:
            # Not shown: a key may be in it.
            raise RefusedError(
                f"{SCHEME}{parts.scheme}://{parts.hostname}: expected a URL without user, password "
                "or parameters, found one with them; a key comes from the environment only"
            )
        if not self.model:
            self._refuse("the name of a model (--model), found none")
        if len(self.labels) < 2 or len({*self.labels}) < len(self.labels):
            self._refuse(f"at least two labels, each once (--labels), found {[*self.labels]}")
        if self.max_answer_tokens < 1:
            self._refuse(f"max_answer_tokens of at least 1, found {self.max_answer_tokens}")
        if "text" not in self.fields:
            self._refuse("a prompt with {text} in it, found none")
        unknown = sorted(self.fields - {*FIELDS})
        if unknown:
            self._refuse(f"a prompt with {{text}}, {{text_pair}} and {{labels}}, found {unknown}")

    @property
    def fields(self) -> set[str]:
        """What stands in braces in the prompt."""
        try:
            parsed = [*string.Formatter().parse(self.prompt)]
        except ValueError as error:
            raise RefusedError(
                f"{self.name}: expected a prompt whose braces close, or are doubled where they are "
                f"meant, found: {error}"
            ) from error
        for _, field, form, conversion in parsed:
            if form or conversion:
                self._refuse(f"{{{field}}} as it is, found it with a form of its own")
        return {field for _, field, _, _ in parsed if field is not None}

    @property
    def pair(self) -> bool:
        """Whether it reads two texts."""
        return "text_pair" in self.fields

    @property
    def name(self) -> str:
        """As it is written in an option, a file and a message."""
        return SCHEME + self.url.rstrip("/")

    @property
    def fingerprint(self) -> str:
        """Hash of all that moves an answer and that can be known from outside, hex."""
        stated = {**asdict(self), "url": self.url.rstrip("/")}
        return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()

    def _refuse(self, complaint: str) -> None:
        raise RefusedError(f"{self.name}: expected {complaint}")


@dataclass(frozen=True)
class Limits:
    """How an endpoint may be asked; none of it moves an answer.

    Attributes:
      requests: under way at once, in this process.
      tokens_a_minute: prompts and answers together, in this process; None for as many as it takes.
      tries: of one row, after failures of the server (429, 5xx, a cut or stalled connection).
      timeout: seconds that one reply may take.
      patience: seconds without any reply of use to anybody, after which the server is given up.
    """

    requests: int = 16
    tokens_a_minute: int | None = None
    tries: int = 10
    timeout: float = 120.0
    patience: float = 120.0

    def __post_init__(self) -> None:
        for name in ("requests", "tries", "timeout", "patience", "tokens_a_minute"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise RefusedError(f"{name} of an endpoint: expected more than 0, found {value}")
