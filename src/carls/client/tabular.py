"""Tables as Arrow has them: which columns a row has, and how they are written and read.

Keys are in the column `key`, what the table holds in columns of its own, and the metadata in
`version`, `count`, `step`, `written` and `producer`. The schema's metadata says under `carls`
what the rows are, as JSON: the table's name and spec, its learning rate, the optimizer's state.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from carls.client.results import RowsMeta
from carls.errors import CarlsError, InvalidSpecError, InvalidValueError, SpecMismatchError
from carls.keys import Keys
from carls.messages import ROW_META, Meta, TableInfo
from carls.specs import EmbeddingSpec, FeatureSpec, KeyedSpec, spec_from_json

#: Version of what the schema's metadata says.
_FORMAT = 1
_SAID = b"carls"
_MICROSECONDS = 1_000_000
_KEY_TYPES = {"int64": pa.int64(), "string": pa.string(), "bytes": pa.binary(), None: pa.null()}
#: `written` is by the clock of the machine that wrote the column: its time less the row's age.
_METADATA = {
    "version": pa.uint32(),
    "count": pa.uint32(),
    "step": pa.int64(),
    "written": pa.timestamp("us", "UTC"),
    "producer": pa.string(),
}


class Held(ABC):
    """What a kind of table holds, as columns.

    Attributes:
        fields: names and types.
    """

    fields: list[pa.Field]

    @abstractmethod
    def arrays(self, rows: Any) -> list[pa.Array]:
        """The columns of rows that were read from the bank."""

    @abstractmethod
    def check(self, schema: pa.Schema) -> None:
        """Check the types of received columns, which are all there."""

    @abstractmethod
    def read(self, batch: pa.RecordBatch) -> Any:
        """What received columns say, checked, as requests have it."""


class Moved(NamedTuple):
    """Rows that come in: keys, what the table holds, and with metadata what is told about each row."""

    keys: Keys
    held: Any
    meta: Meta | None
    producers: tuple[str, ...]


class Origin(NamedTuple):
    """Where rows come from: the table's name, its spec, and the names of its state's parts."""

    table: str
    spec: KeyedSpec


class TableColumns:
    """The columns of one table's rows.

    Args:
        table: its name.
        spec: of the table; its key type may be open still.
        held: what it holds.
        metadata: whether there are columns for it.
        state: whether what it holds has the optimizer's state.
    """

    def __init__(self, table: str, spec: KeyedSpec, held: Held, metadata: bool, state: bool) -> None:
        self._table, self._spec, self._held, self._state = table, spec, held, state
        own = {field.name for field in held.fields} if isinstance(spec, FeatureSpec) else set()
        # No column of a feature table starts with an underscore.
        names = {name: f"_{name}" if name in own else name for name in ("key", *_METADATA)}
        self._key = names.pop("key")
        self._metadata = names if metadata else {}
        self.names = [self._key, *(field.name for field in held.fields), *self._metadata.values()]

    # --- out ---

    def schema(self, info: TableInfo) -> pa.Schema:
        """The schema of what `batch` gives, which says what `info` says."""
        keys = self._spec.keys
        fields = [pa.field(self._key, _KEY_TYPES[keys], nullable=keys is None), *self._held.fields]
        fields += [pa.field(name, _METADATA[kind], nullable=False) for kind, name in self._metadata.items()]
        return pa.schema(fields, metadata={_SAID: json.dumps(self._facts(info))})

    def batch(self, schema: pa.Schema, keys: Keys, rows: RowsMeta) -> pa.RecordBatch:
        """Rows that were read from the bank, over their memory where that can be."""
        arrays = [keys.to_arrow(), *self._held.arrays(rows)]
        if self._metadata:
            written = _now_us() - np.round(rows.age * _MICROSECONDS).astype(np.int64)
            meta = [rows.version, rows.count, rows.step, written]
            arrays += [
                pa.array(np.ascontiguousarray(numbers)).cast(kind)
                for numbers, kind in zip(meta, _METADATA.values(), strict=False)
            ]
            arrays.append(pa.array(rows.producer, pa.string()))
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _facts(self, info: TableInfo) -> dict[str, Any]:
        facts = {"format": _FORMAT, "table": self._table, "spec": info.spec}
        optimizer = self._spec.optimizer if isinstance(self._spec, EmbeddingSpec) else None
        if isinstance(self._spec, EmbeddingSpec) and optimizer is not None:
            rates = info.learning_rates
            facts["learning_rate"] = rates[-1].lr if rates else optimizer.lr
            if self._state:
                dim = self._spec.dim
                facts["state"] = [[slot.name, slot.size(dim)] for slot in self._spec.slots]
        return facts

    # --- in ---

    def check(self, schema: pa.Schema) -> None:
        """Check that received rows can be this table's, as far as their schema tells.

        Raises:
            InvalidValueError: a column is missing, or of another type.
            SpecMismatchError: they are of a table that cannot be loaded here.
        """
        for name in self.names:
            if schema.names.count(name) != 1:
                raise self._wrong(
                    f"{schema.names.count(name)} columns {name!r} among {schema.names}: expected one each of "
                    f"{self.names}"
                )
        self._check_origin(schema)
        self._key_type(schema)
        self._held.check(schema)
        for kind, name in self._metadata.items():
            if not _like(schema.field(name).type, _METADATA[kind]):
                raise self._wrong(f"column {name!r} of {schema.field(name).type}: expected {_METADATA[kind]}")

    def read(self, batch: pa.RecordBatch) -> Moved:
        """Received rows whose schema was checked.

        Raises:
            InvalidKeyError, InvalidValueError: nulls, and what else cannot be.
        """
        for name in self.names:
            if batch.column(name).null_count:
                raise self._wrong(f"column {name!r} with nulls: expected a value everywhere")
        keys = Keys.of(self._cast(batch, self._key, self._key_type(batch.schema)))
        held = self._held.read(batch)
        return Moved(keys, held, *self._read_metadata(batch))

    def _read_metadata(self, batch: pa.RecordBatch) -> tuple[Meta | None, tuple[str, ...]]:
        if not self._metadata:
            return None, ()
        meta = np.zeros(batch.num_rows, ROW_META)
        for kind, name in self._metadata.items():
            if kind == "producer":
                names = self._cast(batch, name, pa.string()).dictionary_encode()
                meta["producer"] = names.indices.to_numpy(zero_copy_only=False)
                continue
            column = self._cast(batch, name, _METADATA[kind])
            if kind == "written":
                written = column.cast(pa.int64()).to_numpy(zero_copy_only=False)
                meta["age"] = np.maximum(_now_us() - written, 0) / _MICROSECONDS
            else:
                meta[kind] = column.to_numpy(zero_copy_only=False)
        return meta, tuple(names.dictionary.to_pylist())

    def _key_type(self, schema: pa.Schema) -> pa.DataType:
        found = schema.field(self._key).type
        for key_type, arrow_type in _KEY_TYPES.items():
            if key_type in (self._spec.keys or key_type,) and _like(found, arrow_type):
                return arrow_type
        if pa.types.is_null(found):
            return found
        raise SpecMismatchError(
            f"keys of Arrow type {found} for table {self._table!r}: expected "
            f"{_KEY_TYPES[self._spec.keys] if self._spec.keys else 'int64, string or binary'}",
            table=self._table,
        )

    def _cast(self, batch: pa.RecordBatch, name: str, wanted: pa.DataType) -> pa.Array:
        try:
            return batch.column(name).cast(wanted)
        except pa.ArrowException as error:
            raise self._wrong(f"column {name!r}: expected {wanted} ({error})") from None

    def _check_origin(self, schema: pa.Schema) -> None:
        origin = read_origin(schema)
        if origin is None:
            if self._state:
                raise self._wrong(
                    "these rows do not say which optimizer their state is of: expected what to_batches, "
                    "to_arrow or to_parquet made with state=True, or load values alone"
                )
            return
        theirs, ours = origin.spec, self._spec
        fit = theirs.kind == ours.kind
        if isinstance(theirs, EmbeddingSpec) and isinstance(ours, EmbeddingSpec):
            fit = theirs.dim == ours.dim and not (self._state and not alike(theirs, ours))
        if not fit or (theirs.keys and ours.keys and theirs.keys != ours.keys):
            raise SpecMismatchError(
                f"rows of table {origin.table!r} with the spec {theirs.to_json()} cannot go into table "
                f"{self._table!r}, which has {ours.to_json()}: expected the same kind, dim and keys"
                + (", and for state the same optimizer and aggregation" if self._state else ""),
                table=self._table,
            )

    def _wrong(self, what: str) -> InvalidValueError:
        return InvalidValueError(f"rows for table {self._table!r}: {what}", table=self._table)


def alike(one: EmbeddingSpec, other: EmbeddingSpec) -> bool:
    """Whether the rows' state means the same: they have the same optimizer and aggregation, whatever their
    arguments."""
    return type(one.optimizer) is type(other.optimizer) and type(one.aggregate) is type(other.aggregate)


def read_origin(schema: pa.Schema) -> Origin | None:
    """What a schema says of where its rows come from; None where it says nothing.

    Raises:
        InvalidValueError: it says what cannot be read.
    """
    said = (schema.metadata or {}).get(_SAID)
    if said is None:
        return None
    try:
        facts = json.loads(said)
        if facts["format"] != _FORMAT:
            raise InvalidSpecError(f"format {facts['format']!r}: this version reads {_FORMAT}")
        spec = spec_from_json(facts["spec"])
        if not isinstance(spec, KeyedSpec):
            raise InvalidSpecError(f"a table of kind {spec.kind!r} has no rows that move")
        return Origin(str(facts["table"]), spec)
    except (ValueError, TypeError, KeyError, AttributeError, CarlsError) as error:
        raise InvalidValueError(
            f"the schema's metadata {said!r:.200} under 'carls' does not describe a table: {error!r}"
        ) from None


def _like(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether values of a type may stand for those of another one, if each of them fits."""
    types = pa.types
    if types.is_dictionary(found):
        return _like(found.value_type, wanted)
    if types.is_integer(wanted):
        return bool(types.is_integer(found))
    kinds: Sequence[Any]
    if types.is_string(wanted):
        kinds = (types.is_string, types.is_large_string, types.is_string_view)
    elif types.is_binary(wanted):
        kinds = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)
    else:
        kinds = (types.is_timestamp,) if types.is_timestamp(wanted) else ()
    return any(kind(found) for kind in kinds)


def _now_us() -> int:
    return time.time_ns() // 1000
