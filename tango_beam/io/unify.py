"""One schema for files that differ, and batches brought into it; nothing is lost on the way.

A column takes the narrowest type that holds every value of each file's type: int32 and int64 give
int64, string and large_string give large_string, structs give one with the fields of both. Types
that would cost a value (int64 and float64 beyond 2^53, seconds and nanoseconds beyond the year
2262) are refused, and so are a time with a zone and one without.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tango_beam.errors import RefusedError
from tango_beam.text_columns import is_string

_SHOWN = 3
_LONGEST = 80
# The first and the last moment that calendars of common software know; a duration of that length.
_YEARS = (dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59))
_SPAN = _YEARS[1] - _YEARS[0]
_AS_TEXT = {pa.binary(): pa.string(), pa.large_binary(): pa.large_string()}
_VIEWS = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}


def unify(
    schemas: Mapping[str, pa.Schema],
    fits: Callable[[str, str, pa.DataType], bool] = lambda path, name, kind: False,
    option: str = "--columns",
    texts: Sequence[str] = (),
) -> tuple[pa.Schema, tuple[str, ...]]:
    """The schema in which every file's rows have a place.

    Args:
      schemas: by path; each column once, of those that are read.
      fits: whether all values of a file's column fit a type that does not hold every value of
        theirs; whoever knows only the types says no.
      option: that leaves columns out, for messages.
      texts: columns whose bytes are UTF-8: beside strings, bytes are strings too.

    Returns:
      The columns, nullable and without views, in the order in which they are first met; and a line
      for each that was widened or that some files lack.

    Raises:
      RefusedError: a column's types have no type in common.
    """
    distinct = {schema: plain(schema) for schema in dict.fromkeys(schemas.values())}
    typed = {
        schema: dict(zip(other.names, other.types, strict=True))
        for schema, other in distinct.items()
    }
    by_path = [(path, typed[schema]) for path, schema in schemas.items()]
    fields, notes = [], []
    for name in dict.fromkeys(name for types in typed.values() for name in types):
        found = {types.get(name) for types in typed.values()}
        if len(found) == 1:
            fields.append(pa.field(name, found.pop()))
            continue
        kinds = {path: types[name] for path, types in by_path if name in types}
        wide = widest([*kinds.values()])
        if name in texts and any(map(is_string, kinds.values())):
            wide = _AS_TEXT.get(wide, wide)
        kind = wide or _by_values(name, kinds, fits)
        if kind is None:
            raise RefusedError(_irreconcilable(name, kinds, option))
        fields.append(pa.field(name, kind))
        notes += _notes(name, kind, kinds, [path for path, types in by_path if name not in types])
    return pa.schema(fields), tuple(notes)


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with a schema's columns, order and types; null where it lacks one.

    Raises:
      pa.ArrowInvalid: a value does not fit.
    """
    if batch.schema.equals(schema):
        return batch
    names = batch.schema.names
    columns = [
        cast(batch.column(names.index(field.name)), field.type)
        if field.name in names
        else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column as another type, without loss; bytes that become strings are not checked.

    Raises:
      pa.ArrowInvalid: a value does not fit.
    """
    if column.type == kind:
        return column
    column = _without_list_views(column) if _has_list_views(column.type) else column
    return column.cast(options=pc.CastOptions(kind, allow_invalid_utf8=True))


def plain(schema: pa.Schema) -> pa.Schema:
    """The schema without views, which Arrow cannot filter yet, and without what forbids nulls."""
    return pa.schema([(field.name, plain_type(field.type)) for field in schema])


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type without views, at any depth."""
    if isinstance(kind, pa.BaseExtensionType):
        stored = plain_type(kind.storage_type)
        return kind if stored == kind.storage_type else stored
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, plain_type(kind.value_type), kind.ordered)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(plain_type(field.type)) for field in kind])
    if pa.types.is_map(kind):
        key, item = (
            field.with_type(plain_type(field.type)) for field in (kind.key_field, kind.item_field)
        )
        return pa.map_(key, item, kind.keys_sorted)
    if _is_list(kind):
        field = kind.value_field.with_type(plain_type(kind.value_type))
        if pa.types.is_fixed_size_list(kind):
            return pa.list_(field, kind.list_size)
        return pa.large_list(field) if _is_large(kind) else pa.list_(field)
    return _VIEWS.get(kind, kind)


