"""Element-wise operations, for which one thread is faster than several.

Threads that wait for work sleep (`audit/__init__` says why). Waking them takes about a tenth of a millisecond for each
operation. On two cores, one thread computes a quarter of a million numbers sooner. An audit of ten thousand images
mostly consists of such operations, besides products of matrices, which gain from all threads.
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
    """A block in which torch computes with one CPU thread, unless `numbers` is above ALONE.

    Torch keeps the number of threads for each Python thread, and a new thread starts with the number that was set last.
    So the number from before the first thread entered is restored in every thread that leaves.
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
    """Logarithms of the probabilities (k, C) of logits (k, C)."""
    with one_thread(logits.numel()):
        return logits.log_softmax(1) if logits.shape[1] >= SHORT else logits.T.log_softmax(0).T.contiguous()
