"""Servers that calls are compared with, each in a process of its own."""

from __future__ import annotations

import os
import re
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from carls.errors import UnavailableError

_END_S = 10.0


@contextmanager
def serving(
    command: Sequence[str], ready: re.Pattern[bytes], *, start_timeout_s: float = 30.0
) -> Iterator[str]:
    """Runs `command` until the block ends; gives group 1 of what `ready` finds in its output.

    Its standard input ends with this process, however that ends.

    Raises:
        UnavailableError: it was not found within `start_timeout_s` seconds; says what was written.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            due, seen = time.monotonic() + start_timeout_s, b""
            while not (found := ready.search(seen)):
                left_s = max(0.0, due - time.monotonic())
                piece = b""
                if select.select([process.stdout], [], [], left_s)[0]:
                    piece = os.read(process.stdout.fileno(), 4096)
                if not piece:
                    log.seek(0)
                    said = (seen + log.read()).decode(errors="replace").strip()[-2000:]
                    raise UnavailableError(f"{command[0]} did not start; it said: {said or 'nothing'}")
                seen += piece
            yield found[1].decode()
        finally:
            process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdin.close()
            process.stdout.close()
