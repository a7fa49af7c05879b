"""A bank server as a process of its own, for tests, demos and benchmarks."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from types import TracebackType

from carls.errors import UnavailableError

_READY = re.compile(rb"serving at (\S+)")


class BankProcess:
    """Starts `carls serve` and waits until it is ready; stops it in the end.

    Use it as a context manager, or call `stop()`.

    Args:
        arguments: of `carls serve`; a free port of the loopback interface by default.
        start_timeout_s: longest wait for the server to be ready, in seconds.

    Attributes:
        url: where clients connect.
        pid: of the process.

    Raises:
        UnavailableError: the server did not start in time; says what it wrote.
    """

    def __init__(self, arguments: Sequence[str] = ("--port", "0"), *, start_timeout_s: float = 60.0) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `_release`
        self._process = subprocess.Popen(
            [sys.executable, "-m", "carls", "serve", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self.pid = self._process.pid
        try:
            self.url = self._wait_ready(time.monotonic() + start_timeout_s)
        except BaseException:
            self.kill()
            raise

    def stop(self, timeout_s: float = 30.0) -> int:
        """End the server by SIGTERM and return its exit code. A second call returns it again.

        Raises:
            UnavailableError: it did not end within `timeout_s` seconds; it was killed then.
        """
        self._process.terminate()
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise UnavailableError(f"the bank at {self.url} did not end within {timeout_s} s") from None
        self._release()
        return code

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        self._process.kill()
        self._process.wait()
        self._release()

    def __enter__(self) -> BankProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self.stop()
        else:
            self._release()

    def _wait_ready(self, until: float) -> str:
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        seen = b""
        while not (ready := _READY.search(seen)):
            readable, _, _ = select.select([pipe], [], [], max(0.0, until - time.monotonic()))
            piece = os.read(pipe, 4096) if readable else b""
            if not piece:
                self._log.seek(0)
                said = (seen + self._log.read()).decode(errors="replace").strip()
                raise UnavailableError(f"the bank server did not start; it said: {said[-2000:] or 'nothing'}")
            seen += piece
        return ready[1].decode()

    def _release(self) -> None:
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()
