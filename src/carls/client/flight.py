"""The Flight transport: requests to a bank server, each within a deadline."""

from __future__ import annotations

import copy
import os
import re
import threading
import time
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

from carls.client.backoff import Backoff
from carls.client.deadlines import Deadlines
from carls.client.process import check_process
from carls.client.streams import Stream, StreamEndedError, StreamPool
from carls.errors import (
    CarlsError,
    ClosedError,
    DeadlineExceededError,
    InvalidRequestError,
    LimitReachedError,
    OutcomeUnknownError,
    ProtocolError,
    UnavailableError,
)
from carls.messages import DescribeBank, Reply, Request
from carls.wire.actions import ACTIONS, Action
from carls.wire.failures import from_flight
from carls.wire.frames import Command
from carls.wire.streamed import STREAMED, Streamed

DEFAULT_PORT = 7070

_IDLE_S = 60.0
_CLOSE_S = 2.0
#: With less time left than this, another attempt is not worth it.
_LEAST_S = 0.005
#: gRPC's own pauses before it connects anew would outlast most deadlines.
_CHANNEL_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.min_reconnect_backoff_ms", 5000),  # despite its name: how long one connection attempt may take
]
_NO_COLUMNS = pa.schema([])
_TCP_URL = re.compile(r"grpc://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:(?P<port>\d{1,5}))?/?")
_UNIX_URL = re.compile(r"grpc\+unix:///[!-~]+")


class _BrokenError(Exception):
    """An attempt failed on the way.

    Args:
        cause: why, in words.
        sent: whether the request may have reached the bank.
        overdue: whether the deadline passed.
        again_at_once: whether there is no need to pause before the next attempt.
    """

    def __init__(
        self, cause: object, *, sent: bool, overdue: bool = False, again_at_once: bool = False
    ) -> None:
        super().__init__(str(cause))
        self.sent = sent
        self.overdue = overdue
        self.again_at_once = again_at_once


