"""How messages cross the wire: every request and reply of `carls.messages` to and from Arrow."""

from carls.wire.actions import ACTIONS, Action
from carls.wire.frames import PROTOCOL, Command, Frame
from carls.wire.limits import MAX_REQUEST_BYTES, rows_per_request
from carls.wire.streamed import STREAMED, Streamed

__all__ = [
    "ACTIONS",
    "MAX_REQUEST_BYTES",
    "PROTOCOL",
    "STREAMED",
    "Action",
    "Command",
    "Frame",
    "Streamed",
    "rows_per_request",
]
