"""Ports for processes that tests start."""

import socket


def held_port():
    """A bound socket: its port stays free for a process of the test that listens there.

    Nobody else is given the port, and who asks for this one by SO_REUSEADDR, as gRPC does, gets it.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held
