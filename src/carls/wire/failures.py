"""Errors on the wire: JSON in the extra_info of a Flight error, and nothing else.

Flight adds words of its own to an error's text, so the text is never read. gRPC carries errors
in headers, which it drops beyond 8 KiB, so long ones are shortened here.
"""

from __future__ import annotations

import json

import pyarrow.flight as fl

from carls.errors import CarlsError, UnavailableError, from_json

_MAX_BYTES = 3000
_MAX_MESSAGE = 1000
_MAX_NAME = 300


def to_flight(error: CarlsError) -> fl.FlightError:
    """The Flight error that carries `error`."""
    told = error.to_json()
    code = told["code"]
    raw = _dump(told)
    if len(raw) > _MAX_BYTES:
        told["details"] = {}
        raw = _dump(told)
    if len(raw) > _MAX_BYTES:
        told["message"] = _shortened(error.message, _MAX_MESSAGE)
        told["table"] = error.table and _shortened(error.table, _MAX_NAME)
        told["bank"] = error.bank and _shortened(error.bank, _MAX_NAME)
        raw = _dump(told)
    kind = fl.FlightUnavailableError if isinstance(error, UnavailableError) else fl.FlightServerError
    return kind(code, extra_info=raw)


def from_flight(error: BaseException) -> CarlsError | None:
    """The error that `to_flight` packed, or None if this is a fault of the connection."""
    extra = getattr(error, "extra_info", None)
    if not extra:
        return None
    try:
        told = json.loads(extra)
    except ValueError:
        return None
    return from_json(told) if isinstance(told, dict) else None


def _dump(told: object) -> bytes:
    return json.dumps(told, separators=(",", ":"), default=str).encode("ascii")


def _shortened(long: str, limit: int) -> str:
    plain = long.encode("ascii", "backslashreplace").decode()
    return plain if len(plain) <= limit else f"{plain[: limit // 2]} ... {plain[-limit // 2 :]}"
