"""What `handler:package.module:function` names: found, called and checked; no model is loaded.

Nothing of Beam is imported here: the user's function brings it in.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, NoReturn

from tango_beam.checkpoint_files import HANDLER
from tango_beam.errors import RefusedError

Said = str | Mapping[str, float] | Sequence[float]


@dataclass(frozen=True)
class HandlerTier:
    """What the function returns: a ModelHandler, and how its predictions are read.

    A tuple with the same in the same order will do.

    Attributes:
      handler: an `apache_beam.ml.inference.base.ModelHandler` with one model, over texts: str, or
        tuples of two str where a row has two texts. Its functions from `with_preprocess_fn` may
        make of those what the model reads. A KeyedModelHandler or a MaybeKeyedModelHandler, and
        with it the functions around it, is given tuples of a key and the above. Predictions come in
        the order of the rows.
      read: is given one prediction as RunInference would hand it on (behind the functions from
        `with_postprocess_fn`; without its key), often a `PredictionResult`. Returns a label, whose
        probability is 1 then; or a mapping of labels to probabilities, 0 where one is missing; or
        the probabilities in the order of `labels`.
      labels: the answers that it may give. None for those of the cascade (`--labels`), whose order
        is not the handler's: `read` then returns labels or mappings.
      inference_args: as `RunInference` takes them.
    """

    handler: Any
    read: Callable[[Any], Said]
    labels: tuple[str, ...] | None = None
    inference_args: Mapping[str, Any] | None = None


def tier_of(name: str) -> HandlerTier:
    """Calls the function that a name stands for; no model is loaded.

    Raises:
      RefusedError: a module or a function that is not there, or that returns something else; a
        handler that asks a server, is asynchronous, or has a model for each key.
    """
    function = _function(name)
    try:
        made = function()
    except Exception as error:
        raise RefusedError(
            f"{name}: expected a function without arguments that returns a HandlerTier, found "
            f"{type(error).__name__}: {error}"
        ) from error
    if type(made) is tuple and 2 <= len(made) <= 4:
        made = HandlerTier(*made)
    if not isinstance(made, HandlerTier):
        refuse(name, f"a HandlerTier, or a tuple of its attributes, found {shown(made)}")
    _refuse_unfit(name, made)
    return made if made.labels is None else replace(made, labels=tuple(made.labels))


def fingerprint(name: str, labels: Sequence[str] | None = None) -> str:
    """Hash of a function's name, of its module's source and of labels, hex.

    Neither the weights behind the function nor the modules that its module imports are known here:
    whoever changes one of those changes the function's name, or a line in its module, too.

    Raises:
      RefusedError: a module that is not there, or that has no source.
    """
    module = _module(name)
    try:
        source = inspect.getsource(module)
    except (OSError, TypeError) as error:
        raise RefusedError(f"{name}: expected a module with its source, found {module}") from error
    stated = repr((name, source, None if labels is None else [*labels]))
    return hashlib.sha256(stated.encode()).hexdigest()


def _function(name: str) -> Callable[[], Any]:
    module = _module(name)
    wanted = name.rpartition(":")[2]
    function = getattr(module, wanted, None)
    if not callable(function):
        known = [
            found
            for found, value in inspect.getmembers(module, inspect.isfunction)
            if value.__module__ == module.__name__ and not found.startswith("_")
        ]
        where = getattr(module, "__file__", None) or module.__name__
        refuse(name, f"a function {wanted} in {where}, found {listed(known) or 'none'}")
    return function


def _module(name: str) -> ModuleType:
    path, _, function = name.removeprefix(HANDLER).partition(":")
    if not all(part.isidentifier() for part in [*path.split("."), function]):
        refuse(name, f"{HANDLER}package.module:function, found {name.removeprefix(HANDLER)!r}")
    try:
        return importlib.import_module(path)
    except Exception as error:
        raise RefusedError(
            f"{name}: expected a module {path} that can be imported, found "
            f"{type(error).__name__}: {error}; PYTHONPATH names the folders that are looked in, "
            "and workers need it too"
        ) from error


def _refuse_unfit(name: str, tier: HandlerTier) -> None:
    base = _beam()
    if base is None or not isinstance(tier.handler, base.ModelHandler):
        refuse(name, f"a ModelHandler of apache_beam.ml.inference, found {shown(tier.handler)}")
    if not callable(tier.read):
        refuse(name, f"a function that reads a prediction, found {shown(tier.read)}")
    labels = tier.labels
    if labels is not None:
        fine = not isinstance(labels, str) and all(isinstance(label, str) for label in labels)
        if not fine or len(labels) < 2 or len({*labels}) < len(labels):
            refuse(name, f"at least two labels, each once, found {shown(labels)}")
    for one in _nested(tier.handler):
        found = type(one).__name__
        if isinstance(one, base.RemoteModelHandler):
            refuse(
                name,
                f"a handler with its model in this process, found {found}, which asks a server; "
                "openai:URL asks one that speaks OpenAI's protocol",
            )
        if not getattr(one, "_single_model", True):
            refuse(name, f"one model for all rows, found {found} with a model for each key")
        if inspect.iscoroutinefunction(one.run_inference) or inspect.isasyncgenfunction(
            one.run_inference
        ):
            refuse(name, f"a run_inference that returns predictions, found {found}'s, an async")


def _beam() -> Any:
    """Beam's module of handlers, which whoever made one has imported."""
    return sys.modules.get("apache_beam.ml.inference.base")


def _nested(handler: Any) -> Iterator[Any]:
    """A handler and those inside it: Beam wraps one for keys and for each function."""
    while isinstance(handler, _beam().ModelHandler):
        yield handler
        handler = getattr(handler, "_base", None) or getattr(handler, "_unkeyed", None)


def is_keyed(handler: Any) -> bool:
    """Whether a handler is given tuples of a key and an example."""
    base = _beam()
    kinds = (base.KeyedModelHandler, base.MaybeKeyedModelHandler)
    return any(isinstance(one, kinds) for one in _nested(handler))


def refuse(name: str, complaint: str) -> NoReturn:
    """Raises RefusedError: what was expected of a function, and what was found."""
    raise RefusedError(f"{name}: expected {complaint}")


def listed(names: Iterable[str]) -> str:
    """Names for a message, cut where they are many."""
    return ", ".join(names)[:300]


def shown(value: Any) -> str:
    """Anything for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."
