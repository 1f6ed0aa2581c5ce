"""What is compared: labellings with known mistakes, injected or made by people; and what a method says of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from audit.data.injection import inject_mislabels
from audit.data.predictions import Predictions
from audit.data.samples import Samples, check_classes
from audit.errors import InputError
from audit.flags.threshold import Mistakes
from audit.images.backbone import Backbone
from audit.images.embedding import embed
from audit.progress import ProgressCallback, silent
from integrations.given_files import AuditedSamples, read_in_order
from integrations.sources import ImportedSource, Source, resolve_source


@dataclass(frozen=True)
class Case:
    """One labelling to audit.

    Attributes:
        name: e.g. 'digits, uniform 10 %'.
        seed: of the noise, the folds and the split.
        x: embeddings (n, d).
        given: the labels that are audited (n,), class numbers.
        true: the labels that count as right (n,).
        classes: C.
        predictions: probabilities (n, C) by a model that was not trained on the sample; None to have the peers' made by
            cross-validation.
    """

    name: str
    seed: int
    x: np.ndarray
    given: np.ndarray
    true: np.ndarray
    classes: int
    predictions: np.ndarray | None = None

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings (n, d) in double precision, and given labels (n,)."""
        return torch.from_numpy(self.x).double(), torch.from_numpy(self.given)


@dataclass(frozen=True)
class Verdict:
    """What a method says: scores (n,), larger = more suspicious; flags, estimates and suggestions where it has them."""

    scores: np.ndarray
    flags: np.ndarray | None = None
    estimated_precision: float | None = None
    estimated_wrong: Mistakes | None = None
    suggested: np.ndarray | None = None


def labelled_samples(source: Source) -> Samples:
    """The images of a source that have a label; nothing is imported into FiftyOne."""
    if isinstance(source, ImportedSource):
        kept = [image for image in source.images if image.image is not None]
        samples = Samples(
            [image.source_id for image in kept], [image.image or b"" for image in kept], [image.label for image in kept]
        )
    else:
        from integrations.fiftyone import read_samples

        samples = read_samples(source.open(), source.label_field)
    return samples.select([row for row, label in enumerate(samples.labels) if label is not None])


def source_cases(
    text: str,
    backbone: Backbone,
    noises: Sequence[tuple[str, float]],
    label_columns: Sequence[str],
    seeds: Sequence[int],
    imbalance: float = 1.0,
    progress: ProgressCallback = silent,
    predictions: str | None = None,
) -> list[Case]:
    """The cases of one source: each noise injected into its labels, and each other label column against them.

    Args:
        text: the source, as `resolve_source` takes it.
        backbone: the frozen network.
        noises: kinds ('uniform', 'class-pair') and fractions.
        label_columns: columns of labels that somebody gave, of a Hugging Face or parquet source.
        seeds: of noise, folds and splits.
        imbalance: how many times as many samples the first class keeps as the last, the others between in equal
            ratios; 1 for all samples. Only for injected noise.
        progress: told about embeddings.
        predictions: a .npy or .parquet file of class predictions, as `run` takes it; None to have them made.

    Raises:
        InputError: if there is no such source or column, or the labels cannot be audited.
    """
    x, true, ids = embedded_source(text, backbone, progress)
    name = Path(text).name
    cases = list(noisy_cases(name, x, true, noises, seeds, imbalance))
    for column in label_columns:
        other = labelled_samples(resolve_source(text, label_column=column))
        given = dict(zip(other.ids, other.labels, strict=True))
        rows = [row for row, sample_id in enumerate(ids) if sample_id in given]
        labels = np.array([given[ids[row]] for row in rows])
        cases += relabelled_cases(f"{name}, {column}", x[rows], true[rows], labels, seeds)
    if predictions is None:
        return cases
    if imbalance != 1 or len(label_columns) + len(noises) != 1:
        raise InputError("--predictions are of one labelling of all samples; give one --label-column, or one --noise")
    p = _predictions(Path(predictions), ids, true)
    if label_columns:
        p = p[rows]
    return [replace(case, predictions=p) for case in cases]


def _predictions(path: Path, ids: list[str], true: np.ndarray) -> np.ndarray:
    """Probabilities (n, C) of all samples, from a file in their order or with their ids."""
    nothing = [None] * len(ids)
    listed = AuditedSamples(ids, nothing, nothing, [np.arange(len(ids))], np.arange(len(ids)))
    predictions = Predictions.read(read_in_order(path, listed, "--predictions"))
    if predictions.missing.any():
        raise InputError(f"--predictions {str(path)!r} lack {int(predictions.missing.sum())} samples; give one each")
    classes = np.unique(true)
    return predictions.of_classes(classes, classes).astype(np.float64)


def embedded_source(
    text: str, backbone: Backbone, progress: ProgressCallback = silent
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Embeddings (n, d), labels (n,) and ids of a source's images.

    Raises:
        InputError: if there is no such source, or the labels cannot be audited.
    """
    samples = labelled_samples(resolve_source(text))
    embedded = embed(samples, backbone, progress=progress)
    labels = np.array([samples.labels[row] for row in embedded.rows])
    check_classes(labels)
    return embedded.values, labels, [samples.ids[row] for row in embedded.rows]


def noisy_cases(
    name: str,
    x: np.ndarray,
    labels: np.ndarray,
    noises: Sequence[tuple[str, float]],
    seeds: Sequence[int],
    imbalance: float = 1.0,
) -> Iterator[Case]:
    """A case for every kind of noise and seed, on labels that count as right (`source_cases` explains the others)."""
    classes, true = np.unique(labels, return_inverse=True)
    shown = name if imbalance == 1 else f"{name}, 1 : {imbalance:g}"
    for kind, fraction in noises:
        for seed in seeds:
            kept = _imbalanced(true, imbalance, seed)
            given = inject_mislabels(true[kept], len(classes), fraction, kind, seed, embeddings=x[kept])
            yield Case(f"{shown}, {kind} {fraction:.0%}", seed, x[kept], given, true[kept], len(classes))


def _imbalanced(true: np.ndarray, imbalance: float, seed: int) -> np.ndarray:
    """Positions of samples of which each class keeps less than the one before."""
    rng = np.random.default_rng(seed)
    sizes = np.bincount(true)
    shares = imbalance ** -np.linspace(0, 1, len(sizes))
    kept = [
        rng.permutation(np.flatnonzero(true == number))[: max(3, round(share * size))]
        for number, (share, size) in enumerate(zip(shares, sizes, strict=True))
    ]
    return np.sort(np.concatenate(kept))


def relabelled_cases(
    name: str, x: np.ndarray, true: np.ndarray, given: np.ndarray, seeds: Sequence[int]
) -> Iterator[Case]:
    """Labels that somebody really gave, against the ones that count as right; seeds move folds and splits only.

    Raises:
        InputError: if the two do not use the same class names, or agree everywhere.
    """
    classes = np.unique(true)
    if not set(given) <= set(classes):
        raise InputError(f"{name}: the given labels have classes that the true ones lack; compare like with like")
    if (true == given).all():
        raise InputError(f"{name}: given and true labels are the same, so there is nothing to find")
    for seed in seeds:
        yield Case(name, seed, x, np.searchsorted(classes, given), np.searchsorted(classes, true), len(classes))