def widest(kinds: Sequence[pa.DataType]) -> pa.DataType | None:
    """The narrowest type that holds every value of each of these; None where there is none."""
    kinds = [kind for kind in dict.fromkeys(kinds) if not pa.types.is_null(kind)]
    if len(kinds) > 1:
        kinds = [*dict.fromkeys(map(_unwrapped, kinds))]
    if len(kinds) < 2:
        return kinds[0] if kinds else pa.null()
    if all(map(_is_list, kinds)):
        return _widest_list(kinds)
    if all(map(pa.types.is_struct, kinds)):
        return _widest_struct(kinds)
    if all(map(pa.types.is_map, kinds)):
        key = widest([kind.key_type for kind in kinds])
        item = _widest_field([kind.item_field for kind in kinds])
        return pa.map_(key, item) if key and item else None
    kind = _permissive(kinds)
    return kind if kind and all(_holds(kind, other) for other in kinds) else None


def _unwrapped(kind: pa.DataType) -> pa.DataType:
    """A dictionary's values' type; JSON text as text."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    return kind.storage_type if isinstance(kind, pa.JsonType) else kind


def _widest_field(fields: Sequence[pa.Field]) -> pa.Field | None:
    kind = widest([field.type for field in fields])
    nullable = any(field.nullable for field in fields)
    return kind and fields[0].with_type(kind).with_nullable(nullable)


def _widest_list(kinds: Sequence[pa.DataType]) -> pa.DataType | None:
    field = _widest_field([kind.value_field for kind in kinds])
    if field is None:
        return None
    sizes = {kind.list_size for kind in kinds if pa.types.is_fixed_size_list(kind)}
    if len(sizes) == 1 and all(map(pa.types.is_fixed_size_list, kinds)):
        return pa.list_(field, *sizes)
    return pa.large_list(field) if any(map(_is_large, kinds)) else pa.list_(field)


def _widest_struct(kinds: Sequence[pa.DataType]) -> pa.DataType | None:
    named: dict[str, list[pa.Field]] = {}
    for kind in kinds:
        if len({field.name for field in kind}) < kind.num_fields:
            return None
        for field in kind:
            named.setdefault(field.name, []).append(field)
    fields = []
    for same in named.values():
        field = _widest_field(same)
        if field is None:
            return None
        fields.append(field.with_nullable(field.nullable or len(same) < len(kinds)))
    return pa.struct(fields)


def _permissive(kinds: Sequence[pa.DataType]) -> pa.DataType | None:
    """What Arrow makes of several types, whether a value is lost or not."""
    zones = {kind.tz for kind in kinds if pa.types.is_timestamp(kind)}
    if len(zones) > 1 and None not in zones:  # each is the same moment under another name
        kinds = [
            pa.timestamp(kind.unit, "UTC") if pa.types.is_timestamp(kind) else kind
            for kind in kinds
        ]
    if any(map(pa.types.is_decimal, kinds)):  # Arrow leaves an integer too few digits
        kinds = [_as_decimal(kind) if pa.types.is_integer(kind) else kind for kind in kinds]
    schemas = [pa.schema([("", kind)]) for kind in kinds]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return None


def _as_decimal(kind: pa.DataType) -> pa.DataType:
    return pa.decimal128(len(str(_extremes(kind)[1])))


def _holds(wide: pa.DataType, narrow: pa.DataType) -> bool:
    """Whether a type that Arrow chose holds every value of another: its extremes fit."""
    if pa.types.is_decimal(narrow):
        return pa.types.is_decimal(wide)
    try:
        pa.array(_extremes(narrow), narrow).cast(wide)
        return True
    except pa.ArrowInvalid:
        return False


def _extremes(kind: pa.DataType) -> list[int | dt.datetime | dt.timedelta]:
    if pa.types.is_integer(kind):
        signed = pa.types.is_signed_integer(kind)
        bits = kind.bit_width - signed
        return [-(2**bits) if signed else 0, 2**bits - 1]
    if pa.types.is_timestamp(kind) and kind.unit != "ns":
        return [*_YEARS]
    if pa.types.is_duration(kind) and kind.unit != "ns":
        return [-_SPAN, _SPAN]
    return []


def _by_values(
    name: str,
    kinds: Mapping[str, pa.DataType],
    fits: Callable[[str, str, pa.DataType], bool],
) -> pa.DataType | None:
    """The type that Arrow would choose, where the values there are fit it; not for nested types."""
    flat = {path: _unwrapped(kind) for path, kind in kinds.items() if not kind.num_fields}
    wide = _permissive([*dict.fromkeys(flat.values())]) if len(flat) == len(kinds) else None
    if wide and all(_holds(wide, kind) or fits(path, name, wide) for path, kind in flat.items()):
        return wide
    return None


def _irreconcilable(name: str, kinds: Mapping[str, pa.DataType], option: str) -> str:
    (first, one), *others = kinds.items()
    path, other = next((pair for pair in others if not widest([one, pair[1]])), others[-1])
    return (
        f"column {name}: expected types that one type holds without loss, found {_short(one)} in "
        f"{first} and {_short(other)} in {path}; leave it out with {option}, or give both files "
        "one type"
    )


def _notes(
    name: str, kind: pa.DataType, kinds: Mapping[str, pa.DataType], lacking: Sequence[str]
) -> list[str]:
    notes = []
    firsts: dict[pa.DataType, str] = {}
    for path, other in kinds.items():
        firsts.setdefault(other, path)
    if any(other != kind for other in firsts):  # names of lists' items are no difference
        found = " and ".join(_short(other) for other in [*firsts][:_SHOWN])
        notes.append(
            f"column {name}: {_short(kind)}, since files hold {found} ({_some([*firsts.values()])})"
        )
    if lacking:
        notes.append(
            f"column {name}: null in {len(lacking)} of {len(lacking) + len(kinds)} files, which "
            f"lack it ({_some(lacking)})"
        )
    return notes


def _some(paths: Sequence[str]) -> str:
    return ", ".join([*paths[:_SHOWN], *(["..."] if len(paths) > _SHOWN else [])])


def _short(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _is_list(kind: pa.DataType) -> bool:
    some = pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or _is_list_view(kind)
    return some or pa.types.is_large_list(kind)


def _is_list_view(kind: pa.DataType) -> bool:
    return pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)


def _is_large(kind: pa.DataType) -> bool:
    return pa.types.is_large_list(kind) or pa.types.is_large_list_view(kind)


def _has_list_views(kind: pa.DataType) -> bool:
    inside = (kind.field(index).type for index in range(kind.num_fields))
    return _is_list_view(kind) or any(map(_has_list_views, inside))


def _without_list_views(column: pa.Array) -> pa.Array:
    """The column with lists in place of views of lists; Arrow's own cast spoils them (25.0)."""
    kind, null = column.type, column.is_null()
    if not _has_list_views(kind):
        return column
    if pa.types.is_struct(kind):
        fields = [_without_list_views(column.field(index)) for index in range(kind.num_fields)]
        named = [field.with_type(array.type) for field, array in zip(kind, fields, strict=True)]
        return pa.StructArray.from_arrays(fields, fields=named, mask=null)
    if pa.types.is_map(kind):
        pairs = column.cast(pa.list_(pa.struct([kind.key_field, kind.item_field])))
        keys, items = (_without_list_views(pairs.flatten().field(side)) for side in (0, 1))
        return pa.MapArray.from_arrays(_offsets(pairs, pa.int32()), keys, items, mask=null)
    values = _without_list_views(column.flatten())
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(values, kind.list_size)
    if _is_large(kind):
        return pa.LargeListArray.from_arrays(_offsets(column, pa.int64()), values, mask=null)
    return pa.ListArray.from_arrays(_offsets(column, pa.int32()), values, mask=null)


def _offsets(lists: pa.Array, kind: pa.DataType) -> pa.Array:
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), kind)
