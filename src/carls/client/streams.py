"""Open streams to a bank, kept for the next call of the same operation on the same table."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

from carls.errors import ProtocolError
from carls.messages import Reply
from carls.wire.frames import Command, Frame
from carls.wire.streamed import Streamed


class StreamEndedError(Exception):
    """The bank ended the stream without a reply."""


class Stream:
    """One open stream: it carries one call at a time.

    Args:
        client: Flight client, known to be connected: opening may block where it is not.
        operation: that the stream is for.
        command: opens the stream.
        schema: of all requests on the stream.
        replies: what all replies on the stream are like, as their requests say it.
    """

    def __init__(
        self, client: Any, operation: Streamed, command: Command, schema: pa.Schema, replies: str
    ) -> None:
        self.command = command
        self.schema = schema
        self.replies = replies
        self.calls = 0
        self.idle_since = 0.0
        self._reply = operation.reply
        self._begun = False
        self._checked = False
        descriptor = fl.FlightDescriptor.for_command(command.dump())
        self._writer, self._reader = client.do_exchange(descriptor)

    def exchange(self, frame: Frame) -> Reply:
        """Send a request and wait for its reply, without a deadline: `cancel` ends the wait.

        Raises:
            StreamEndedError: the bank ended the stream.
            ProtocolError: the reply is forged.
            pyarrow.flight.FlightError: the stream broke, or carries an error of the bank.
        """
        if not self._begun:
            self._writer.begin(self.schema)
            self._begun = True
        if frame.batch is None:
            self._writer.write_metadata(frame.facts)
        else:
            self._writer.write_with_metadata(frame.batch, frame.facts)
        try:
            chunk = self._reader.read_chunk()
        except StopIteration:
            raise StreamEndedError("the bank ended the stream") from None
        except fl.FlightError:
            raise
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ProtocolError(
                f"a reply that Arrow cannot read: {error}; is this a bank of carls?"
            ) from None
        if chunk.data is not None and not self._checked:
            self._reply.check_schema(chunk.data.schema)
            self._checked = True
        facts = chunk.app_metadata
        self.calls += 1
        reply: Reply = self._reply.decode(Frame(chunk.data, None if facts is None else facts.to_pybytes()))
        return reply

    def cancel(self) -> None:
        """Break the stream from any thread; a waiting `exchange` raises."""
        self._reader.cancel()

    def discard(self) -> None:
        """Break the stream and let go of it, from the thread that uses it."""
        self.cancel()
        with contextlib.suppress(pa.ArrowException, OSError):
            self._writer.close()


class StreamPool:
    """All streams of one transport: those in use and those that wait for their next call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[Command, list[Stream]] = defaultdict(list)
        self._in_use: set[Stream] = set()
        self._closed = False

    def take(self, command: Command, schema: pa.Schema, replies: str) -> Stream | None:
        """An idle stream for such requests, the one used last, or None."""
        with self._lock:
            idle = self._idle.get(command, [])
            for at in range(len(idle) - 1, -1, -1):
                if idle[at].replies == replies and idle[at].schema.equals(schema):
                    stream = idle.pop(at)
                    self._in_use.add(stream)
                    return stream
            return None

    def add(self, stream: Stream) -> None:
        """Count a new stream as in use."""
        with self._lock:
            self._in_use.add(stream)
            if self._closed:
                stream.cancel()

    def put_back(self, stream: Stream) -> None:
        """Keep a stream for its next call."""
        with self._lock:
            self._in_use.discard(stream)
            if not self._closed:
                stream.idle_since = time.monotonic()
                self._idle[stream.command].append(stream)
                return
        stream.discard()

    def drop(self, stream: Stream) -> None:
        """Let go of a stream in use that cannot be used again."""
        with self._lock:
            self._in_use.discard(stream)
        stream.discard()

    def drop_idle(self, unused_s: float) -> int:
        """Close the streams that have been idle for `unused_s` seconds or longer; how many they were."""
        before = time.monotonic() - unused_s
        with self._lock:
            old = [s for streams in self._idle.values() for s in streams if s.idle_since <= before]
            for command in list(self._idle):
                self._idle[command] = [s for s in self._idle[command] if s.idle_since > before]
                if not self._idle[command]:
                    del self._idle[command]
        for stream in old:
            stream.discard()
        return len(old)

    def close(self) -> None:
        """Close idle streams and break those in use, whose calls then fail."""
        with self._lock:
            self._closed = True
            for stream in self._in_use:
                stream.cancel()
        self.drop_idle(0.0)
