"""Operations number by number: the threads they take, and that short rows give what long ones do."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from audit.compute.threads import ALONE, SHORT, log_softmax, one_thread, softmax


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_one_thread_within_and_as_many_as_before_after() -> None:
    with one_thread():
        assert torch.get_num_threads() == 1
        with one_thread(ALONE):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_an_audit_that_begins_in_another_thread_meanwhile_has_as_many_after() -> None:
    entered, leave, after = threading.Event(), threading.Event(), []

    def other_audit() -> None:
        with one_thread():
            entered.set()
            leave.wait()
        after.append(torch.get_num_threads())

    other = threading.Thread(target=other_audit)
    with one_thread():
        other.start()
        entered.wait()
    assert torch.get_num_threads() == 2
    leave.set()
    other.join()
    assert after == [2]
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_all_threads_for_many_numbers_and_after_an_error() -> None:
    with one_thread(ALONE + 1):
        assert torch.get_num_threads() == 2
    with pytest.raises(ZeroDivisionError), one_thread():
        raise ZeroDivisionError
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("classes", [2, SHORT - 1, SHORT])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_probabilities_of_few_and_many_classes(classes: int, dtype: torch.dtype) -> None:
    logits = 30 * torch.randn(100, classes, dtype=dtype, generator=torch.Generator().manual_seed(classes))
    torch.testing.assert_close(softmax(logits), logits.softmax(1))
    torch.testing.assert_close(log_softmax(logits), logits.log_softmax(1))
    assert softmax(logits).is_contiguous()
    assert log_softmax(logits).is_contiguous()
