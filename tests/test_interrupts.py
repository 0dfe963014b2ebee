"""Tests of onnxcomp.interrupts."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from onnxcomp.interrupts import Interrupted, Signals


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_the_first_waits_and_the_second_strikes(number: int, code: int) -> None:
    with Signals() as signals:
        assert signals.pending == 0
        send(number)
        assert signals.pending == number
        with pytest.raises(Interrupted) as caught:
            send(number)
    assert caught.value.code == code


def test_at_once_the_first_strikes() -> None:
    with Signals() as signals:
        with pytest.raises(Interrupted), signals.at_once():
            send(signal.SIGTERM)
        assert signals.pending


def test_at_once_one_that_waits_strikes() -> None:
    with Signals() as signals:
        send(signal.SIGINT)
        reached = False
        with pytest.raises(Interrupted), signals.at_once():
            reached = True
        assert not reached


def test_after_at_once_it_waits_again() -> None:
    with Signals() as signals:
        with signals.at_once():
            pass
        send(signal.SIGINT)
        assert signals.pending == signal.SIGINT


def test_of_several_processes_none_leaves_alone() -> None:
    with Signals(wait=True) as signals, signals.at_once():
        send(signal.SIGINT)
        with signals.at_once():
            assert signals.pending == signal.SIGINT


def test_the_handlers_before_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(ZeroDivisionError), Signals():
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with Signals() as signals:
            send(signal.SIGHUP)
            assert signals.pending == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_it_is_an_interrupt_for_those_who_know_no_better() -> None:
    assert issubclass(Interrupted, KeyboardInterrupt)
    assert not issubclass(Interrupted, Exception)


def test_another_thread_than_the_first_can_use_it() -> None:
    found: list[int] = []

    def work() -> None:
        with Signals() as signals, signals.at_once():
            found.append(signals.pending)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [0]
