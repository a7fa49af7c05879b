"""Stand-ins for tests: an engine that does as it is told, and a wire that can be cut."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from carls import messages as m
from carls.errors import CarlsError
from carls.keys import Keys

KEYS = Keys.of(["a", "b"])
LOOKUP = m.Lookup("t", KEYS, True, m.AgeBound(None, None, None), 0, "me")
WRITE = m.WriteId("c" * 32, 1, True)
ASSIGN = m.Assign("t", KEYS, np.ones((2, 3), np.float32), 7, "me", WRITE)


class ScriptedEngine:
    """Remembers requests and answers each by a function of its class, or by a plain default."""

    id = "f" * 32

    def __init__(self, **answers: Callable[[Any], Any]) -> None:
        self.answers = answers
        self.seen: list[Any] = []

    def handle(self, request: Any) -> Any:
        self.seen.append(request)
        answer = self.answers.get(type(request).__name__)
        if answer is not None:
            return answer(request)
        if isinstance(request, m.DescribeBank):
            return m.BankInfo(self.id, "0", 0.0, False, ())
        return self.plain(request)

    @staticmethod
    def plain(request: Any) -> Any:
        if isinstance(request, m.Lookup):
            n = len(request.keys.tolist())
            return m.RowBatch(np.ones((n, 3), np.float32), np.zeros(n, m.ROW_META), ())
        if isinstance(request, m.LatestModel):
            return m.NoModel()
        if isinstance(request, m.Erase):
            return m.Erased(np.zeros(len(request.keys.tolist()), bool))
        return m.Done()


class Held:
    """An answer that waits until it is let go, then is plain."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.let_go = threading.Event()

    def __call__(self, request: Any) -> Any:
        self.entered.set()
        self.let_go.wait(60)
        return ScriptedEngine.plain(request)


def in_thread(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(call())
        except CarlsError as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


class Wire:
    """A TCP relay to a port of this machine that can cut its connections."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self.url = f"grpc://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self._start(self._accept)

    def cut(self) -> None:
        """Break all connections; new ones are relayed."""
        with self._lock:
            ends, self._ends = self._ends, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def _start(self, run: Callable[..., None], *arguments: Any) -> None:
        self._threads.append(threading.Thread(target=run, args=arguments))
        self._threads[-1].start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._port))
            with self._lock:
                self._ends += [near, far]
                self.connections += 1
            self._start(self._relay, near, far)
            self._start(self._relay, far, near)

    @staticmethod
    def _relay(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def action_body(bank: str = "", **request: Any) -> bytes:
    """The body of an action, of whatever facts."""
    return json.dumps({"protocol": 1, "bank": bank, "request": request}).encode()
