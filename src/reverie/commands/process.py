"""The process of the command: its signals, standard streams and modules."""

import contextlib
import io
import os
import pathlib
import re
import signal
import sys
from collections.abc import Iterator
from types import FrameType

_TUNABLES, _HUGE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"


def use_huge_pages(command: list[str]) -> None:
    """Starts a command that trains anew, with huge pages for malloc if Linux waits to be asked.

    Each update maps its working memory anew. In pages of 4 KB that is a sixth of the time of one
    with images on one core. glibc reads its tunables only when a process starts. Those of a user
    stay as they are, and ours is not for the processes that this one starts.
    """
    if os.environ.get(_TUNABLES) == _HUGE:
        del os.environ[_TUNABLES]
    elif command not in (["train"], ["--learner"]) or _TUNABLES in os.environ:
        return
    elif huge_pages_on_demand():
        with contextlib.suppress(OSError):
            words = [sys.executable, *sys.orig_argv[1:]]
            os.execve(sys.executable, words, {**os.environ, _TUNABLES: _HUGE})


def huge_pages_on_demand() -> bool:
    """Whether malloc can have huge pages, and has to ask for them."""
    try:
        version = os.confstr("CS_GNU_LIBC_VERSION") or ""
        pages = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    except (OSError, ValueError):  # Another system, or another C library.
        return False
    return "[madvise]" in pages and [int(x) for x in re.findall(r"\d+", version)] >= [2, 35]


def take_signals() -> None:
    """Until there is a run to save, signals end the process with a line and their exit code.

    Ctrl-C does so as a KeyboardInterrupt, or at once where Python would ignore that, as in
    callbacks of the garbage collector, and in imports: compiled modules may crash when Python code
    that they call raises. SIGHUP stays ignored under `nohup`.
    """
    previous = sys.unraisablehook

    def leave(number: int, frame: object) -> None:
        with contextlib.suppress(OSError):
            os.write(2, f"Stopped by {signal.Signals(number).name}.\n".encode())
        os._exit(128 + number)

    def ignored(what: "sys.UnraisableHookArgs") -> None:
        if issubclass(what.exc_type, KeyboardInterrupt):
            leave(signal.SIGINT, None)
        previous(what)

    def interrupt(number: int, frame: FrameType | None) -> None:
        while frame:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                leave(number, frame)
            frame = frame.f_back
        raise KeyboardInterrupt

    sys.unraisablehook = ignored
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, leave)


def open_streams() -> None:
    """Opens the standard streams that were closed, as under some service managers.

    The next files would take their numbers, and whoever prints would write into them. What the
    encoding of the output lacks, such as a letter of a folder, is written as its number.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode)  # noqa: SIM115 It stays open as long as the process.
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def find_modules_here() -> None:
    """Lets `module:Id` name modules in the current folder, as `python -m` does.

    Last on the path, so that no file there stands in front of an installed package; but a run
    folder holds data, whoever made it, and never the modules of anyone.
    """
    if os.path.exists("config.yaml") and any(map(os.path.exists, ("checkpoints", "scores.jsonl"))):
        return
    with contextlib.suppress(FileNotFoundError):  # Somebody has deleted it.
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())


@contextlib.contextmanager
def kept_for_document() -> Iterator[None]:
    """Keeps the standard output for one document: what environments print goes to the errors."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
