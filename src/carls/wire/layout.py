"""Layouts: the columns of one class of message, as a record batch."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pyarrow as pa

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
        self._ready: dict[Hashable, tuple[pa.Schema, list[pa.DataType]]] = {}

    def pack(self, values: Sequence[Any]) -> pa.RecordBatch:
        """One value per column as a record batch over the same memory."""
        schema, types = self._schema(values)
        arrays = [
            column.array(arrow_type, value)
            for column, arrow_type, value in zip(self._kinds, types, values, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def unpack(self, batch: pa.RecordBatch) -> dict[str, Any]:
        """The columns' values in a received batch whose schema was checked.

        Checks what Arrow IPC does not: offsets, lengths, UTF-8, and that there are no nulls.

        Raises:
            ProtocolError: the batch is forged or has nulls.
        """
        try:
            batch.validate(full=True)
        except pa.ArrowInvalid as error:
            raise ProtocolError(f"forged batch: {error}; expected a valid Arrow record batch") from None
        return {
            name: column.read(array)
            for (name, column), array in zip(self.columns.items(), batch.columns, strict=True)
        }

    def schema(self, values: Sequence[Any]) -> pa.Schema:
        """The schema of a batch that holds `values`."""
        return self._schema(values)[0]

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

    def _schema(self, values: Sequence[Any]) -> tuple[pa.Schema, list[pa.DataType]]:
        kinds = tuple([column.kind(value) for column, value in zip(self._kinds, values, strict=True)])
        ready = self._ready.get(kinds)
        if ready is None:
            types = [column.arrow_type(kind) for column, kind in zip(self._kinds, kinds, strict=True)]
            fields = [pa.field(name, t, nullable=False) for name, t in zip(self.columns, types, strict=True)]
            ready = (pa.schema(fields), types)
            if len(self._ready) < _MAX_READY:
                self._ready[kinds] = ready
        return ready
