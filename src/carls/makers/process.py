"""MakerProcess: a maker's runner in a process of its own."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
import threading
import time
import traceback
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from carls.errors import CarlsError, DeadlineExceededError, InvalidRequestError
from carls.keys import Keys
from carls.makers.intervals import Interval
from carls.makers.maker import KnowledgeMaker
from carls.makers.progress import Progress
from carls.makers.runner import MakerRunner
from carls.makers.schedules import Schedule

#: Longest wait for the process to answer a question, in seconds.
_ANSWER_S = 10.0


class MakerProcess:
    """Runs a `MakerRunner` in a spawned process; arguments and behaviour are the runner's.

    Use it as a context manager, or call `start()` and `stop()`. The maker travels to the
    process by pickle; a script that starts one needs the usual `if __name__ == "__main__":`.
    The process ends by itself when its owner is gone. An exception of the maker's own code
    stops the process and is raised, once, at the owner's next call.

    Args:
        url: of a bank server.
        start_timeout_s: longest wait for the process to be ready, in seconds.

    Attributes:
        pid: of the process; None before `start()`.
    """

    def __init__(
        self,
        url: str,
        maker: KnowledgeMaker,
        *,
        model: str,
        keys: Any,
        schedule: Schedule | str = "all",
        batch_size: int = 1024,
        rows_per_s: float | None = None,
        interval: Interval | str = "none",
        share: str | None = None,
        lease_s: float = 10.0,
        start_timeout_s: float = 60.0,
    ) -> None:
        settings: dict[str, Any] = {
            "model": model,
            "keys": Keys.of(keys),
            "schedule": Schedule.of(schedule),
            "batch_size": batch_size,
            "rows_per_s": rows_per_s,
            "interval": Interval.of(interval),
            "share": share,
            "lease_s": lease_s,
        }
        MakerRunner(url, maker, **settings)  # checks the arguments here, where they were given
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._theirs: Connection | None = theirs
        self._process = context.Process(
            target=_work, args=(theirs, url, maker, settings), name=f"carls maker of {model}", daemon=True
        )
        self._start_timeout_s = start_timeout_s
        self._lock = threading.Lock()
        self._last = Progress()
        self._ended = False

    @property
    def pid(self) -> int | None:
        """Id of the process; None before `start()`."""
        return self._process.pid

    @property
    def progress(self) -> Progress:
        """What was done so far; raises the exception that stopped the maker, if any, once."""
        with self._lock:
            if not self._ended:
                self._ask("progress")
                self._await("progress", _ANSWER_S)
            return self._last

    def start(self) -> MakerProcess:
        """Start the process and wait until it is ready to follow checkpoints."""
        if self._theirs is None:
            raise InvalidRequestError("this maker process was started before: make another one")
        self._process.start()
        self._theirs.close()
        self._theirs = None
        try:
            with self._lock:
                self._await("ready", self._start_timeout_s)
        except BaseException:
            self._kill()
            raise
        return self

    def stop(self, timeout_s: float = 30.0) -> Progress:
        """Stop and wait for the end; raises the exception that stopped the maker, if any, once.

        Raises:
            DeadlineExceededError: it did not end within `timeout_s` seconds; it was killed then.
        """
        with self._lock:
            if self._ended or self._theirs is not None:
                return self._last
            try:
                self._ask("stop")
                self._await("ended", timeout_s)
            finally:
                self._process.join(_ANSWER_S)
                self._kill()
            return self._last

    def __enter__(self) -> MakerProcess:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _ask(self, question: str) -> None:
        # A process that has just ended has left its last words in the pipe.
        with contextlib.suppress(BrokenPipeError):
            self._pipe.send(question)

    def _await(self, wanted: str, timeout_s: float) -> None:
        """Read what the process says until it says `wanted` or ends."""
        deadline = time.monotonic() + timeout_s
        while True:
            if not self._pipe.poll(max(deadline - time.monotonic(), 0.0)):
                raise DeadlineExceededError(
                    f"maker process {self.pid} did not answer {wanted!r} within {timeout_s} s"
                )
            try:
                said, self._last, error = self._pipe.recv()
            except (EOFError, ConnectionError):
                self._ended = True
                self._process.join(_ANSWER_S)
                raise CarlsError(
                    f"maker process {self.pid} died with exit code {self._process.exitcode}: see its output"
                ) from None
            if said == "ended":
                self._ended = True
                if error is not None:
                    raise error
            if said == wanted or self._ended:
                return

    def _kill(self) -> None:
        self._ended = True
        if self._process.is_alive():
            self._process.kill()
            self._process.join(_ANSWER_S)
        self._pipe.close()


def _work(pipe: Connection, url: str, maker: KnowledgeMaker, settings: dict[str, Any]) -> None:
    """The process: a runner in the main thread, its owner's questions in another."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the owner, who stops us
    runner = MakerRunner(url, maker, **settings)
    voice = threading.Lock()

    def say(what: str, error: BaseException | None = None) -> None:
        with voice, contextlib.suppress(BrokenPipeError):
            pipe.send((what, runner.progress, error))

    def listen() -> None:
        with contextlib.suppress(EOFError, OSError):
            while (question := pipe.recv()) != "stop":
                say(question)
        runner.request_stop()

    threading.Thread(target=listen, name="carls maker owner", daemon=True).start()
    say("ready")
    try:
        runner.run()
    except BaseException as error:
        traceback.print_exc()
        say("ended", _portable(error))
    else:
        say("ended")


def _portable(error: BaseException) -> BaseException:
    """The error if it survives the way to the owner, else its text."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
