"""Operations number by number, which cost more to start than to do.

Threads that wait for work sleep here (`audit/__init__` says why), and waking them takes about a tenth of a millisecond,
for each operation anew: on two cores a quarter of a million numbers are done sooner by one thread. An audit of ten
thousand images is made of such operations, beside products of matrices, which are worth all threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

ALONE = 2**18  # numbers up to which one thread is faster; measured on two cores
SHORT = 64  # numbers in a row, below which torch's softmax along rows is ten times slower than along columns

_lock = threading.Lock()
_own = threading.local()


@dataclass
class _Nesting:
    """How many threads are within `one_thread`, and torch's number of threads before the first of them."""

    within: int = 0
    threads_before: int = 1


_nesting = _Nesting()


@contextmanager
def one_thread(numbers: int = 0) -> Iterator[None]:
    """Within, torch computes on the CPU with one thread, unless operations are on more than ALONE numbers.

    Torch keeps the number for each thread that computes, and a new thread takes up what any has set last. So a thread
    that comes in while another is within leaves with the number from before either of them came.
    """
    if numbers > ALONE or getattr(_own, "alone", False):
        yield
        return
    with _lock:
        if not _nesting.within:
            _nesting.threads_before = torch.get_num_threads()
        _nesting.within += 1
    torch.set_num_threads(1)
    _own.alone = True
    try:
        yield
    finally:
        _own.alone = False
        torch.set_num_threads(_nesting.threads_before)
        with _lock:
            _nesting.within -= 1


def softmax(logits: Tensor) -> Tensor:
    """Probabilities (k, C) of logits (k, C)."""
    with one_thread(logits.numel()):
        return logits.softmax(1) if logits.shape[1] >= SHORT else logits.T.softmax(0).T.contiguous()


def log_softmax(logits: Tensor) -> Tensor:
    """Their logarithms (k, C)."""
    with one_thread(logits.numel()):
        return logits.log_softmax(1) if logits.shape[1] >= SHORT else logits.T.log_softmax(0).T.contiguous()
