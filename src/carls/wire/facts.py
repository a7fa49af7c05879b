"""Facts: the scalar fields of messages as JSON, checked by type when read.

Readers trust nothing: what another process sent is either of the declared type or a
`ProtocolError`. What a value means is the bank's business.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from carls.errors import ProtocolError
from carls.messages import AgeBound, Evidence, MemoryCounts, WriteId

Parser: TypeAlias = Callable[[str, Any], Any]

_INT64 = range(-(2**63), 2**63)
_ENCODER = json.JSONEncoder(separators=(",", ":"))


def dump(facts: Any) -> bytes:
    """JSON text of `facts`; named tuples become arrays."""
    return _ENCODER.encode(facts).encode()


def load(raw: bytes | None) -> dict[str, Any]:
    """The JSON object in `raw`.

    Raises:
        ProtocolError: it is not the UTF-8 text of a JSON object.
    """
    try:
        facts = json.loads((raw or b"").decode())
    except (ValueError, RecursionError):
        raise ProtocolError(f"{(raw or b'')[:60]!r}: expected a JSON object") from None
    if not isinstance(facts, dict):
        raise ProtocolError(f"JSON {str(facts)[:60]!r}: expected an object")
    return facts


def integer(name: str, value: Any) -> int:
    """Parse an integer that fits int64."""
    if type(value) is not int or value not in _INT64:
        raise _wrong(name, value, "an integer within int64")
    return value


def maybe_integer(name: str, value: Any) -> int | None:
    """Parse an integer that fits int64, or null."""
    return None if value is None else integer(name, value)


def number(name: str, value: Any) -> float:
    """Parse a number."""
    if type(value) is int and value in _INT64:
        return float(value)
    if type(value) is not float:
        raise _wrong(name, value, "a number")
    return value


def maybe_number(name: str, value: Any) -> float | None:
    """Parse a number, or null."""
    return None if value is None else number(name, value)


def boolean(name: str, value: Any) -> bool:
    """Parse a truth value."""
    if type(value) is not bool:
        raise _wrong(name, value, "true or false")
    return value


def text(name: str, value: Any) -> str:
    """Parse a string that is valid Unicode."""
    if type(value) is not str or not _is_unicode(value):
        raise _wrong(name, value, "a string")
    return value


def texts(name: str, value: Any) -> tuple[str, ...]:
    """Parse an array of strings."""
    if type(value) is not list:
        raise _wrong(name, value, "an array of strings")
    return tuple(text(name, one) for one in value)


def integers(name: str, value: Any) -> tuple[int, ...]:
    """Parse an array of integers that fit int64."""
    if type(value) is not list:
        raise _wrong(name, value, "an array of integers")
    return tuple([integer(name, one) for one in value])


def counts(name: str, value: Any) -> tuple[int, ...]:
    """Parse an array of integers of at least 0."""
    if type(value) is not list or any(type(one) is not int or not 0 <= one < 2**31 for one in value):
        raise _wrong(name, value, "an array of counts")
    return tuple(value)


def mapping(name: str, value: Any) -> dict[str, Any]:
    """Parse an object, of any content."""
    if type(value) is not dict:
        raise _wrong(name, value, "an object")
    return value


def maybe_mapping(name: str, value: Any) -> dict[str, Any] | None:
    """Parse an object, of any content, or null."""
    return None if value is None else mapping(name, value)


def age_bound(name: str, value: Any) -> AgeBound:
    """Parse [at_step, max_age_steps, max_age_s], each or null."""
    if type(value) is not list or len(value) != 3:
        raise _wrong(name, value, "[at_step, max_age_steps, max_age_s]")
    at_step, max_age_steps, max_age_s = value
    return AgeBound(
        maybe_integer("at_step", at_step),
        maybe_integer("max_age_steps", max_age_steps),
        None if max_age_s is None else number("max_age_s", max_age_s),
    )


def write_id(name: str, value: Any) -> WriteId:
    """Parse [client, sequence, first]."""
    if type(value) is not list or len(value) != 3:
        raise _wrong(name, value, "[client, sequence, first]")
    client, sequence, first = value
    return WriteId(text("client", client), integer("sequence", sequence), boolean("first", first))


def memory_counts(name: str, value: Any) -> MemoryCounts:
    """Parse [calls, points, refused_bootstrap, refused_full]."""
    if type(value) is not list or len(value) != len(MemoryCounts._fields):
        raise _wrong(name, value, f"[{', '.join(MemoryCounts._fields)}]")
    return MemoryCounts(*map(integer, MemoryCounts._fields, value))


def evidence(name: str, value: Any) -> Evidence:
    """Parse [loss, square, linear]."""
    if type(value) is not list or len(value) != len(Evidence._fields):
        raise _wrong(name, value, f"[{', '.join(Evidence._fields)}]")
    return Evidence(*map(number, Evidence._fields, value))


def parse(parsers: Mapping[str, Parser], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Read each named fact; facts that no parser asks for are ignored, as newer peers may send them.

    Raises:
        ProtocolError: a fact is missing or of another type.
    """
    try:
        return {name: read(name, facts[name]) for name, read in parsers.items()}
    except KeyError as missing:
        raise ProtocolError(f"fact {missing} is missing: expected {sorted(parsers)}") from None


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _wrong(name: str, value: Any, expected: str) -> ProtocolError:
    return ProtocolError(f"{name}={ascii(value)[:60]}: expected {expected}")
