"""Forms: how one class of message travels on a stream."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from carls.errors import ProtocolError
from carls.messages import NeighbourBatch, NoPull, Pull
from carls.wire import facts
from carls.wire.columns import Column, DoublesColumn, KeysColumn, NumbersColumn
from carls.wire.facts import mapping
from carls.wire.frames import Frame
from carls.wire.layout import Layout


class Form:
    """A message whose fields travel as columns of a record batch or as facts.

    Args:
        message: the class of message.
        columns: the fields that travel as columns, in order.
        facts: parsers of the fields that travel as facts.
        unsaid: facts that are not sent when they are just these.
    """

    def __init__(
        self,
        message: Any,
        columns: Mapping[str, Column] | None = None,
        facts: Mapping[str, facts.Parser] | None = None,
        unsaid: Mapping[str, Any] | None = None,
    ) -> None:
        self.message = message
        self.layout = Layout(columns or {})
        self.facts = dict(facts or {})
        self._unsaid = None if unsaid is None else dict(unsaid)
        # Calls on one table mostly say the same facts, which then are written and parsed once.
        # Objects among them cannot be looked up.
        self._said = self._dump if mapping in self.facts.values() else lru_cache(maxsize=64)(self._dump)
        self._told = lru_cache(maxsize=64)(self._parse)

    def check_schema(self, schema: pa.Schema) -> None:
        """Check the columns of a stream, once per stream: every batch of a stream has its schema.

        Raises:
            ProtocolError: they are not those of the form; names both.
        """
        self.layout.check(self.message.__name__, schema)

    def encode(self, message: Any) -> Frame:
        """The message as a frame; its batch is over the message's memory."""
        said = self._said(tuple([getattr(message, name) for name in self.facts]))
        return Frame(self.layout.pack(self.values(message)) if self.layout.columns else None, said)

    def values(self, message: Any) -> list[Any]:
        """The fields that travel as columns."""
        return [getattr(message, name) for name in self.layout.columns]

    def decode(self, frame: Frame, **known: Any) -> Any:
        """The message in a frame of a stream whose schema was checked.

        Args:
            frame: what arrived.
            known: fields that the stream carries.

        Raises:
            ProtocolError: the frame is forged.
        """
        columns = {}
        if frame.batch is not None:
            columns = self.layout.unpack(frame.batch)
        elif self.layout.columns:
            raise ProtocolError(f"{self.message.__name__} without a record batch: expected one")
        return self.message(**columns, **self._told(frame.facts), **known)

    def _dump(self, values: tuple[Any, ...]) -> bytes | None:
        told = dict(zip(self.facts, values, strict=True))
        return None if told == self._unsaid else facts.dump(told)

    def _parse(self, raw: bytes | None) -> dict[str, Any]:
        if raw is None and self._unsaid is not None:
            return self._unsaid
        return facts.parse(self.facts, facts.load(raw))


class OptionalForm:
    """A message without facts, one of whose columns is not sent where its field is None.

    Args:
        message: the class of message.
        columns: the fields that travel as columns, in order.
        optional: the field that may be None.
    """

    def __init__(self, message: Any, columns: Mapping[str, Column], optional: str) -> None:
        self.message = message
        self._optional = optional
        self._whole = Form(message, columns, unsaid={})
        rest = {name: column for name, column in columns.items() if name != optional}
        self._rest = Form(message, rest, unsaid={})

    def check_schema(self, schema: pa.Schema) -> None:
        """As `Form.check_schema`."""
        (self._whole if self._optional in schema.names else self._rest).check_schema(schema)

    def encode(self, message: Any) -> Frame:
        """As `Form.encode`."""
        return (self._rest if getattr(message, self._optional) is None else self._whole).encode(message)

    def decode(self, frame: Frame) -> Any:
        """As `Form.decode`."""
        if frame.batch is None or self._optional in frame.batch.schema.names:
            return self._whole.decode(frame)
        return self._rest.decode(frame, **{self._optional: None})


