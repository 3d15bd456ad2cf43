"""Signals as requests."""

import os
import signal
import threading

import pytest

from reverie.run.shutdown import Shutdown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_is_a_request_and_the_second_interrupts(number):
    before = signal.getsignal(number)
    with Shutdown() as shutdown:
        assert shutdown.requested is None
        os.kill(os.getpid(), number)
        assert shutdown.requested == number
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_other_threads_leave_signals_alone():
    before = signal.getsignal(signal.SIGTERM)
    requested = []

    def work():
        with Shutdown() as shutdown:
            requested.append(shutdown.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert requested == [None]
    assert signal.getsignal(signal.SIGTERM) is before
