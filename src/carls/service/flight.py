"""The Arrow Flight service: reads frames, hands requests to an engine, writes its replies."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.flight as fl

from carls.errors import BankRestartedError, ProtocolError, RequestTooLargeError, UnavailableError
from carls.messages import DescribeBank, LatestKnowledge, LatestModel, Reply, Request
from carls.service.handlers import answers_errors
from carls.service.limits import ServiceLimits
from carls.service.turnstile import Turnstile
from carls.wire import actions, streamed
from carls.wire.frames import Command, Frame
from carls.wire.streamed import Streamed

_log = logging.getLogger("carls.service")

#: Longest wait for a checkpoint or for knowledge in one action, in seconds; a client that waits
#: longer asks again. It bounds how long a client that went away, or a stopping server, is waited for.
MAX_WAIT_S = 1.0


class Handles(Protocol):
    """What the service needs of an engine: an `id`, and `handle`."""

    id: str

    def handle(self, request: Request) -> Reply:
        """The reply to a request."""


class FlightService(fl.FlightServerBase):  # type: ignore[misc]
    """Answers streams and actions from the moment it is made.

    Args:
        location: Flight location to listen at.
        engine: gives the replies.
        limits: what the server takes on.
    """

    def __init__(self, location: str, engine: Handles, limits: ServiceLimits) -> None:
        self._engine = engine
        self._limits = limits
        self._streams = Turnstile("streams", limits.streams)
        self._actions = Turnstile("actions", limits.actions)
        self._calls = Turnstile("calls")
        super().__init__(location, middleware={"carls": _SpokenOnly()})

    def drain(self, timeout_s: float) -> bool:
        """Refuse whatever is new and wait for what is under way; whether all of it was answered."""
        for turnstile in (self._streams, self._actions, self._calls):
            turnstile.close()
        return self._calls.wait_empty(timeout_s)

    # --- streams ----------------------------------------------------------------------------

    @answers_errors
    def do_exchange(
        self,
        context: fl.ServerCallContext,  # noqa: ARG002
        descriptor: fl.FlightDescriptor,
        reader: fl.MetadataRecordBatchReader,
        writer: fl.MetadataRecordBatchWriter,
    ) -> None:
        """Serve one stream until the client ends it."""
        command = Command.load(descriptor.command)
        operation = streamed.BY_NAME.get(command.operation)
        if operation is None:
            raise ProtocolError(
                f"operation {command.operation[:60]!r}: expected one of {sorted(streamed.BY_NAME)}"
            )
        self._check_bank(command.bank)
        with self._streams:
            self._serve(operation, command.table, reader, _Replies(writer))

    def _serve(self, operation: Streamed, table: str, reader: Any, replies: _Replies) -> None:
        known = {operation.table: table}
        checked = False
        for frame in _frames(reader):
            with self._calls:
                self._check_size(frame, operation.name, table)
                if frame.batch is not None and not checked:
                    operation.request.check_schema(frame.batch.schema)
                    checked = True
                request = operation.request.decode(frame, **known)
                reply = operation.reply.encode(self._engine.handle(request))
                if not replies.write(reply):
                    return

    def _check_bank(self, meant: str) -> None:
        if meant not in ("", self._engine.id):
            raise BankRestartedError(
                f"the request is for bank {meant[:60]}, and this is bank {self._engine.id}: the other was "
                "stopped and its in-memory rows are gone; open the tables anew and fill them",
                bank=self._engine.id,
            )

    def _check_size(self, frame: Frame, operation: str, table: str | None) -> None:
        size = len(frame.facts or b"")
        if frame.batch is not None:
            size += frame.batch.get_total_buffer_size()
        limit = self._limits.request_bytes
        if size > limit:
            raise RequestTooLargeError(
                f"{operation} of {size} bytes: this bank takes requests of at most {limit} bytes; "
                "send fewer rows at a time",
                table=table,
                details={"size": size, "limit": limit},
            )

    # --- actions ----------------------------------------------------------------------------

    @answers_errors
    def do_action(self, context: fl.ServerCallContext, action: fl.Action) -> Iterator[bytes]:  # noqa: ARG002
        """Answer one action."""
        found = actions.BY_NAME.get(action.type)
        if found is None:
            raise ProtocolError(f"action {action.type[:60]!r}: expected one of {sorted(actions.BY_NAME)}")
        with self._actions, self._calls:
            self._check_size(Frame(None, action.body), found.name, None)
            request, bank = found.decode_request(action.body.to_pybytes())
            if not isinstance(request, DescribeBank):
                self._check_bank(bank)
            if isinstance(request, LatestModel | LatestKnowledge):
                # In this order NaN stays NaN, which the engine refuses.
                request = request._replace(wait_s=min(request.wait_s, MAX_WAIT_S))
            return iter([found.encode_reply(self._engine.handle(request))])

    @answers_errors
    def list_actions(self, context: fl.ServerCallContext) -> list[tuple[str, str]]:  # noqa: ARG002
        """The names of the actions and what they ask."""
        return [(action.name, action.message.__doc__ or "") for action in actions.ALL]


class _SpokenOnly(fl.ServerMiddlewareFactory):  # type: ignore[misc]
    """Refuses what else Flight has, before it reaches handlers whose tracebacks Flight would send."""

    _SPOKEN = (fl.FlightMethod.DO_EXCHANGE, fl.FlightMethod.DO_ACTION, fl.FlightMethod.LIST_ACTIONS)

    @answers_errors
    def start_call(self, info: fl.CallInfo, headers: Any) -> None:  # noqa: ARG002
        """Flight calls this before each stream or action."""
        if info.method not in self._SPOKEN:
            raise ProtocolError("a bank answers streams (DoExchange) and actions (DoAction) only")


class _Replies:
    """Writes the replies of one stream."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._schema: pa.Schema | None = None

    def write(self, reply: Frame) -> bool:
        """Write one reply; False if the client has gone.

        Raises:
            UnavailableError: the columns are no longer those that the stream began with, as
                when the table was dropped and made anew. The client opens a new stream.
        """
        batch = reply.batch
        if batch is not None and self._schema is not None and not batch.schema.equals(self._schema):
            raise UnavailableError("the columns of the table have changed: open a new stream")
        try:
            if batch is None:
                self._writer.write_metadata(reply.facts)
                return True
            if self._schema is None:
                self._schema = batch.schema
                self._writer.begin(self._schema)
            if reply.facts is None:
                self._writer.write_batch(batch)
            else:
                self._writer.write_with_metadata(batch, reply.facts)
        except (pa.ArrowException, OSError) as gone:
            _log.debug("a client went away before its reply: %s", gone)
            return False
        return True


def _frames(reader: Any) -> Iterator[Frame]:
    while True:
        try:
            chunk = reader.read_chunk()
        except StopIteration:
            return
        except (fl.FlightError, OSError) as gone:
            _log.debug("a client went away: %s", gone)
            return
        except (pa.ArrowException, ValueError, EOFError, MemoryError) as error:
            raise ProtocolError(f"a message that Arrow cannot read: {error}") from None
        facts = chunk.app_metadata
        yield Frame(chunk.data, None if facts is None else facts.to_pybytes())
