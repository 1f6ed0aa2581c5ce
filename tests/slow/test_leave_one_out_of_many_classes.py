"""What the head predicts without a sample where classes are many: against real refits."""

from __future__ import annotations

import pytest
import torch

from audit.head.settings import LeaveOneOutSettings
from tests.head_problems import made_problem, refit_without


@pytest.mark.parametrize(("method", "most", "of_unlikely"), [("kfac", 0.03, 0.001), ("blocks", 0.005, 0.01)])
def test_leave_one_out_of_many_classes_that_are_alike_is_near_refits(
    method: str, most: float, of_unlikely: float
) -> None:
    """200 classes in 40 groups that are hard to tell apart, 6 samples each."""
    generator = torch.Generator().manual_seed(0)
    groups = torch.randn(40, 32, generator=generator, dtype=torch.float64).repeat_interleave(5, 0)
    centres = groups + 0.2 * torch.randn(200, 32, generator=generator, dtype=torch.float64)
    labels = torch.randint(200, (1400,), generator=generator)
    x = centres[labels] + torch.randn(1400, 32, generator=generator, dtype=torch.float64)
    problem = made_problem(n=1200, classes=200, l2=1e-2, x=x, labels=labels)
    found = problem.left_out(method)
    assert found.method == method
    p = problem.head.probabilities(problem.train.inputs)
    rows = torch.randperm(1200, generator=generator)[:12]
    real = torch.stack([refit_without(problem, row)[0] for row in rows.tolist()])
    error, in_sample = (float((values[rows] - real).abs().amax(1).mean()) for values in (found.probabilities, p))
    assert error < most
    assert error < 10 * most * in_sample
    all_likely = problem.left_out(method, LeaveOneOutSettings(likely_classes=200))
    assert float((found.probabilities - all_likely.probabilities).abs().max()) < of_unlikely
