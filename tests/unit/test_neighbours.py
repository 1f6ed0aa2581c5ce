"""The neighbours that a report shows are those of the pairwise matrix."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

from audit.explain.influential import ExplanationSettings, Wanted, influential_samples
from audit.head.fit import probabilities, residuals, train_head
from audit.head.hessian import HeadHessian
from audit.head.stable import StableSolver
from audit.influence.pairwise import influence_on_targets
from audit.influence.ranking import helpful_and_harmful

CLASSES = 10


@pytest.mark.parametrize(
    ("solver", "settings"),
    [
        ("cholesky", ExplanationSettings()),
        ("auto", ExplanationSettings()),
        ("auto", ExplanationSettings(at_once=7, candidates=5)),
    ],
)
def test_neighbours_are_the_strongest_of_the_pairwise_matrix(solver: str, settings: ExplanationSettings) -> None:
    digits = load_digits()
    x, labels = torch.from_numpy(digits.data / 16), torch.from_numpy(digits.target)
    train, others = np.arange(0, 1200), torch.arange(1200, 1797)
    head = train_head(x[:1200], labels[:1200], x[others], labels[others], CLASSES)
    z = head.features(x)
    p = probabilities(z, head.weight)
    targets = torch.nn.functional.one_hot(labels, CLASSES).double()
    wrong = residuals(p, targets)
    hessian = HeadHessian(z[:1200], p[:1200], head.l2)
    rows = np.concatenate([np.arange(30), np.arange(1200, 1270)])  # training samples, and others
    names = ([str(row) for row in range(len(x))], np.arange(CLASSES))
    wanted = Wanted(["flagged"] * len(rows), rows, targets, 3)
    table = influential_samples(hessian, z, p, wrong, train, [wanted], names, solver, settings=settings)
    matrix = influence_on_targets(StableSolver(hessian), z[rows], wrong[rows], z[:1200], wrong[:1200])
    assert list(pd.unique(table["target"])) == [names[0][row] for row in rows]
    found = table.set_index(["target", "kind", "rank"]).sort_index()
    kept = []
    for row, influence in zip(rows, matrix, strict=True):
        if row < len(influence):
            influence[row] = 0  # a sample does not explain itself
        for kind, places in zip(("helpful", "harmful"), helpful_and_harmful(influence, 3), strict=True):
            mine, best = found.loc[(str(row), kind)], influence[places].numpy()
            if solver == "cholesky":
                largest = float(influence.abs().max())
                assert mine["influence"].to_numpy() == pytest.approx(best, rel=0.02, abs=2e-3 * largest)
            kept.append(float(influence[mine["neighbour"].astype(int).tolist()].sum()) / float(best.sum()))
    # In few classes first, the three that are found help or harm as much as the strongest, but for a little.
    assert min(kept) > 0.7
    assert np.mean(kept) > (0.9999 if solver == "cholesky" else 0.99)


def test_few_training_samples_are_all_candidates_once() -> None:
    generator = torch.Generator().manual_seed(0)
    z, labels = torch.randn(12, 4, generator=generator).double(), torch.arange(12) % 3
    p = torch.randn(12, 3, generator=generator).double().softmax(1)
    targets = torch.nn.functional.one_hot(labels, 3).double()
    wanted = Wanted(["flagged"] * 3, np.array([0, 5, 11]), targets, 20)
    names = ([str(row) for row in range(12)], np.arange(3))
    hessian = HeadHessian(z[:10], p[:10], 0.1)
    table = influential_samples(hessian, z, p, residuals(p, targets), np.arange(10), [wanted], names)
    assert not table.duplicated(["target", "neighbour"]).any()
    assert table.groupby("target").size().to_dict() == {"0": 9, "5": 9, "11": 10}  # none explains itself
