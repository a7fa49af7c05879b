"""A proxy that fails on demand: it stands between a client and a bank server and breaks their connections."""

from __future__ import annotations

import contextlib
import enum
import re
import selectors
import socket
import struct
import threading
from types import TracebackType

from carls.errors import InvalidRequestError

_URL = re.compile(r"grpc://(?P<host>[^:/\[\]]+):(?P<port>\d+)")
_PIECE = 65536
#: Longest wait for the server to take a connection, and for the thread to end, in seconds.
_CONNECT_S, _CLOSE_S = 2.0, 10.0
#: Makes closing a socket reset its connection.
_RESET = struct.pack("ii", 1, 0)


class Direction(enum.Enum):
    """The way that bytes go."""

    TO_BANK = "to the bank"
    TO_CLIENT = "to the client"


class _Pipe:
    """One direction of one connection."""

    def __init__(self, source: socket.socket, sink: socket.socket, direction: Direction) -> None:
        self.source, self.sink, self.direction = source, sink, direction
        self.pending = b""
        self.ended = False


class _Passage:
    """How many more bytes may pass in one direction, and what happens then."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.then_cut = False

    def piece(self, pending: bytes) -> bytes:
        return pending if self.left is None else pending[: self.left]

    def passed(self, nbytes: int) -> bool:
        """Count bytes; whether the connections are to be cut now."""
        if self.left is None:
            return False
        self.left -= nbytes
        if self.left or not self.then_cut:
            return False
        self.left = None
        return True


class FaultyProxy:
    """Relays TCP connections to a bank server, and breaks them when told to.

        with BankProcess() as server, FaultyProxy(server.url) as proxy:
            with carls.connect(proxy.url) as bank:
                proxy.cut_after(Direction.TO_CLIENT, 100)
                ...

    One thread does all the work; it ends with `close`. Counts of bytes are over all connections,
    from the call on. All methods may be called from any thread.

    Args:
        url: grpc://host:port of the server. It need not run when a client connects; then the
            client's connection is reset.

    Attributes:
        url: where clients connect.
        connections: how many connections have been relayed so far.

    Raises:
        InvalidRequestError: the URL is of another kind.
    """

    def __init__(self, url: str) -> None:
        found = _URL.fullmatch(url)
        if found is None:
            raise InvalidRequestError(f"URL {url!r:.80}: expected grpc://host:port of a bank server")
        self._bank = (found["host"], int(found["port"]))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._wake, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._lock = threading.Lock()
        self._pipes: list[_Pipe] = []
        self._passages = {direction: _Passage() for direction in Direction}
        self._refusing = self._closed = False
        self.url = f"grpc://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self._thread = threading.Thread(target=self._run, name=f"carls faulty proxy {self.url}", daemon=True)
        self._thread.start()

    @property
    def open_connections(self) -> int:
        """How many connections are relayed now."""
        with self._lock:
            return len({pipe.source for pipe in self._pipes}) // 2

    def cut(self) -> None:
        """Break all connections now; new ones are relayed."""
        with self._lock:
            self._cut()

    def cut_after(self, direction: Direction, nbytes: int) -> None:
        """Break all connections once so many more bytes, 1 at least, have passed that way. Once."""
        self._limit(direction, _at_least("nbytes", nbytes, 1), then_cut=True)

    def stall(self, direction: Direction, nbytes: int = 0) -> None:
        """Hold back everything that goes that way, after `nbytes` more bytes, until `heal`.

        Connections stay open, also those that a client closes: the bank is told when they heal.
        """
        self._limit(direction, _at_least("nbytes", nbytes, 0), then_cut=False)

    def refuse(self) -> None:
        """Reset new connections until `heal`; those that there are stay."""
        with self._lock:
            self._refusing = True

    def heal(self) -> None:
        """Relay everything again, also what was held back; cuts that have not happened do not."""
        with self._lock:
            self._refusing = False
            self._passages = {direction: _Passage() for direction in Direction}
        self._nudge()

    def close(self) -> None:
        """Break all connections and end the thread; closing twice is fine."""
        with self._lock:
            self._closed = True
            self._cut()
        self._nudge()
        self._thread.join(_CLOSE_S)

    def __enter__(self) -> FaultyProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _limit(self, direction: Direction, nbytes: int, *, then_cut: bool) -> None:
        with self._lock:
            passage = self._passages[direction]
            passage.left, passage.then_cut = nbytes, then_cut
        self._nudge()

    def _nudge(self) -> None:
        with contextlib.suppress(OSError):
            self._wake.send(b"x")

    # --- with the lock ---

    def _cut(self) -> None:
        for pipe in self._pipes:
            pipe.pending, pipe.ended = b"", True
            with contextlib.suppress(OSError):
                pipe.source.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            near, _ = self._listener.accept()
            try:
                if self._refusing:
                    raise ConnectionRefusedError
                far = socket.create_connection(self._bank, _CONNECT_S)
            except OSError:
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                near.close()
                return
            for end in (near, far):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pipes.append(_Pipe(near, far, Direction.TO_BANK))
            self._pipes.append(_Pipe(far, near, Direction.TO_CLIENT))
            self.connections += 1

    def _read(self, pipe: _Pipe) -> None:
        try:
            pipe.pending = pipe.source.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            pipe.pending = b""
        pipe.ended = not pipe.pending

    def _write(self, pipe: _Pipe) -> None:
        passage = self._passages[pipe.direction]
        try:
            sent = pipe.sink.send(passage.piece(pipe.pending))
        except BlockingIOError:
            return
        except OSError:
            pipe.pending, pipe.ended = b"", True
            return
        pipe.pending = pipe.pending[sent:]
        if passage.passed(sent):
            self._cut()

    def _passes(self, pipe: _Pipe) -> bool:
        return self._passages[pipe.direction].left != 0

    def _drop_ended(self) -> None:
        """Close the connections of which one direction has ended: Flight never half-closes its own.

        What is held back keeps its connection open.
        """
        ended = {
            frozenset((pipe.source, pipe.sink))
            for pipe in self._pipes
            if pipe.ended and not pipe.pending and self._passes(pipe)
        }
        for ends in ended:
            for end in ends:
                end.close()
        self._pipes = [pipe for pipe in self._pipes if frozenset((pipe.source, pipe.sink)) not in ended]

    def _wanted(self) -> dict[socket.socket, int]:
        """The events to wait for."""
        wanted = {self._listener: selectors.EVENT_READ, self._woken: selectors.EVENT_READ}
        for pipe in self._pipes:
            if pipe.pending:
                if self._passes(pipe):
                    wanted[pipe.sink] = wanted.get(pipe.sink, 0) | selectors.EVENT_WRITE
            elif not pipe.ended:
                wanted[pipe.source] = wanted.get(pipe.source, 0) | selectors.EVENT_READ
        return wanted

    # --- the thread ---

    def _run(self) -> None:
        while True:
            with self._lock:
                self._drop_ended()
                if self._closed:
                    break
                selector = selectors.DefaultSelector()
                for end, events in self._wanted().items():
                    selector.register(end, events)
            ready = {key.fileobj: events for key, events in selector.select()}
            selector.close()
            with self._lock:
                if self._woken in ready:
                    with contextlib.suppress(BlockingIOError):
                        self._woken.recv(_PIECE)
                if self._listener in ready:
                    self._accept()
                for pipe in self._pipes:
                    if ready.get(pipe.source, 0) & selectors.EVENT_READ and not (pipe.pending or pipe.ended):
                        self._read(pipe)
                    if (
                        pipe.pending
                        and ready.get(pipe.sink, 0) & selectors.EVENT_WRITE
                        and self._passes(pipe)
                    ):
                        self._write(pipe)
        for end in (self._listener, self._woken, self._wake):
            end.close()
        for pipe in self._pipes:
            pipe.source.close()


def _at_least(what: str, value: int, least: int) -> int:
    if value < least:
        raise InvalidRequestError(f"{what}={value!r}: expected {least} or more")
    return value
