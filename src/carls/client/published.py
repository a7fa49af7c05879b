"""Files that are written beside their name, and published whole."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from carls.errors import CarlsError, InvalidRequestError


@contextlib.contextmanager
def published(path: Path, overwrite: bool) -> Iterator[BinaryIO]:
    """A file to write to, which gets the name `path` when all is written; nothing is left if that fails.

    Raises:
        InvalidRequestError: there is such a file and it may not be replaced, or it cannot be written.
    """
    if path.is_dir() or (path.exists() and not overwrite):
        raise _there(path)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(part, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _publish(part, path, overwrite)
    except CarlsError:  # some are of the system's kinds too
        raise
    except OSError as error:
        raise InvalidRequestError(f"{path} cannot be written: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def _publish(part: Path, path: Path, overwrite: bool) -> None:
    if overwrite:
        os.replace(part, path)
        return
    # A link fails where somebody has made such a file meanwhile; a renaming would replace it.
    try:
        os.link(part, path)
    except FileExistsError:
        raise _there(path) from None
    except OSError:  # a file system without links
        if path.exists():
            raise _there(path) from None
        os.replace(part, path)


def _there(path: Path) -> InvalidRequestError:
    return InvalidRequestError(f"{path} is there already: choose another name, or ask to overwrite it")
