"""Waiting for a condition, however slow the machine is, and telling how slow it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

SPIN_SECONDS = 0.1


def wait_until(condition: Callable[[], object], seconds: float = 120, every: float = 0.02) -> None:
    """Wait until a condition holds; it fails after so many seconds, which only something that hangs takes."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"did not come true within {seconds} s"
        time.sleep(every)


def wait_for_work(pid: int, seconds: float) -> None:
    """Wait until a process has worked for so many seconds of a processor from now on, or has ended."""
    process = psutil.Process(pid)

    def worked() -> float:
        times = process.cpu_times()
        return times.user + times.system

    begin = worked()
    wait_until(lambda: process.status() == psutil.STATUS_ZOMBIE or worked() - begin >= seconds)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """What is done inside takes no more than so many seconds of an idle machine; a busy one gets as much more."""
    slow = slowdown()
    began = time.perf_counter()
    yield
    took = time.perf_counter() - began
    slow = max(slow, slowdown())
    assert took < seconds * slow, f"took {took:.2f} s where everything takes {slow:.1f} times as long"


def slowdown() -> float:
    """How many seconds pass here while a process works for one: 1 on an idle machine, 2 where it gets half of one."""
    worked, began = time.process_time(), time.perf_counter()
    while time.process_time() - worked < SPIN_SECONDS:
        pass
    return max(1.0, (time.perf_counter() - began) / SPIN_SECONDS)
