"""The samples that a report explains, each by the training samples that help and harm it most.

These are the validation samples that the head predicts worst, and the samples with the most suspicious labels. Each
needs a solution of H S = r zᵀ (`audit.influence.pairwise`). It is first looked for in the few classes that matter to
the sample (`audit.head.few_classes`). By that solution the training samples are ranked. The candidates that rank
highest are then ranked again by a solution in all classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from audit.compute.matrix import Rows, blocks, fetch_rows, map_rows, numbers_read, select_rows
from audit.compute.threads import one_thread
from audit.errors import ConvergenceError
from audit.head.few_classes import SETTINGS as FEW_CLASSES
from audit.head.few_classes import InverseByClass, completed, solve_in_few_classes
from audit.head.hessian import HeadHessian
from audit.head.stable import StableSolver
from audit.influence.ranking import helpful_and_harmful

COLUMNS = ("target", "reason", "kind", "rank", "neighbour", "influence", "label", "predicted")


@dataclass(frozen=True, kw_only=True)
class ExplanationSettings:
    """How many samples are explained, and by how many others."""

    # Validation samples that are explained, those predicted worst.
    validation_samples: int = 8
    # Suspects that are explained, the most suspicious. The App and `explain` make others when they are asked for.
    suspects: int = 100
    # Training samples that explain a validation sample, and a suspect: so many that help it, and so many that harm it.
    validation_neighbours: int = 6
    suspect_neighbours: int = 3
    # Candidates of each kind. On seven datasets these have all but 1 in 100 of the five that help or harm most.
    candidates: int = 32
    # Most samples that are solved for at once, and most numbers (samples × classes). With wider rows, a block holds so
    # few rows that memory limits the speed.
    at_once: int = 128
    row_width: int = 8192
    # Most numbers (samples × C · D) of a matrix of solutions, of which a few are in memory.
    numbers: int = 2**26
    # Relative residual of solutions with a factor of the Hessian, or where there are none in few classes.
    residual: float = 8e-3
    # Products with the Hessian in few classes that a solution is assumed to take, for an estimate of the work.
    products: int = 5


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
    loss, right = map_rows(_losses, (select_rows(p, places), select_rows(truth, places)))
    rows = validation[np.lexsort((-loss.cpu().numpy(), right.cpu().numpy()))[: settings.validation_samples]]
    return Wanted(["validation"] * len(rows), rows, truth, settings.validation_neighbours)


def _losses(p: Rows, truth: Rows) -> tuple[Tensor, Tensor]:
    """The expected cross-entropy (m,) of predictions (m, C), and bool (m,), whether they name the likeliest class."""
    loss, right = torch.empty(len(p), dtype=p.dtype, device=p.device), torch.empty(len(p), dtype=torch.bool)
    for rows in blocks(p, numbers_read(p) + 4 * p.shape[1]):
        predicted, believed = p[rows], truth[rows].to(p.device)
        loss[rows] = -(believed * predicted.clamp_min(torch.finfo(p.dtype).tiny).log()).sum(1)
        right[rows] = (predicted.argmax(1) == believed.argmax(1)).cpu()
    return loss, right


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
        wanted: groups of samples to explain.
        names: the samples' ids and the classes' names.
        solver: 'cholesky' to solve with a factor of the Hessian; 'auto' or 'cg' to solve in few classes first.
        note: receives a message if damping had to be added to an ill-conditioned Hessian.
        settings: how many samples at once, and how many candidates.

    Returns:
        The table `AuditResult.explanations`.
    """
    ids, classes = names
    targets = [
        (row, reason, group) for group in wanted for row, reason in zip(group.rows.tolist(), group.reason, strict=True)
    ]
    explained = _Explained(
        hessian.single.z,
        select_rows(residuals, torch.from_numpy(train)).float(),
        _solver(hessian, solver, note, settings),
        settings.candidates,
    )
    own = pd.Index(train).get_indexer([row for row, _, _ in targets])  # position among the training samples, or -1
    widest = min(settings.row_width // hessian.classes, settings.numbers // hessian.parameters)
    at_once = max(1, min(settings.at_once, widest))
    records: list[tuple[object, ...]] = []
    for start in range(0, len(targets), at_once):
        some = targets[start : start + at_once]
        part = torch.tensor([row for row, _, _ in some])
        p_part = p[part]
        truth = torch.cat([group.targets[torch.tensor([row])] for row, _, group in some])
        gradients = (p_part - truth).double()[:, :, None] * z[part].double()[:, None, :]
        influential = explained.by_candidates(gradients, torch.from_numpy(own[start : start + at_once]))
        judged = [[classes[number] for number in of.argmax(1).tolist()] for of in (truth, p_part)]
        for (row, reason, group), (places, influence), *labels in zip(some, influential, *judged, strict=True):
            for *kind, at, value in _ranked(places, influence, group.count):
                records.append((ids[row], reason, *kind, ids[train[at]], value, *labels))
    return pd.DataFrame(records, columns=list(COLUMNS))


Solver = Callable[[Tensor], tuple[Tensor, Tensor, Callable[[], Tensor]]]
"""Takes right-hand sides (m, C, D); returns solutions (m, k, D) in few classes, these (m, k), and the solutions (m, C,
D) in all classes, which are computed when they are asked for."""


def _solver(hessian: HeadHessian, method: str, note: Callable[[str], None], settings: ExplanationSettings) -> Solver:
    """Solves H S = B in a few classes first."""
    stable = StableSolver(hessian, method, note)
    inverse: InverseByClass | None = None

    def in_all_classes(b: Tensor) -> tuple[Tensor, Tensor, Callable[[], Tensor]]:
        values = stable.solve(b, settings.residual).values.float()
        return values, torch.arange(b.shape[1], device=b.device).expand(len(b), -1), lambda: values

    def in_few_classes(b: Tensor) -> tuple[Tensor, Tensor, Callable[[], Tensor]]:
        nonlocal inverse
        single = b.float()
        if inverse is None:
            inverse = hessian.by_class or hessian.single.kronecker(apart=True)
        try:
            values, few = solve_in_few_classes(hessian.single, single, inverse)
        except ConvergenceError:  # an ill-conditioned Hessian, for which there are other means
            return in_all_classes(b)
        return values, few.classes, lambda: completed(values, few, single)

    return in_all_classes if method == "cholesky" else in_few_classes


@dataclass(frozen=True)
class _Explained:
    """Explains samples by the training samples.

    Attributes:
        z, residuals: features (n, D) and p − t (n, C) of the training samples.
        solve: solves H S = B.
        count: candidates that help, and that harm.
    """

    z: Rows
    residuals: Rows
    solve: Solver
    count: int

    def by_candidates(self, gradients: Tensor, own: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Candidates among the training samples (t,), and their influence (t,), for each of some samples.

        Args:
            gradients: r zᵀ (m, C, D) of the samples.
            own: (m,) their positions among the training samples, or -1; a training sample does not explain itself.
        """
        values, classes, in_all = self.solve(gradients)
        sources = (self.z, self.residuals, torch.arange(len(self.z)))
        candidates, influence = map_rows(_strongest, sources, values, classes, own, self.count)
        found = candidates.gather(0, _extremes(influence, self.count)).cpu()
        every = found.unique()
        z_every, residuals_every, complete = fetch_rows(self.z, every), fetch_rows(self.residuals, every), in_all()
        for of_sample, solution, itself in zip(found.T, complete, own.tolist(), strict=True):
            chosen = of_sample.unique()
            chosen = chosen[chosen != itself]
            at = torch.searchsorted(every, chosen).to(z_every.device)
            yield chosen, ((z_every[at] @ solution.T) * residuals_every[at]).sum(1)


def _strongest(
    z: Rows, residuals: Rows, places: Tensor, solutions: Tensor, classes: Tensor, own: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Places (t, m) of the training samples that help and harm m samples most, and their influence (t, m).

    Args:
        z, residuals: features (n, D) and p − t (n, C) of training samples.
        places: (n,) of these among all of them.
        solutions: S (m, k, D) in some classes (m, k).
        classes: which.
        own: (m,) the place of each of the samples themselves, or -1.
        count: how many of each kind.
    """
    m, k, features = solutions.shape
    flat = solutions.to(z.dtype).reshape(m * k, features).T
    best = torch.empty(0, m, dtype=z.dtype, device=z.device)
    found = torch.empty(0, m, dtype=torch.long, device=z.device)
    own = own.to(z.device)
    for rows in blocks(z, numbers_read(z) + 3 * m * k):
        moved = (z[rows] @ flat).view(-1, m, k)
        with one_thread(moved.numel()):
            influence = (moved * residuals[rows][:, classes.flatten()].view(-1, m, k)).sum(2)
        numbers = places[rows].to(z.device)[:, None].expand(-1, m)
        influence = influence.masked_fill(numbers == own, 0)
        best, found = torch.cat([best, influence]), torch.cat([found, numbers])
        chosen = _extremes(best, count)
        best, found = best.gather(0, chosen), found.gather(0, chosen)
    return found, best


def _extremes(values: Tensor, count: int) -> Tensor:
    """Positions (t, m) of the largest and of the smallest in each column of (n, m): all, or so many of each."""
    if len(values) <= 2 * count:
        return torch.arange(len(values), device=values.device)[:, None].expand_as(values)
    return torch.cat([values.topk(count, dim=0, largest=largest).indices for largest in (True, False)])


def _ranked(places: Tensor, influence: Tensor, count: int) -> Iterator[tuple[str, int, int, float]]:
    """Kind, rank, place and influence of the candidates (t,) that help and that harm most."""
    for kind, strongest in zip(("helpful", "harmful"), helpful_and_harmful(influence, count), strict=True):
        of_kind = zip(places[strongest.cpu()].tolist(), influence[strongest].tolist(), strict=True)
        for rank, (at, value) in enumerate(of_kind, 1):
            yield kind, rank, at, value


def flop_of_explanations(
    samples: int, features: int, classes: int, wanted: int, settings: ExplanationSettings = ExplanationSettings()
) -> float:
    """The work for explaining `wanted` samples by training samples (n, D) of C classes, once there is an inverse."""
    few = min(FEW_CLASSES.classes, classes - 1)
    return wanted * 4.0 * samples * features * (few * (settings.products + 1) + classes)


def no_explanations() -> pd.DataFrame:
    """The table of an audit whose samples are not explained."""
    types = {"rank": int, "influence": float}
    return pd.DataFrame({name: pd.Series([], dtype=types.get(name, object)) for name in COLUMNS})
