"""Limits of a bank server."""

from __future__ import annotations

from dataclasses import dataclass, fields

from carls.errors import InvalidSpecError


@dataclass(frozen=True)
class ServiceLimits:
    """What one server takes on.

    Attributes:
        request_bytes: size of one request. Clients send at most 16 MiB of rows at a time.
        streams: open streams; a thread serves each, and clients keep idle ones open for a while.
        actions: actions under way, such as opening a table or waiting for a checkpoint.
    """

    request_bytes: int = 64 * 1024 * 1024
    streams: int = 256
    actions: int = 256

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidSpecError(f"{field.name}={value!r}: expected an integer of at least 1")
