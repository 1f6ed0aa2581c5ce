"""The samples that a report explains, each by the training samples that help and harm it most.

These are the validation samples that the head predicts worst, and the samples with the most suspicious labels. Each
needs a solution of H S = r zᵀ (`audit.influence.pairwise`). For hundreds of samples a factor of the head's Hessian pays
off. If it is too large, the solutions come from conjugate gradients, and the work may not suffice for all samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from audit.compute.matrix import RemoteRows, Rows, select_rows, to_memory
from audit.errors import ConvergenceError
from audit.head.class_inverse import ClassInverse
from audit.head.common_space import solve_in_common_space
from audit.head.hessian import HeadHessian
from audit.head.stable import StableSolver
from audit.influence.averaged import inner_products
from audit.influence.pairwise import MEMORY, targets_at_once
from audit.influence.ranking import helpful_and_harmful

COLUMNS = ("target", "reason", "kind", "rank", "neighbour", "influence", "label", "predicted")


@dataclass(frozen=True, kw_only=True)
class ExplanationSettings:
    """How many samples are explained, by how many others, and how much work that may be.

    Work is bounded in floating-point operations and not in seconds, so that the outcome does not depend on the machine.
    """

    # Validation samples that are explained, those predicted worst.
    validation_samples: int = 8
    # Suspects that are explained, the most suspicious. The App and `explain` make others when they are asked for.
    suspects: int = 100
    # Training samples that explain a validation sample, and a suspect: so many that help it, and so many that harm it.
    validation_neighbours: int = 6
    suspect_neighbours: int = 3
    # Relative residual of the solutions. Of the five strongest neighbours by solutions to 1e-7, these find .995 to 1
    # on four datasets (digits, roman numerals, CIFAR-10 with labels by people, twenty classes of Tiny-ImageNet).
    residual: float = 8e-3
    # Most samples that are solved for at once, and most numbers (samples × classes). With wider rows, a block holds so
    # few rows that memory limits the speed.
    at_once: int = 128
    row_width: int = 8192
    # FLOP that explanations may take in any case: about 15 seconds on a CPU, and on a GPU.
    cpu_flop: float = 2e12
    cuda_flop: float = 2e14
    # Products with the Hessian that explanations may take, where that is more. The rest of an audit of 100,000 samples
    # with 512 features and 100 classes takes the time of about 1200.
    products: int = 1000
    # Products with the Hessian that a solution is first assumed to take; later ones are taken from what was needed.
    cg_steps: int = 10
    # How many times as long an operation of the factor takes as one of a product with the Hessian.
    factor_slowness: float = 1.5
    # Largest factor of the Hessian in single precision, in bytes. Computing it takes twice as much memory.
    factor_bytes: int = 2**29


@dataclass(frozen=True)
class Wanted:
    """Samples to explain, those that matter most first.

    Attributes:
        reason: why, for each (k,).
        rows: which samples, (k,).
        targets: (n, C) of all samples, what the loss takes their labels to be.
        count: how many training samples of each kind explain one.
    """

    reason: Sequence[str]
    rows: np.ndarray
    targets: Rows
    count: int


def worst_predicted(
    p: Rows, truth: Rows, validation: np.ndarray, settings: ExplanationSettings = ExplanationSettings()
) -> Wanted:
    """The validation samples that are predicted worst: wrongly, or else with the least confidence.

    Args:
        p: predicted probabilities (n, C).
        truth: (n, C) what the labels are believed to be.
        validation: positions (m,) of the validation samples.
        settings: how many of them, and by how many others each is explained.
    """
    places = torch.from_numpy(validation)
    predicted, believed = to_memory(select_rows(p, places)), to_memory(select_rows(truth, places))
    loss = -(believed * predicted.clamp_min(1e-300).log()).sum(1)
    right = predicted.argmax(1) == believed.argmax(1)
    rows = validation[np.lexsort((-loss.cpu().numpy(), right.cpu().numpy()))[: settings.validation_samples]]
    return Wanted(["validation"] * len(rows), rows, truth, settings.validation_neighbours)


def suspicious(
    scores: pd.DataFrame, suspects: Sequence[str], targets: Rows, settings: ExplanationSettings = ExplanationSettings()
) -> Wanted:
    """The samples that a report shows as suspects, by their given labels.

    Args:
        scores: of all samples, by id.
        suspects: ids, most suspicious first.
        targets: one-hot labels (n, C).
        settings: how many of them, and by how many others each is explained.
    """
    rows = scores.index.get_indexer(pd.Index(suspects[: settings.suspects], dtype=object))
    flagged = scores["flag"].to_numpy(dtype=bool)[rows]
    reasons = np.where(flagged, "flagged", "unflagged").tolist()
    return Wanted(reasons, rows, targets, settings.suspect_neighbours)


def influential_samples(
    hessian: HeadHessian,
    z: Rows,
    p: Rows,
    residuals: Rows,
    train: np.ndarray,
    wanted: Sequence[Wanted],
    names: tuple[Sequence[str], np.ndarray],
    solver: str = "auto",
    note: Callable[[str], None] = lambda text: None,
    settings: ExplanationSettings = ExplanationSettings(),
) -> pd.DataFrame:
    """The training samples that help and harm each sample to explain most, by pairwise influence on its loss.

    Args:
        hessian: of the head's objective on the training samples.
        z, p, residuals: features (n, D), predicted probabilities (n, C) and p − t (n, C) of all samples.
        train: positions of the training samples.
        wanted: groups of samples to explain; as many of each group as the bound on work allows, but at least one.
        names: the samples' ids and the classes' names.
        solver: 'auto', 'cholesky' or 'cg'.
        note: receives a message if damping had to be added to an ill-conditioned Hessian.
        settings: the bound on work, and how exactly systems are solved.

    Returns:
        The table `AuditResult.explanations`.
    """
    ids, classes = names
    targets = _in_turn(wanted)
    method, _, _ = plan(hessian, solver, len(targets), settings)
    work = _Work.of(hessian, method, settings)
    left, cost = work.bound - work.first, work.per_sample
    widest = math.ceil(settings.row_width / hessian.classes)
    at_once = min(settings.at_once, widest, targets_at_once(hessian, len(train), 4, MEMORY))
    solve = _solver(hessian, method, note, settings.residual, len(targets))
    z_train, residuals_train = hessian.single.z, select_rows(residuals, torch.from_numpy(train)).float()
    own = pd.Index(train).get_indexer(np.arange(len(z)))  # position among the training samples, or -1
    found: list[tuple[_Target, list[tuple[object, ...]]]] = []
    while len(found) < len(targets):
        fewest = max(0, len(wanted) - len(found))  # at least one of each group
        some = targets[len(found) :][: min(at_once, max(int(left / cost), fewest))]
        if not some:
            break
        part = torch.tensor([target.row for target in some])
        p_part = p[part]
        truth = torch.cat([target.group.targets[torch.tensor([target.row])] for target in some])
        values, products = solve((p_part - truth).double()[:, :, None] * z[part].double()[:, None, :])
        influence = inner_products(z_train, residuals_train, values)
        cost = work.per_sample + (products - work.products) * work.product
        left -= len(some) * cost
        for place, (target, row) in enumerate(zip(some, influence, strict=True)):
            if own[target.row] >= 0:
                row[own[target.row]] = 0  # a training sample does not explain itself
            labels = [classes[int(judged[place].argmax())] for judged in (truth, p_part)]
            ranked = _ranked(row, target.group.count)
            of_target = (ids[target.row], target.reason)
            found.append((target, [(*of_target, *kind, ids[train[at]], value, *labels) for *kind, at, value in ranked]))
    found.sort(key=lambda pair: pair[0].order)
    return pd.DataFrame([record for _, records in found for record in records], columns=list(COLUMNS))


@dataclass(frozen=True)
class _Target:
    """A sample to explain: its position, its group, why it is explained, and its place in the table."""

    row: int
    group: Wanted
    reason: str
    order: int


def _in_turn(wanted: Sequence[Wanted]) -> list[_Target]:
    """All samples to explain: the first of each group, then the others, those that matter most first."""
    groups: list[list[_Target]] = []
    for group in wanted:
        start = sum(map(len, groups))
        pairs = zip(group.rows.tolist(), group.reason, strict=True)
        groups.append([_Target(row, group, reason, start + place) for place, (row, reason) in enumerate(pairs)])
    return [target for of_group in groups for target in of_group[:1]] + [
        target for of_group in groups for target in of_group[1:]
    ]


def _ranked(influence: Tensor, count: int) -> Iterator[tuple[str, int, int, float]]:
    """Kind, rank, position and influence of the training samples (n,) that help and that harm most."""
    for kind, strongest in zip(("helpful", "harmful"), helpful_and_harmful(influence, count), strict=True):
        for rank, (at, value) in enumerate(zip(strongest.tolist(), influence[strongest].tolist(), strict=True), 1):
            yield kind, rank, at, value


def plan(
    hessian: HeadHessian, solver: str, wanted: int, settings: ExplanationSettings = ExplanationSettings()
) -> tuple[str, int, float]:
    """By which method systems are solved, for how many samples within the bound on work, and the work (FLOP).

    Args:
        hessian: of the head's objective.
        solver: 'cholesky', 'cg', or 'auto' for the one that solves for more samples, or for all with less work.
        wanted: how many samples, at most.
        settings: the bound on work.
    """
    of = {method: _Work.of(hessian, method, settings) for method in ("cholesky", "cg")}
    counts = {name: min(wanted, max(0, int((work.bound - work.first) / work.per_sample))) for name, work in of.items()}
    flop = {name: work.first + counts[name] * work.per_sample for name, work in of.items()}
    size = (hessian.classes - 1) * hessian.features
    if solver != "auto":
        best = solver
    elif isinstance(hessian.z, RemoteRows) or 4 * size**2 > settings.factor_bytes:
        best = "cg"
    else:
        best = max(of, key=lambda method: (counts[method], -flop[method]))
    return best, counts[best], flop[best]


@dataclass(frozen=True)
class _Work:
    """FLOP: the bound on all of them, the work before the first sample, that for each sample, and that of a product.

    A sample is assumed to need so many `products` with the Hessian.
    """

    bound: float
    first: float
    per_sample: float
    product: float
    products: int

    @classmethod
    def of(cls, hessian: HeadHessian, method: str, settings: ExplanationSettings) -> _Work:
        product = 4.0 * hessian.n * hessian.parameters
        least = settings.cpu_flop if hessian.z.device.type == "cpu" else settings.cuda_flop
        bound = max(least, settings.products * product)
        ranking = product / 2
        if method == "cg":
            return cls(bound, 0.0, settings.cg_steps * product + ranking, product, settings.cg_steps)
        size = float((hessian.classes - 1) * hessian.features)
        applied = 2 * size**2 + 4 * hessian.parameters * hessian.features
        return cls(bound, settings.factor_slowness * hessian.factor_flop, applied + ranking, product, 0)


def _solver(
    hessian: HeadHessian, method: str, note: Callable[[str], None], residual: float, wanted: int
) -> Callable[[Tensor], tuple[Tensor, float]]:
    """Solves H S = B for B (k, C, D) to a relative residual: S, and the products with H for each.

    `wanted` is the number of right-hand sides in all.
    """
    stable = StableSolver(hessian, method, note)
    precondition: Callable[[Tensor], Tensor] | None = None

    def to_tolerance(b: Tensor) -> tuple[Tensor, float]:
        solution = stable.solve(b, residual)
        return solution.values, solution.iterations

    def together(b: Tensor) -> tuple[Tensor, float]:
        nonlocal precondition
        if precondition is None:
            inverse = ClassInverse.of(hessian.single, wanted)
            precondition = hessian.single.precondition if inverse is None else inverse.solve
        try:
            return solve_in_common_space(hessian.single, b, residual, precondition)
        except ConvergenceError:  # an ill-conditioned Hessian, for which there are other means
            return to_tolerance(b)

    if method != "cholesky":
        return together
    precise: bool | None = None

    def by_factor(b: Tensor) -> tuple[Tensor, float]:
        nonlocal precise
        if precise is None:  # a float32 factor may be too rough: check it on the first few right-hand sides
            precise = _is_precise(hessian, b[:8], residual)
        return (hessian.factor.solve(b), 0) if precise else to_tolerance(b)

    return by_factor


def _is_precise(hessian: HeadHessian, b: Tensor, residual: float) -> bool:
    """Whether the dense factor alone solves these (k, C, D) to a relative residual."""
    try:
        missed = (b - hessian.product(hessian.factor.solve(b))).flatten(1).norm(dim=1)
    except ConvergenceError:  # there is no factor
        return False
    return bool((missed <= residual * b.flatten(1).norm(dim=1)).all())


def no_explanations() -> pd.DataFrame:
    """The table of an audit whose samples are not explained."""
    types = {"rank": int, "influence": float}
    return pd.DataFrame({name: pd.Series([], dtype=types.get(name, object)) for name in COLUMNS})