class PageForm:
    """A page of a scan: keys, the columns of its rows, and where the next page begins.

    A page without rows has no batch but says the schema of its rows, as base64 of its Arrow IPC
    form, since a stream can have only one schema and keys of no type have none.

    Args:
        message: the class of page.
        rows: the form of its rows.
    """

    def __init__(self, message: Any, rows: Form) -> None:
        self.message = message
        self._rows = rows
        self._layout = Layout({"keys": KeysColumn(), **rows.layout.columns})
        self._facts = {"cursor": facts.integer, **rows.facts}

    def check_schema(self, schema: pa.Schema) -> None:
        """As `Form.check_schema`."""
        self._layout.check(self.message.__name__, schema)

    def encode(self, page: Any) -> Frame:
        """As `Form.encode`."""
        values = self._rows.values(page.rows)
        told = {"cursor": page.cursor} | {name: getattr(page.rows, name) for name in self._rows.facts}
        if page.keys is None:
            schema = self._rows.layout.schema(values)
            told["schema"] = base64.b64encode(schema.serialize()).decode()
            return Frame(None, facts.dump(told))
        return Frame(self._layout.pack([page.keys, *values]), facts.dump(told))

    def decode(self, frame: Frame) -> Any:
        """As `Form.decode`."""
        found = facts.load(frame.facts)
        told = facts.parse(self._facts, found)
        cursor = told.pop("cursor")
        if frame.batch is None:
            keys = None
            columns = self._no_rows(facts.parse({"schema": facts.text}, found)["schema"])
        else:
            columns = self._layout.unpack(frame.batch)
            keys = columns.pop("keys")
        return self.message(keys, self._rows.message(**columns, **told), cursor)

    def _no_rows(self, encoded: str) -> dict[str, Any]:
        try:
            schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(encoded, validate=True)))
        except (ValueError, OSError, pa.ArrowException) as error:
            raise ProtocolError(
                f"the schema of a page without rows cannot be read: {error}; expected base64 of Arrow IPC"
            ) from None
        self._rows.check_schema(schema)
        arrays = [pa.array([], field.type) for field in schema]
        return self._rows.layout.unpack(pa.RecordBatch.from_arrays(arrays, schema=schema))


class NeighboursForm(Form):
    """What a search found; without a batch where it found nothing, since keys of no type have no column."""

    def __init__(self) -> None:
        columns = {"keys": KeysColumn(), "scores": NumbersColumn()}
        super().__init__(NeighbourBatch, columns, {"counts": facts.counts})

    def encode(self, message: NeighbourBatch) -> Frame:
        return (
            super().encode(message)
            if message.keys is not None
            else Frame(None, self._said((message.counts,)))
        )

    def decode(self, frame: Frame, **known: Any) -> NeighbourBatch:
        if frame.batch is None:
            found = NeighbourBatch(None, np.empty(0, np.float32), **self._told(frame.facts))
        else:
            found = super().decode(frame, **known)
        if sum(found.counts) != len(found.scores):
            raise ProtocolError(
                f"a search that found {len(found.scores)} rows, and {sum(found.counts)} by its counts"
            )
        return found


class PullForm(Form):
    """A pull; its number is 0, and there is no batch, where the node must wait still."""

    def __init__(self) -> None:
        columns = {"model": DoublesColumn(), "column": DoublesColumn()}
        super().__init__(
            Pull, columns, {"sequence": facts.integer, "mu": facts.number, "tasks": facts.integer}
        )

    def encode(self, message: Pull | NoPull) -> Frame:
        return (
            Frame(None, self._said((0, 0.0, 0))) if isinstance(message, NoPull) else super().encode(message)
        )

    def decode(self, frame: Frame, **known: Any) -> Any:
        if frame.batch is None and self._told(frame.facts)["sequence"] == 0:
            return NoPull()
        return super().decode(frame, **known)
