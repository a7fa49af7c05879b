"""Operations that travel as single actions: those that concern tables, models and the bank as
a whole. Requests and replies are JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from carls.errors import InvalidValueError, ProtocolError
from carls.messages import (
    Announce,
    BankInfo,
    BankStatus,
    DescribeBank,
    DescribeTable,
    Done,
    DropTable,
    EndLease,
    FetchStatistics,
    FetchStatus,
    FetchTaskState,
    Gap,
    KnowledgeInfo,
    LatestKnowledge,
    LatestModel,
    LearningRate,
    LeaseInfo,
    LeaseShares,
    LeaveTask,
    ListModels,
    ListTables,
    ModelInfo,
    NoModel,
    OpenTable,
    RenewLease,
    Reply,
    Request,
    SetIndex,
    SetLearningRate,
    TableInfo,
    TaskNodeState,
    TaskState,
)
from carls.statistics import TableStatistics
from carls.wire import facts
from carls.wire.facts import (
    Parser,
    boolean,
    integer,
    integers,
    mapping,
    maybe_integer,
    maybe_mapping,
    number,
    text,
    texts,
    write_id,
)
from carls.wire.frames import PROTOCOL, check_protocol


@dataclass(frozen=True)
class Action:
    """An operation that is one action.

    Attributes:
        name: Flight's action type.
        message: the class of request.
        facts: parsers of the request's fields.
        read_reply: the reply from the JSON value under "reply".
    """

    name: str
    message: Any
    facts: Mapping[str, Parser]
    read_reply: Callable[[Any], Any]

    def encode_request(self, request: Request, bank: str) -> bytes:
        """The body of the action; `bank` is the id of the bank that is meant, "" for any."""
        return facts.dump({"protocol": PROTOCOL, "bank": bank, "request": request._asdict()})

    def decode_request(self, body: bytes) -> tuple[Request, str]:
        """The request in an action's body, and the id of the bank that is meant.

        Raises:
            ProtocolError: it is forged, or of another version of the protocol.
        """
        found = facts.load(body)
        check_protocol(found)
        told = facts.parse({"bank": text, "request": mapping}, found)
        request: Request = self.message(**facts.parse(self.facts, told["request"]))
        return request, told["bank"]

    def encode_reply(self, reply: Reply) -> bytes:
        """The reply as JSON text."""
        return facts.dump({"reply": _plain(reply)})

    def decode_reply(self, body: bytes) -> Reply:
        """The reply in JSON text.

        Raises:
            ProtocolError: it is forged.
        """
        found = facts.load(body)
        if "reply" not in found:
            raise ProtocolError(f"reply {bytes(body)[:60]!r} to {self.name}: expected a reply of carls")
        reply: Reply = self.read_reply(found["reply"])
        return reply


def _plain(reply: Any) -> Any:
    if isinstance(reply, list):
        return [_plain(one) for one in reply]
    if isinstance(reply, NoModel):
        return None
    if isinstance(reply, Done):
        return {}
    if isinstance(reply, BankStatus | TableStatistics | TaskState):
        return reply.to_json()
    return {field.name: getattr(reply, field.name) for field in dataclasses.fields(reply)}


def _learning_rates(name: str, value: Any) -> tuple[LearningRate, ...]:
    """Parse an array of [lr, step, producer, age]."""
    if type(value) is not list or any(type(one) is not list or len(one) != 4 for one in value):
        raise ProtocolError(f"{name}={ascii(value)[:60]}: expected arrays of [lr, step, producer, age]")
    return tuple(
        LearningRate(number("lr", lr), integer("step", step), text("producer", who), number("age", age))
        for lr, step, who, age in value
    )


_TABLE = {
    "name": text,
    "spec": mapping,
    "rows": integer,
    "nbytes": integer,
    "bank": text,
    "learning_rates": _learning_rates,
}
_MODEL = {
    "name": text,
    "version": integer,
    "step": integer,
    "age": number,
    "producer": text,
    "nbytes": integer,
    "parts": integer,
    "digest": text,
}
_KNOWLEDGE = {"step": integer, "part": integer, "parts": integer, "producer": text, "age": number}
_NODE = {
    "task": text,
    "producer": text,
    "updates": integer,
    "delay_s": number,
    "mean_delay_s": number,
    "behind": integer,
    "seen_s": number,
}
_LEASE = {"shares": integers, "grants": integers, "holders": integer}
_BANK = {"id": text, "version": text, "uptime_s": number, "durable": boolean, "tables": texts}


def _table(value: Any) -> TableInfo:
    return TableInfo(**facts.parse(_TABLE, mapping("reply", value)))


def _model(value: Any) -> ModelInfo:
    return ModelInfo(**facts.parse(_MODEL, mapping("reply", value)))


def _knowledge(value: Any) -> KnowledgeInfo:
    return KnowledgeInfo(**facts.parse(_KNOWLEDGE, mapping("reply", value)))


def _lease(value: Any) -> LeaseInfo:
    return LeaseInfo(**facts.parse(_LEASE, mapping("reply", value)))


def _bank(value: Any) -> BankInfo:
    return BankInfo(**facts.parse(_BANK, mapping("reply", value)))


def _statistics(value: Any) -> TableStatistics:
    try:
        return TableStatistics.from_json(value)
    except InvalidValueError as error:
        raise ProtocolError(f"forged statistics: {error}") from None


def _nodes(name: str, value: Any) -> tuple[TaskNodeState, ...]:
    """Parse an array of what is told of each task."""
    return tuple(_several(lambda one: TaskNodeState(**facts.parse(_NODE, mapping(name, one))))(value))


def _gap(name: str, value: Any) -> Gap | None:
    """Parse a gap, or null."""
    if value is None:
        return None
    return Gap(**facts.parse({"objective": number, "bound": number}, mapping(name, value)))


_TASKS = {
    "nodes": _nodes,
    "updates": integer,
    "duplicates": integer,
    "superseded": integer,
    "epochs": integer,
    "mu": number,
    "guard": number,
    "longest_delay": integer,
    "gap": _gap,
    "certified": _gap,
}


def _tasks(value: Any) -> TaskState:
    return TaskState(**facts.parse(_TASKS, mapping("reply", value)))


def _status(value: Any) -> BankStatus:
    status = mapping("reply", value)
    told = facts.parse(_BANK, status | {"tables": []})
    listed = facts.parse({"tables": _listed(_statistics), "models": _listed(_model)}, status)
    return BankStatus(**told | listed)


def _done(value: Any) -> Done:
    return Done(**facts.parse({}, mapping("reply", value)))


def _latest(value: Any) -> ModelInfo | NoModel:
    return NoModel() if value is None else _model(value)


def _listed(read: Callable[[Any], Any]) -> Parser:
    return lambda _, value: tuple(_several(read)(value))


def _several(read: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    def read_all(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise ProtocolError(f"reply {str(value)[:60]!r}: expected an array")
        return [read(one) for one in value]

    return read_all


_NAMED: dict[str, Parser] = {"table": text}
_GROUP: dict[str, Parser] = {"group": text, "holder": text}

ALL = (
    Action("open_table", OpenTable, {**_NAMED, "spec": mapping}, _table),
    Action(
        "set_learning_rate",
        SetLearningRate,
        {**_NAMED, "lr": number, "step": integer, "producer": text, "write": write_id},
        _done,
    ),
    Action("set_index", SetIndex, {**_NAMED, "policy": maybe_mapping}, _done),
    Action("list_tables", ListTables, {}, _several(_table)),
    Action("describe_table", DescribeTable, _NAMED, _table),
    Action("drop_table", DropTable, {**_NAMED, "write": write_id}, _done),
    Action("describe_bank", DescribeBank, {}, _bank),
    Action("fetch_statistics", FetchStatistics, _NAMED, _statistics),
    Action("fetch_status", FetchStatus, {}, _status),
    Action("leave_task", LeaveTask, {**_NAMED, "task": text, "producer": text, "write": write_id}, _done),
    Action("task_state", FetchTaskState, _NAMED, _tasks),
    Action(
        "announce",
        Announce,
        {**_NAMED, "part": integers, "parts": integer, "step": integer, "producer": text, "write": write_id},
        _done,
    ),
    Action(
        "latest_knowledge",
        LatestKnowledge,
        {**_NAMED, "at_least": integer, "wait_s": number},
        _knowledge,
    ),
    Action(
        "lease_shares",
        LeaseShares,
        {**_GROUP, "shares": integer, "about": text, "seconds": number, "producer": text, "join": boolean},
        _lease,
    ),
    Action("renew_lease", RenewLease, {**_GROUP, "clients": texts}, _done),
    Action("end_lease", EndLease, _GROUP, _done),
    Action(
        "latest_model",
        LatestModel,
        {"model": text, "newer_than": maybe_integer, "wait_s": number, "after": maybe_integer},
        _latest,
    ),
    Action("list_models", ListModels, {}, _several(_model)),
)

#: By class of request, and by name.
ACTIONS = {action.message: action for action in ALL}
BY_NAME = {action.name: action for action in ALL}
