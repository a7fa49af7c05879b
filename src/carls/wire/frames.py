"""Frames: what one message looks like on a stream, and the command that opens the stream."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

from carls.errors import ProtocolError
from carls.wire import facts

#: Version of everything that crosses the wire; both sides must have the same.
PROTOCOL = 1


class Frame(NamedTuple):
    """One message: its columns, or None where it has none, and its facts as JSON text."""

    batch: pa.RecordBatch | None
    facts: bytes | None


class Command(NamedTuple):
    """What a stream is for: one operation on one table (or model) of one bank.

    Attributes:
        operation: name of the operation.
        table: name of the table or model.
        bank: id of the bank that is meant; "" for whichever answers.
    """

    operation: str
    table: str
    bank: str

    def dump(self) -> bytes:
        """The descriptor command that opens the stream."""
        return facts.dump({"protocol": PROTOCOL, **self._asdict()})

    @staticmethod
    def load(raw: bytes | None) -> Command:
        """Read a descriptor command.

        Raises:
            ProtocolError: it is none, or of another version of the protocol.
        """
        found = facts.load(raw)
        check_protocol(found)
        return Command(**facts.parse(dict.fromkeys(Command._fields, facts.text), found))


def check_protocol(found: dict[str, object]) -> None:
    """Check the version that a message names.

    Raises:
        ProtocolError: it is not ours; names both.
    """
    if found.get("protocol") != PROTOCOL:
        raise ProtocolError(
            f"protocol {found.get('protocol')!r}: this side speaks protocol {PROTOCOL}; "
            "install the same version of carls on both sides"
        )
