"""`carls serve`: a bank server in the foreground."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from carls.bank import Engine
from carls.errors import CarlsError, NotInThisVersionError
from carls.service.addresses import is_loopback
from carls.service.limits import ServiceLimits
from carls.service.server import BankServer

#: Longest wait for calls under way when the server is told to stop, in seconds.
STOP_S = 5.0

_MIB = 1024 * 1024


def serve(
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0 takes a free one.")] = 7070,
    unix: Annotated[
        Path | None, typer.Option(help="Unix socket to listen at, in place of host and port.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow an address that other machines can reach.")
    ] = False,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder for durable rows: not in this version.")
    ] = None,
    max_request_mib: Annotated[int, typer.Option(help="Largest request, in MiB.")] = 64,
    max_streams: Annotated[int, typer.Option(help="Most open streams.")] = 256,
) -> None:
    """Serve an in-memory bank until SIGTERM or Ctrl-C."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    told_to_stop = _stop_pipe()
    try:
        if data_dir is not None:
            raise NotInThisVersionError(
                f"--data-dir {data_dir}: durable banks are not in this version; "
                "leave it out to serve a bank in memory"
            )
        limits = ServiceLimits(request_bytes=max_request_mib * _MIB, streams=max_streams)
        if unix is None and not insecure and not is_loopback(host):
            _fail(
                f"--host {host}: other machines can reach it, and there is no authentication in this "
                "version; listen at 127.0.0.1, or add --insecure if you trust everyone who can reach it"
            )
        engine = Engine()
        server = BankServer(
            engine, host=host, port=port, unix=None if unix is None else str(unix.absolute()), limits=limits
        )
    except NotInThisVersionError as error:
        _fail(str(error), code=2)
    except CarlsError as error:
        _fail(str(error))
    print(
        f"carls bank {engine.id} serving at {server.url} (in memory: rows are gone when it stops)", flush=True
    )
    os.read(told_to_stop, 1)
    answered = server.close(STOP_S)
    engine.close()
    if not answered:
        print(f"carls bank {engine.id}: calls were still under way after {STOP_S:g} s", file=sys.stderr)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Hard, since threads of idle streams would keep the process alive for as long as their clients.
    os._exit(0 if answered else 1)


def _stop_pipe() -> int:
    """The end of a pipe that has a byte to read once SIGTERM or SIGINT has come, to whichever thread."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda *_: None)
    return readable


def _fail(message: str, code: int = 1) -> NoReturn:
    print(f"carls serve: {message}", file=sys.stderr)
    raise typer.Exit(code)
