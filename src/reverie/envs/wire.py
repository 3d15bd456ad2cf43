"""Messages between the parent and its worker processes: one tag byte, then maybe a payload."""

import os
import pickle
import socket
import struct
from collections.abc import Callable
from typing import Any

# Parent to worker.
LOAD, MEMORY, RESET, STEP, CLOSE = b"L", b"M", b"R", b"S", b"C"
# Worker to parent.
DONE, LOGS, SPACES, RAISED = b"d", b"l", b"s", b"e"

SEED = struct.Struct("<q")
"""A reset request carries its seed, -1 for none."""

_SIZE = struct.Struct("<q")


class Gone(ConnectionError):
    """The other side of the connection has ended."""


def set_time_limit(sock: socket.socket, seconds: float) -> None:
    """Lets reads of the descriptor return empty-handed after this time."""
    whole = int(seconds)
    limit = struct.pack("ll", whole, int(1e6 * (seconds - whole)))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)


def send(sock: socket.socket, tag: bytes, body: bytes = b"") -> None:
    """Sends a tag and bytes of a length that the other side knows.

    Raises:
        Gone: The other side has ended.
    """
    try:
        sock.sendall(tag + body)
    except (BrokenPipeError, ConnectionResetError) as error:
        raise Gone from error


def send_object(sock: socket.socket, tag: bytes, payload: Any) -> None:
    """Sends a tag and a pickled object."""
    body = pickle.dumps(payload)
    send(sock, tag, _SIZE.pack(len(body)) + body)


def receive(fd: int, size: int = 1, idle: Callable[[], object] | None = None) -> bytes:
    """Reads exactly this many bytes; one is a tag.

    Args:
        fd: Descriptor of the connection.
        size: Number of bytes.
        idle: Called whenever the time limit of the connection passes without a byte; ends the
            waiting by an exception.

    Raises:
        Gone: The other side has ended.
    """
    data = b""
    while len(data) < size:
        try:
            part = os.read(fd, size - len(data))
        except ConnectionResetError as error:
            raise Gone from error
        except BlockingIOError:
            if idle is None:
                raise
            idle()
            continue
        if not part:
            raise Gone
        data += part
    return data


def receive_object(fd: int, idle: Callable[[], object] | None = None) -> Any:
    """Reads the pickled object that follows a tag."""
    (size,) = _SIZE.unpack(receive(fd, _SIZE.size, idle))
    return pickle.loads(receive(fd, size, idle))