class FlightTransport:
    """Carries requests to the bank server at `url`. Thread-safe; not usable after a fork.

    Row operations travel on streams that are kept open, one call at a time on each; all others
    as single Flight actions. What fails on the way is repeated within the call's deadline.

    Args:
        url: grpc://host:port (default port 7070) or grpc+unix:///path.
        idle_s: streams that were idle for so long are closed, in seconds.

    Attributes:
        url: as given.
        bank_id: id of the bank that requests are meant for, "" for whichever answers (see
            `for_bank`). Another bank answers `BankRestartedError`, but tells a `DescribeBank` who it is.

    Raises:
        InvalidRequestError: the URL is neither.
    """

    def __init__(self, url: str, *, idle_s: float = _IDLE_S) -> None:
        self.url = url
        self.bank_id = ""
        self._process = os.getpid()
        self._idle_s = idle_s
        self._closing = threading.Event()
        self._pool = StreamPool()
        self._deadlines = Deadlines(f"carls-deadlines {url}", self._close_idle, idle_s / 2)
        self._client = fl.FlightClient(_location(url), generic_options=_CHANNEL_OPTIONS)

    def for_bank(self, bank_id: str) -> FlightTransport:
        """The same connection and streams, for requests meant for a bank of that id."""
        other = copy.copy(self)
        other.bank_id = bank_id
        return other

    def call(self, request: Request, timeout_s: float) -> Reply:
        """The bank's reply to a request.

        A server lets a `LatestModel` or a `LatestKnowledge` wait a second at most, whatever its `wait_s`,
        and then answers what there is: whoever wants to wait longer asks again.

        Raises:
            ForkedError: the transport was made in another process.
            ClosedError: the transport is closed.
            UnavailableError: the bank could not be reached within the deadline.
            DeadlineExceededError: it was reached, but gave no reply within the deadline.
            OutcomeUnknownError: the same for a write, which may or may not have been applied.
            CarlsError: the bank's answer.
        """
        check_process(self._process, f"the connection to {self.url}")
        return self._persist(request, timeout_s)

    def close(self) -> None:
        """Close all streams; calls under way in other threads fail with `ClosedError`.

        Takes at most about two seconds, whatever the server does. A second call does nothing.
        """
        if self._closing.is_set() or os.getpid() != self._process:
            return
        self._closing.set()
        self._pool.close()
        self._deadlines.close(_CLOSE_S)
        self._client.close()

    # --- attempts ---------------------------------------------------------------------------

    def _persist(self, request: Request, timeout_s: float) -> Reply:
        due = time.monotonic() + timeout_s
        backoff = Backoff()
        sent = False
        failure: _BrokenError | None = None
        while True:
            if self._closing.is_set():
                raise ClosedError(f"the connection to {self.url} is closed: connect again", bank=self.url)
            try:
                return self._attempt(request, due)
            except _BrokenError as broken:
                sent = sent or broken.sent
                # That the last moments were too short for another try says less than what failed before.
                if failure is None or broken.sent or not broken.overdue:
                    failure = broken
            except LimitReachedError as full:
                # Perhaps our own idle streams leave no room.
                if not self._pool.drop_idle(0.0) and not sent:
                    raise
                failure = _BrokenError(full, sent=False)
            left_s = due - time.monotonic()
            if failure.overdue or left_s < _LEAST_S:
                raise self._given_up(request, timeout_s, failure, sent)
            self._closing.wait(0.0 if failure.again_at_once else min(backoff.pause_s(), left_s / 2))

    def _attempt(self, request: Request, due: float) -> Reply:
        operation = STREAMED.get(type(request))
        try:
            if operation is None:
                return self._act(ACTIONS[type(request)], request, due)
            return self._exchange(operation, request, due)
        except UnavailableError as refused:
            raise _BrokenError(refused, sent=False) from None

    def _exchange(self, operation: Streamed, request: Request, due: float) -> Reply:
        frame = operation.request.encode(request)
        command = Command(operation.name, getattr(request, operation.table), self.bank_id)
        schema = _NO_COLUMNS if frame.batch is None else frame.batch.schema
        replies = "" if operation.reply_varies is None else getattr(request, operation.reply_varies)
        stream = self._pool.take(command, schema, replies)
        if stream is None:
            stream = self._open(operation, command, schema, replies, due)
        watched = self._deadlines.watch(due, stream.cancel)
        try:
            reply = stream.exchange(frame)
        except BaseException as error:
            overdue = not self._deadlines.met(watched)
            self._pool.drop(stream)
            if isinstance(error, fl.FlightError | pa.ArrowException | OSError | StreamEndedError):
                raise self._failure(error, overdue, stream) from None
            raise
        if self._deadlines.met(watched):
            self._pool.put_back(stream)
        else:
            self._pool.drop(stream)
        return reply

    def _failure(self, error: Exception, overdue: bool, stream: Stream) -> Exception:
        told = from_flight(error)
        if told is not None:
            return told
        used = stream.calls > 0
        if used:
            # The server has probably gone, and the other idle streams with it.
            self._pool.drop_idle(0.0)
        return _BrokenError(error, sent=True, overdue=overdue, again_at_once=used)

    def _open(
        self, operation: Streamed, command: Command, schema: pa.Schema, replies: str, due: float
    ) -> Stream:
        # An action first, since it has a timeout: opening a stream blocks while gRPC connects.
        self._act(ACTIONS[DescribeBank], DescribeBank(), due, before=True)
        try:
            stream = Stream(self._client, operation, command, schema, replies)
        except (pa.ArrowException, OSError) as error:
            raise _BrokenError(error, sent=False) from None
        self._pool.add(stream)
        return stream

    def _act(self, action: Action, request: Any, due: float, *, before: bool = False) -> Reply:
        left_s = due - time.monotonic()
        if left_s <= 0:
            raise _BrokenError("no time was left", sent=False, overdue=True)
        options = fl.FlightCallOptions(timeout=left_s)
        body = action.encode_request(request, self.bank_id)
        try:
            results = list(self._client.do_action(fl.Action(action.name, body), options))
        except fl.FlightTimedOutError as error:
            raise _BrokenError(error, sent=not before, overdue=True) from None
        except (pa.ArrowException, OSError) as error:
            told = from_flight(error)
            if told is not None:
                raise told from None
            if isinstance(error, pa.ArrowNotImplementedError):
                raise self._foreign(error) from None
            raise _BrokenError(error, sent=not before) from None
        if len(results) != 1:
            raise self._foreign(f"{len(results)} results to {action.name}")
        return action.decode_reply(results[0].body.to_pybytes())

    def _close_idle(self) -> None:
        self._pool.drop_idle(self._idle_s)

    # --- errors -----------------------------------------------------------------------------

    def _given_up(self, request: Request, timeout_s: float, failure: _BrokenError, sent: bool) -> CarlsError:
        name = type(request).__name__
        table = getattr(request, "table", None)
        kind: type[CarlsError]
        if sent and hasattr(request, "write"):
            kind = OutcomeUnknownError
            found = (
                f"no reply within {timeout_s:g} s, so it may or may not have been applied; "
                "flush() repeats it under its sequence number, which is safe"
            )
        elif failure.overdue:
            kind = DeadlineExceededError
            found = (
                f"no reply within {timeout_s:g} s; raise timeout_s, ask for less at a time, "
                "or see what the bank is busy with"
            )
        else:
            kind = UnavailableError
            found = (
                f"the bank could not be reached within {timeout_s:g} s; is `carls serve` running there? "
                f"({str(failure)[:200]})"
            )
        place = f"{name} at {self.url}" if table is None else f"{name} on table {table!r} at {self.url}"
        details = {"operation": name, "timeout_s": timeout_s, "cause": str(failure)[:300]}
        return kind(f"{place}: {found}", bank=self.url, table=table, details=details)

    def _foreign(self, found: object) -> ProtocolError:
        return ProtocolError(
            f"{self.url} does not answer as a bank of carls ({str(found)[:200]}): check the address",
            bank=self.url,
        )


def _location(url: str) -> str:
    if _UNIX_URL.fullmatch(url):
        return url
    found = _TCP_URL.fullmatch(url)
    port = int((found and found["port"]) or DEFAULT_PORT)
    if found is None or not 0 < port < 65536:
        raise InvalidRequestError(
            f"bank URL {url!r:.200}: expected grpc://host:port or grpc+unix:///path, the port from 1 to 65535"
        )
    return f"grpc://{found['host']}:{port}"
