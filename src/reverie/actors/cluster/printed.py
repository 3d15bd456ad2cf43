"""What a process and its children print, for somebody else to show."""

import collections
import contextlib
import os
import threading

LINES = 1000
"""Most lines that wait; of more the oldest are left out."""

LONGEST = 10_000
"""Most bytes of a line; a longer one, such as that of a bar of progress, comes in pieces."""


class Printed:
    """Takes the standard output and error of this process, which still reach where they went."""

    def __init__(self):
        self._lines: collections.deque[str] = collections.deque(maxlen=LINES)
        source, sink = os.pipe()
        copies = [os.dup(number) for number in (1, 2)]
        for number in (1, 2):
            os.dup2(sink, number)
        os.close(sink)
        threading.Thread(target=self._read, args=[source, copies[1]], daemon=True).start()

    def take(self) -> tuple[str, ...]:
        """The lines since the last call."""
        return tuple(self._lines.popleft() for _ in range(len(self._lines)))

    def _read(self, source: int, copy: int) -> None:
        with os.fdopen(source, "rb") as lines:
            while line := lines.readline(LONGEST):
                # On a full disk the log lacks lines: whoever prints must not wait, or fail.
                with contextlib.suppress(OSError):
                    os.write(copy, line)
                self._lines.append(line.decode(errors="replace").rstrip("\r\n"))
