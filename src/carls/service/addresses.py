"""Addresses that a bank server may listen at."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
from pathlib import Path

from carls.errors import InvalidRequestError, UnavailableError

#: Bytes that a Unix socket's path may have, on Linux and macOS both.
_MAX_UNIX_PATH = 103


def is_loopback(host: str) -> bool:
    """Whether every address that `host` stands for is of this machine only.

    Raises:
        InvalidRequestError: the name stands for no address.
    """
    return all(ipaddress.ip_address(address).is_loopback for address in _addresses(host))


def check_free(host: str, port: int) -> None:
    """Bind the port for a moment, since Flight's own message names nothing when it is taken.

    Args:
        host: name or address.
        port: 0 for any free one, or up to 65535.

    Raises:
        UnavailableError: the port is taken, or the address is not of this machine.
        InvalidRequestError: there is no such port or host.
    """
    if not 0 <= port <= 65535:
        raise InvalidRequestError(f"port {port}: expected 0 to 65535")
    address = _addresses(host)[0]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise _bind_error(f"{host}:{port}", error) from None


def check_unix_path(path: str) -> None:
    """Check that a socket can be made at `path`, and remove one that a dead server left behind.

    Raises:
        UnavailableError: a server is listening there, or something else is in the way.
        InvalidRequestError: the path is relative, too long, or its folder does not exist.
    """
    place = Path(path)
    if not place.is_absolute() or len(os.fsencode(path)) > _MAX_UNIX_PATH:
        raise InvalidRequestError(
            f"Unix socket path {path!r}: expected an absolute path of at most {_MAX_UNIX_PATH} bytes"
        )
    if not place.parent.is_dir():
        raise InvalidRequestError(f"Unix socket path {path!r}: expected its folder to exist; make it first")
    if not place.exists():
        return
    if not place.is_socket():
        raise UnavailableError(f"{path} exists and is no socket: choose another path for --unix")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                place.unlink()
            return
        except OSError as error:
            raise UnavailableError(f"{path} cannot be used ({error.strerror}): choose another path") from None
    raise UnavailableError(f"{path} is in use: stop the other process or choose another path for --unix")


def _addresses(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise InvalidRequestError(
            f"host {host!r}: {error}; expected a name or address of this machine"
        ) from None
    return [str(entry[4][0]).partition("%")[0] for entry in found]


def _bind_error(place: str, error: OSError) -> UnavailableError:
    if error.errno == errno.EADDRINUSE:
        return UnavailableError(
            f"{place} is in use: choose another --port (0 takes a free one) "
            "or stop the process that listens there"
        )
    return UnavailableError(f"cannot listen at {place}: {error.strerror}; choose another --host or --port")
