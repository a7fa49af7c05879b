"""Layouts: the columns of one class of message, as a record batch."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from carls import _core
from carls.errors import ProtocolError
from carls.wire.columns import Column

#: Schemas kept ready, by what they depend on, such as the dim of a table.
_MAX_READY = 256


class Layout:
    """Named columns in order.

    Args:
        columns: by name.
    """

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self.columns = dict(columns)
        self._kinds = list(self.columns.values())
        self._ready: dict[Hashable, pa.Schema] = {}

    def pack(self, values: Sequence[Any]) -> pa.RecordBatch:
        """One value per column as a record batch over the same memory."""
        exported = [column.export(value) for column, value in zip(self._kinds, values, strict=True)]
        batch = _core.export_columns(exported)
        return pa.RecordBatch._import_from_c(batch.address, self.schema(values))

    def unpack(self, batch: pa.RecordBatch) -> dict[str, Any]:
        """The columns' values in a received batch whose schema was checked.

        Checks what Arrow IPC does not: offsets, lengths, UTF-8, and that there are no nulls.

        Raises:
            ProtocolError: the batch is forged or has nulls.
        """
        try:
            batch.validate()  # that every buffer is long enough; the core checks the rest of what it reads
            found = _core.read_columns(*batch.__arrow_c_array__())
        except (pa.ArrowInvalid, _core.ForgedColumn) as error:
            raise _forged(error) from None
        values = {}
        for at, (name, column) in enumerate(self.columns.items()):
            values[name] = column.read(_validated(batch.column(at)) if found[at] is None else found[at])
        return values

    def schema(self, values: Sequence[Any]) -> pa.Schema:
        """The schema of a batch that holds `values`."""
        kinds = tuple([column.kind(value) for column, value in zip(self._kinds, values, strict=True)])
        ready = self._ready.get(kinds)
        if ready is None:
            types = [column.arrow_type(kind) for column, kind in zip(self._kinds, kinds, strict=True)]
            ready = pa.schema(
                [pa.field(name, t, nullable=False) for name, t in zip(self.columns, types, strict=True)]
            )
            if len(self._ready) < _MAX_READY:
                self._ready[kinds] = ready
        return ready

    def check(self, message: str, schema: pa.Schema) -> None:
        """Check that a received schema has exactly these columns.

        Raises:
            ProtocolError: it has others; names both, and the message.
        """
        fields = list(schema)
        if [field.name for field in fields] == list(self.columns) and all(
            column.accepts(field.type) for field, column in zip(fields, self._kinds, strict=True)
        ):
            return
        found = ", ".join(f"{field.name}: {field.type}" for field in fields)[:200]
        expected = ", ".join(f"{name}: {column.expected}" for name, column in self.columns.items())
        raise ProtocolError(f"{message} with columns ({found}): expected ({expected})")


def _validated(array: pa.Array) -> pa.Array:
    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        raise _forged(error) from None
    return array


def _forged(error: Exception) -> ProtocolError:
    return ProtocolError(f"forged batch: {error}; expected a valid Arrow record batch")
