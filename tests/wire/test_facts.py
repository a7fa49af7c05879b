"""Facts are of the declared type or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from carls.errors import ProtocolError
from carls.messages import (
    Announce,
    DescribeBank,
    EndLease,
    FetchStatistics,
    FetchStatus,
    LatestModel,
    LeaseShares,
    ListTables,
    OpenTable,
    RenewLease,
)
from carls.wire import facts
from carls.wire.actions import ACTIONS
from carls.wire.frames import PROTOCOL, Command

_STATUS = b'{"reply":{"id":"","version":"","uptime_s":0,"durable":false,"tables":[1],"models":[]}}'


@pytest.mark.parametrize("raw", [None, b"", b"{", b"[]", b"3", b"\xff\xfe", b"null", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(raw: bytes | None) -> None:
    with pytest.raises(ProtocolError, match="expected"):
        facts.load(raw)


@pytest.mark.parametrize(
    ("parser", "value"),
    [
        (facts.integer, 1.0),
        (facts.integer, True),
        (facts.integer, "1"),
        (facts.integer, 2**63),
        (facts.integer, None),
        (facts.number, "1"),
        (facts.number, False),
        (facts.number, 10**400),
        (facts.boolean, 1),
        (facts.text, 1),
        (facts.text, "\ud800"),
        (facts.texts, "ab"),
        (facts.texts, ["a", 1]),
        (facts.mapping, []),
        (facts.age_bound, [1, 2]),
        (facts.age_bound, [1, 2, "3"]),
        (facts.age_bound, {}),
        (facts.write_id, ["c", 1]),
        (facts.write_id, ["c", "1", True]),
        (facts.write_id, ["c", 1, 1]),
    ],
)
def test_a_fact_of_another_type_is_refused_by_name(parser: facts.Parser, value: Any) -> None:
    with pytest.raises(ProtocolError, match=r"=.*: expected"):
        facts.parse({"it": parser}, {"it": value})


def test_a_missing_fact_is_named() -> None:
    with pytest.raises(ProtocolError, match="'it' is missing"):
        facts.parse({"it": facts.integer}, {})


def test_unknown_facts_are_ignored() -> None:
    assert facts.parse({"a": facts.integer}, {"a": 1, "new": 2}) == {"a": 1}


@pytest.mark.parametrize("protocol", [0, 2, "1", None])
def test_another_protocol_is_refused_and_both_are_named(protocol: Any) -> None:
    raw = json.dumps({"protocol": protocol, "operation": "lookup", "table": "t", "bank": ""}).encode()
    with pytest.raises(ProtocolError, match=r"protocol .*speaks protocol 1.*same version"):
        Command.load(raw)
    with pytest.raises(ProtocolError, match="speaks protocol 1"):
        ACTIONS[ListTables].decode_request(raw)


def test_a_command_survives() -> None:
    assert Command.load(Command("lookup", "täble", "b").dump()) == Command("lookup", "täble", "b")


@pytest.mark.parametrize(
    ("message", "raw"),
    [
        (OpenTable, b"{}"),
        (OpenTable, b'{"reply":3}'),
        (OpenTable, b'{"reply":{"name":"t"}}'),
        (ListTables, b'{"reply":{}}'),
        (DescribeBank, b'{"reply":null}'),
        (LatestModel, b'{"reply":[]}'),
        (LatestModel, b"pong"),
        (LeaseShares, b'{"reply":{"shares":[0],"grants":[1]}}'),
        (LeaseShares, b'{"reply":{"shares":[0.5],"grants":[1],"holders":1}}'),
        (RenewLease, b'{"reply":null}'),
        (FetchStatistics, b'{"reply":{"name":"t"}}'),
        (FetchStatistics, b'{"reply":[]}'),
        (FetchStatus, b'{"reply":{"tables":[]}}'),
        (
            FetchStatus,
            b'{"reply":{"id":"","version":"","uptime_s":0,"durable":false,"tables":3,"models":[]}}',
        ),
    ],
)
def test_a_forged_reply_is_refused(message: Any, raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        ACTIONS[message].decode_reply(raw)


_LEASE = {
    "group": "g",
    "holder": "h",
    "shares": 4,
    "about": "",
    "seconds": 1.0,
    "producer": "p",
    "join": True,
}
_ANNOUNCE = {"table": "t", "part": [0], "parts": 1, "step": 1, "producer": "p", "write": ["c", 1, True]}


@pytest.mark.parametrize(
    ("message", "request_", "changes"),
    [
        (LeaseShares, _LEASE, {"shares": 1.5}),
        (LeaseShares, _LEASE, {"seconds": "10"}),
        (LeaseShares, _LEASE, {"holder": None}),
        (LeaseShares, _LEASE, {"about": 3}),
        (LeaseShares, _LEASE, {"join": 1}),
        (RenewLease, {"group": "g", "holder": "h", "clients": []}, {"clients": "c"}),
        (RenewLease, {"group": "g", "holder": "h", "clients": []}, {"clients": [1]}),
        (EndLease, {"group": "g", "holder": "h"}, {"group": []}),
        (Announce, _ANNOUNCE, {"part": 0}),
        (Announce, _ANNOUNCE, {"part": [0.5]}),
        (Announce, _ANNOUNCE, {"part": [2**63]}),
    ],
)
def test_a_forged_request_is_refused(message: Any, request_: dict[str, Any], changes: dict[str, Any]) -> None:
    def body(request: dict[str, Any]) -> bytes:
        return json.dumps({"protocol": PROTOCOL, "bank": "", "request": request}).encode()

    decoded, _ = ACTIONS[message].decode_request(body(request_))
    assert isinstance(decoded, message)
    with pytest.raises(ProtocolError, match=f"{next(iter(changes))}.*expected"):
        ACTIONS[message].decode_request(body(request_ | changes))
    for name in request_:
        missing = {key: value for key, value in request_.items() if key != name}
        with pytest.raises(ProtocolError, match="is missing"):
            ACTIONS[message].decode_request(body(missing))
