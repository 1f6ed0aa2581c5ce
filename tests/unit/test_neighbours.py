"""The neighbours that a report shows are those of the pairwise matrix, of as many as the bound on work allows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

from audit.explain.influential import ExplanationSettings, Wanted, influential_samples, plan
from audit.head.fit import probabilities, residuals, train_head
from audit.head.hessian import HeadHessian
from audit.head.stable import StableSolver
from audit.influence.pairwise import influence_on_targets
from audit.influence.ranking import helpful_and_harmful

CLASSES = 10


@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_neighbours_are_the_strongest_of_the_pairwise_matrix(solver: str) -> None:
    digits = load_digits()
    x, labels = torch.from_numpy(digits.data / 16), torch.from_numpy(digits.target)
    train, others = np.arange(0, 1200), torch.arange(1200, 1797)
    head = train_head(x[:1200], labels[:1200], x[others], labels[others], CLASSES)
    z = head.features(x)
    p = probabilities(z, head.weight)
    targets = torch.nn.functional.one_hot(labels, CLASSES).double()
    wrong = residuals(p, targets)
    hessian = HeadHessian(z[:1200], p[:1200], head.l2)
    rows = np.concatenate([np.arange(30), np.arange(1200, 1270)])  # training samples, and more than are made at once
    names = ([str(row) for row in range(len(x))], np.arange(CLASSES))
    wanted = Wanted(["flagged"] * len(rows), rows, targets, 3)
    table = influential_samples(hessian, z, p, wrong, train, [wanted], names, solver)
    matrix = influence_on_targets(StableSolver(hessian), z[rows], wrong[rows], z[:1200], wrong[:1200])
    assert list(pd.unique(table["target"])) == [names[0][row] for row in rows]
    found = table.set_index(["target", "kind", "rank"]).sort_index()
    for row, influence in zip(rows, matrix, strict=True):
        if row < len(influence):
            influence[row] = 0  # a sample does not explain itself
        for kind, places in zip(("helpful", "harmful"), helpful_and_harmful(influence, 3), strict=True):
            mine = found.loc[(str(row), kind), "influence"].to_numpy()
            assert mine == pytest.approx(influence[places].numpy(), rel=0.02, abs=2e-3 * float(influence.abs().max()))


def _of_shape(samples: int, features: int, classes: int) -> HeadHessian:
    """A Hessian that only has the right shape: all its rows are the same one."""
    z, p = torch.zeros(1, 1).expand(samples, features), torch.zeros(1, 1).expand(samples, classes)
    return HeadHessian(z, p, 1e-3)


def test_a_thousand_samples_are_affordable_where_a_factor_is() -> None:
    for samples, classes in ((1437, 10), (8800, 20), (8000, 10), (880, 2)):
        assert plan(_of_shape(samples, 513, classes), "auto", 1008)[:2] == ("cholesky", 1008)


def test_work_is_bounded_where_no_factor_fits() -> None:
    large = _of_shape(80_000, 513, 100)
    method, count, _ = plan(large, "auto", 1008)
    assert method == "cg"
    assert 50 < count < 200
    assert plan(large, "cg", 1008)[1] == count
    middling = _of_shape(1000, 513, 100)
    settings = ExplanationSettings()
    least = settings.cpu_flop / (4 * 1000 * middling.parameters)  # products with the Hessian
    assert plan(middling, "auto", 1008)[:2] == ("cg", int(least / (settings.cg_steps + 0.5)))
    assert plan(_of_shape(1000, 513, 10), "auto", 3)[:2] == ("cg", 3)  # a factor does not pay off for a few
