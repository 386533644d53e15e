"""A cascade and its tiers as frozen values, and the cascade directory that holds them."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from tango_beam import fetch, routing
from tango_beam.errors import RefusedError

CASCADE_FILE = "cascade.json"
PRECISIONS = ("fp32", "bf16", "int8")
BACKENDS = ("torch", "onnx")
EMBEDDED = Path(__file__).parent / "cascades"
# What moves a score: weights, configuration, tokenizer. Cards and training logs do not.
_SCORING_SUFFIXES = (".safetensors", ".json", ".txt", ".model")
_NOT_SCORING = ("training.json", "README.md")


@dataclass(frozen=True)
class TierConfig:
    """One tier of a cascade.

    Attributes:
      source: folder of the checkpoint, here or on an fsspec URL, or a Hugging Face id.
      threshold: confidence below which a row goes on to the next tier; None for the last tier.
      temperature: divides the logits before the softmax.
      max_length: tokens read of a text; None for as many as the checkpoint allows.
      tokenizer: folder of the tokenizer, where it is not `source`.
      batch_rows: rows scored together, from which the micro-batches are cut.
      confidence: how sure the tier is: `max_softmax` (the paper's), `margin` or `entropy`.
      revision: commit of a Hugging Face id, or hash of what lies on a URL; settled at launch, so
        that all workers load one.
      precision: `fp32`, `bf16` or `int8`, where the tier has one of its own; None for the run's.
      batch_tokens: padded tokens in a micro-batch; None for what suits the family.
      backend: `torch`, the default, or `onnx` (transformers on a processor).
      threads: for torch to score one micro-batch with, on a processor; None for one.
    """

    source: str
    threshold: float | None = None
    temperature: float = 1.0
    max_length: int | None = None
    tokenizer: str | None = None
    batch_rows: int = 8192
    confidence: str = "max_softmax"
    revision: str | None = None
    precision: str | None = None
    batch_tokens: int | None = None
    backend: str | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise RefusedError(
                f"tier {self.source}: expected a threshold of 0 to 1, found {self.threshold}"
            )
        if not self.temperature > 0:
            raise RefusedError(
                f"tier {self.source}: expected a temperature above 0, found {self.temperature}"
            )
        if self.confidence not in routing.CONFIDENCES:
            raise RefusedError(
                f"tier {self.source}: expected a confidence of {', '.join(routing.CONFIDENCES)}, "
                f"found {self.confidence!r}"
            )
        if self.max_length is not None and self.max_length < 3:
            raise RefusedError(
                f"tier {self.source}: expected max_length of at least 3, found {self.max_length}"
            )
        for name in ("batch_rows", "batch_tokens", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RefusedError(
                    f"tier {self.source}: expected {name} of at least 1, found {value}"
                )
        for name, known in (("precision", PRECISIONS), ("backend", BACKENDS)):
            value = getattr(self, name)
            if value not in (None, *known):
                raise RefusedError(
                    f"tier {self.source}: expected a {name} of {', '.join(known)}, found {value!r}"
                )


@dataclass(frozen=True)
class CascadeConfig:
    """A list of tiers, cheapest first.

    Attributes:
      tiers: one or more; all but the last have a threshold.
      labels: the labels' names, sorted; every tier gives the same set.
      name: what people call it.
      pair: whether it was trained on pairs of texts; None where nobody said.
      certificate: what `pipelines.calibrate` signed for; None without.
    """

    tiers: tuple[TierConfig, ...]
    labels: tuple[str, ...]
    name: str = ""
    pair: bool | None = None
    certificate: dict[str, Any] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        if not self.tiers:
            raise RefusedError(f"cascade {self.name}: expected at least one tier, found none")
        for tier in self.tiers[:-1]:
            if tier.threshold is None:
                raise RefusedError(f"tier {tier.source}: expected a threshold, found none")
        if self.tiers[-1].threshold is not None:
            raise RefusedError(
                f"tier {self.tiers[-1].source}: expected no threshold on the last tier, found "
                f"{self.tiers[-1].threshold}"
            )

    @property
    def threshold(self) -> float:
        """The first tier's threshold; 0 where there is one tier only."""
        return self.tiers[0].threshold or 0.0

    def with_first_threshold(self, threshold: float) -> CascadeConfig:
        """The same cascade with another threshold on its first tier."""
        first = replace(self.tiers[0], threshold=threshold)
        return replace(self, tiers=(first, *self.tiers[1:]))

    def with_max_length(self, max_length: int) -> CascadeConfig:
        """The same cascade, every tier reading at most so many tokens."""
        tiers = tuple(
            replace(tier, max_length=min(max_length, tier.max_length or max_length))
            for tier in self.tiers
        )
        return replace(self, tiers=tiers)

    def brought(self) -> CascadeConfig:
        """The same cascade, its tiers in folders of this machine where they lie on URLs."""
        tiers = tuple(
            replace(
                tier,
                source=at_hand(tier.source) or tier.source,
                tokenizer=at_hand(tier.tokenizer),
                revision=None if fetch.is_url(tier.source) else tier.revision,
            )
            for tier in self.tiers
        )
        return replace(self, tiers=tiers)

    def without_precisions(self) -> CascadeConfig:
        """The same cascade, every tier computed by torch in the run's precision.

        Batch sizes and threads that were tuned for another precision go with it.
        """
        own = {"precision": None, "backend": None, "batch_tokens": None, "threads": None}
        tiers = tuple(
            TierConfig(**{**vars(tier), **own}) if tier.precision or tier.backend else tier
            for tier in self.tiers
        )
        return replace(self, tiers=tiers)

    def scoring_fingerprint(self, precision: str) -> str:
        """Sixteen hexadecimal digits over all that moves a score; thresholds are left out."""
        stated = json.dumps(self.scoring(precision), sort_keys=True)
        return hashlib.sha256(stated.encode()).hexdigest()[:16]

    def scoring(self, precision: str) -> dict[str, Any]:
        """All that moves a score, by name; what `scoring_fingerprint` is taken of."""
        own = [tier.precision for tier in self.tiers]
        stated: dict[str, Any] = {"precisions": own} if any(own) else {}
        backends = [tier.backend or "torch" for tier in self.tiers]
        if {*backends} != {"torch"}:
            stated["backends"] = backends
        if "int8" in (precision, *own):
            stated["int8"] = int8_features()
        return {
            **stated,
            "precision": precision,
            "labels": list(self.labels),
            "weights": [
                [digest(source, tier.revision) for source in _folders(tier)] for tier in self.tiers
            ],
            "temperature": [tier.temperature for tier in self.tiers],
            "max_length": [tier.max_length for tier in self.tiers],
            "confidence": [tier.confidence for tier in self.tiers],
        }

    def fingerprint(self, precision: str) -> str:
        """Sixteen hexadecimal digits over weights, config and thresholds."""
        thresholds = [tier.threshold for tier in self.tiers]
        text = json.dumps([self.scoring_fingerprint(precision), thresholds])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def int8_features() -> list[str]:
    """What decides which int8 products this machine's processor does; they round differently."""
    wanted = {"avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}
    found: set[str] = set()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith(("flags", "Features")):
                found = set(line.partition(":")[2].split())
                break
    return [platform.machine(), *sorted(wanted & found)]


def int8_is_whole() -> bool:
    """Whether sums of products of uint8 and int8 are exact here.

    Without an instruction that adds them up in 32 bits they saturate at 16, unless one side is kept
    to seven bits.
    """
    return bool({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"} & {*int8_features()})


def _folders(tier: TierConfig) -> list[str]:
    return list(dict.fromkeys([tier.source, tier.tokenizer or tier.source]))


def digest(source: str, revision: str | None = None) -> str:
    """Hash over the scoring files of a checkpoint folder; of a hub id, its name and commit."""
    folder = Path(at_hand(source) or source)
    if not folder.is_dir():
        return f"{source}@{revision}"
    found = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in _SCORING_SUFFIXES and path.name not in _NOT_SCORING:
            status = path.stat()
            found.update(path.name.encode() + b"\0")
            found.update(_file_digest(path, status.st_size, status.st_mtime_ns))
    return found.hexdigest()


@lru_cache
def _file_digest(path: Path, size: int, modified: int) -> bytes:
    """Hash of a file; size and time only tell the cache when it has changed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def embedded_cascades() -> list[str]:
    """Names of the cascades that the package carries."""
    return sorted(path.parent.name for path in EMBEDDED.glob(f"*/{CASCADE_FILE}"))


def at_hand(source: str | None) -> str | None:
    """Where a checkpoint lies on this machine; a Hugging Face id as it is.

    What lies on a URL is brought here. Of an embedded cascade, the driver names a folder of its own
    installation, and a worker elsewhere may have another.
    """
    if source is not None and fetch.is_url(source):
        return str(fetch.folder(source))
    if source is None or Path(source).exists():
        return source
    parts = Path(source).parts
    if EMBEDDED.name in parts[:-1]:
        within = parts[len(parts) - parts[::-1].index(EMBEDDED.name) :]
        here = EMBEDDED.joinpath(*within)
        if parts[-len(within) - 2] == EMBEDDED.parent.name and here.is_dir():
            return str(here)
    return source


def load_cascade(name: str) -> CascadeConfig:
    """Loads a cascade directory, on any fsspec URL, or an embedded cascade by its name.

    Paths in it stay inside it; a tier may name a Hugging Face id with `hub` in place of `path`.

    Raises:
      RefusedError: no such directory or name, or a cascade.json that does not fit its schema.
    """
    folder = name.rstrip("/") if fetch.is_url(name) else str(_cascade_folder(name))
    path = f"{folder}/{CASCADE_FILE}"
    try:
        stored = json.loads(fetch.read_text(path))
        unknown = sorted(set(stored) - {"name", "labels", "tiers", "pair", "certificate"})
        if unknown:
            raise RefusedError(f"{path}: expected what its schema names, found {unknown}")
        tiers = tuple(_read_tier(folder, entry) for entry in stored["tiers"])
        return CascadeConfig(
            tiers=tiers,
            labels=tuple(stored["labels"]),
            name=stored.get("name", folder.rsplit("/", 1)[-1]),
            pair=stored.get("pair"),
            certificate=stored.get("certificate"),
        )
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise RefusedError(
            f"{path}: expected what schemas/cascade.schema.json says, found {error!r}"
        ) from error


def _cascade_folder(name: str) -> Path:
    folder = Path(name)
    if (folder / CASCADE_FILE).is_file():
        return folder
    if folder.is_dir() or name not in embedded_cascades():
        raise RefusedError(
            f"cascade {name}: expected a folder with {CASCADE_FILE} or one of "
            f"{', '.join(embedded_cascades()) or 'no embedded names'}, found neither"
        )
    return EMBEDDED / name


def _read_tier(folder: str, entry: dict[str, Any]) -> TierConfig:
    known = {field.name for field in fields(TierConfig)} - {"source", "tokenizer"}
    unknown = set(entry) - known - {"path", "hub", "tokenizer"}
    if unknown or ("path" in entry) == ("hub" in entry):
        raise RefusedError(
            f"{folder}/{CASCADE_FILE}: expected a tier with either path or hub, and "
            f"{', '.join(sorted(known | {'tokenizer'}))}, found {sorted(entry)}"
        )
    source = entry["hub"] if "hub" in entry else _inside(folder, entry["path"])
    tokenizer = _inside(folder, entry["tokenizer"]) if entry.get("tokenizer") else None
    options = {name: entry[name] for name in known & set(entry)}
    return TierConfig(source=source, tokenizer=tokenizer, **options)


def _inside(folder: str, relative: str) -> str:
    """A path within a cascade directory, absolute; one that leaves it is refused."""
    if fetch.is_url(folder):
        # A store has no links: names alone say where they lead.
        root, path = Path("/"), Path("/", relative)
        inside = ".." not in path.parts and not relative.startswith("/") and relative
        found = f"{folder}/{path.relative_to(root).as_posix()}" if inside else ""
    else:
        root = Path(folder).resolve()
        path = (root / relative).resolve()
        found = str(path) if path.is_relative_to(root) else ""
    if not found:
        raise RefusedError(
            f"{folder}/{CASCADE_FILE}: expected paths inside the directory, found {relative!r}"
        )
    return found


def save_cascade(cascade: CascadeConfig, folder: Path) -> None:
    """Writes cascade.json; tiers that lie inside `folder` are named relative to it.

    Raises:
      RefusedError: a tier's folder lies elsewhere.
    """
    entries = []
    for tier in cascade.tiers:
        entry: dict[str, Any] = {
            key: value for key, value in asdict(tier).items() if value is not None
        }
        source = entry.pop("source")
        if Path(source).is_dir():
            entry = {"path": _relative(folder, source), **entry}
        else:
            entry = {"hub": source, **entry}
        if tier.tokenizer:
            entry["tokenizer"] = _relative(folder, tier.tokenizer)
        entries.append(entry)
    stored: dict[str, Any] = {
        "name": cascade.name,
        "labels": list(cascade.labels),
        "tiers": entries,
    }
    if cascade.pair is not None:
        stored["pair"] = cascade.pair
    if cascade.certificate is not None:
        stored["certificate"] = cascade.certificate
    (folder / CASCADE_FILE).write_text(json.dumps(stored, indent=2) + "\n")


def _relative(folder: Path, path: str) -> str:
    resolved = Path(path).resolve()
    if not resolved.is_relative_to(folder.resolve()):
        raise RefusedError(f"{folder}: expected its tiers inside it, found {path}")
    return str(resolved.relative_to(folder.resolve()))
