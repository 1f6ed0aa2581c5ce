"""What an audit takes once it has embeddings, as `run --dry-run` measures it in small audits of simulated ones.

Time grows with the number of samples, so head, influence and suspicions are measured in two audits of different size.
The work for explanations is known in advance, and the same small audits measure how fast it is done.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from dataclasses import dataclass

import numpy as np

from audit.config import NO_BACKBONE, AuditConfig
from audit.explain.influential import ExplanationSettings, flop_of_explanations
from audit.pipeline import audit_embeddings


@dataclass(frozen=True, kw_only=True)
class EstimateSettings:
    """How the estimates are made."""

    # Samples of the two small audits of simulated embeddings, and most classes. With more classes than these, time
    # grows with their number.
    audited: tuple[int, int] = (256, 1024)
    classes: int = 32
    # Features of embeddings that were given, whose file is not read.
    features: int = 512
    # Distance between the means of two simulated classes, in standard deviations.
    distance: float = 6.0
    # Share of the simulated labels that are wrong, so that some samples are flagged, explained and corrected.
    wrong_share: float = 0.1
    # Seconds for writing the fields, the thumbnail and the report of one sample, known from other audits.
    writing_seconds: float = 1.5e-3
    # Numbers (float64) that an audit holds at its peak for each feature and each class of a sample.
    copies: int = 8
    # Bytes that the network holds at its peak for each pixel of a batch: 40 times the pixel's three numbers in float32.
    pixel_bytes: int = 4 * 3 * 40


SETTINGS = EstimateSettings()


def audit_seconds(n: int, d: int, c: int, config: AuditConfig) -> float:
    """Seconds for all that follows on embeddings (n, d) of c classes, apart from writing, by small audits."""
    tried = min(c, SETTINGS.classes)
    sizes = [max(4 * tried, size) for size in SETTINGS.audited]
    first = _try_audit(60, d, 3, config)[0]  # what is imported and prepared once
    if n <= sizes[1]:
        found = [_try_audit(n, d, tried, config)]
        rest, slope = found[0][0], 0.0
    else:
        found = [_try_audit(size, d, tried, config) for size in sizes]
        slope = max(0.0, found[1][0] - found[0][0]) / (sizes[1] - sizes[0])
        rest = found[1][0] + slope * (n - sizes[1])
    seconds, size, explained = found[-1][1], min(n, sizes[1]), found[-1][2]
    work, tried_work = (
        _explanation_work(samples, d, classes, config, count)
        for samples, classes, count in ((n, c, _most_explained(n)), (size, tried, explained))
    )
    return first + rest * c / tried + seconds * work / tried_work


def seconds_alone(n: int, c: int, config: AuditConfig) -> float:
    """Seconds of an audit of n samples by predictions alone, by a small one; its time grows with the samples."""
    size = min(n, SETTINGS.audited[1])
    generator = np.random.default_rng(0)
    true = np.arange(size) % c
    labels = np.where(generator.random(size) < SETTINGS.wrong_share, (true + 1) % c, true)
    predictions = SETTINGS.distance * np.eye(c)[true] + generator.normal(size=(size, c))
    alike = config.replace(
        backbone=NO_BACKBONE, use_splits=False, strict=False, heat_maps=0, scope="head", predictions_in_sample=False
    )
    began = time.perf_counter()
    audit_embeddings(None, labels, config=alike, predictions=predictions)
    return (time.perf_counter() - began) * n / size


def _try_audit(n: int, d: int, c: int, config: AuditConfig) -> tuple[float, float, int]:
    """Seconds of an audit of simulated embeddings without explanations, seconds for these, and their number."""
    generator = np.random.default_rng(0)
    labels = np.arange(n) % c
    means = SETTINGS.distance * generator.normal(size=(c, d)) / np.sqrt(2 * d)
    x = generator.normal(size=(n, d)) + means[labels]
    wrong = generator.random(n) < SETTINGS.wrong_share
    labels = np.where(wrong, (labels + 1) % c, labels)
    with tempfile.TemporaryDirectory() as folder:
        alike = dataclasses.replace(
            config,
            cache_dir=folder,
            use_splits=False,
            strict=False,
            heat_maps=0,
            scope="head",
            backbone="resnet18",
            predictions_in_sample=False,
            engine="exact" if config.scope == "model" else config.engine,
        )
        began = time.perf_counter()
        result = audit_embeddings(x, labels, config=alike)
        seconds = time.perf_counter() - began
    explaining = result.summary.timings["explanation"]
    return seconds - explaining, explaining, result.explanations["target"].nunique()


def _most_explained(n: int) -> int:
    """How many samples an audit of n would explain at most."""
    return min(ExplanationSettings.suspects, n) + ExplanationSettings.validation_samples


def _explanation_work(n: int, d: int, c: int, config: AuditConfig, count: int) -> float:
    return flop_of_explanations(max(1, int(n * config.train_size)), d + 1, c, count)


def factor_bytes(d: int, c: int, config: AuditConfig) -> float:
    """Bytes of the factor of the head's Hessian, and of its copy while it is computed."""
    return 2 * 4 * ((c - 1) * (d + 1.0)) ** 2 if config.solver == "cholesky" else 0.0
