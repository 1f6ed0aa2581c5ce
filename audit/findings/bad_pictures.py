"""Pictures that are dark, bright, blurred, empty, oddly shaped or grey.

Measures and thresholds are cleanvision's, but for blur (`audit.images.traits`). A picture must also be outside the
dataset's usual range of the measure (Tukey's fence), and far below the usual one, because a threshold that fits
photographs marks half of a dataset of scanned letters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from audit.findings.contract import Audited, Finding
from audit.images.traits import Measure


@dataclass(frozen=True, kw_only=True)
class QualitySettings:
    """When a picture counts as bad beside the others of its dataset."""

    # Of the usual quality: where all pictures are soft or dark, few of them are bad.
    far_below: float = 0.5
    # Standard deviation of the shades, of 255, below which a picture is neither sharp nor blurred.
    flat: float = 4.0
    # The usual size: pictures nearer to it are not odd, however alike the others are.
    least_times: float = 1.5
    # The largest share of grey pictures with which they are exceptions.
    grey_among_colour: float = 0.25


SETTINGS = QualitySettings()


@dataclass(frozen=True)
class _Quality:
    """How one fault is measured.

    Attributes:
        kind: of the finding.
        of: the quality of each picture (n,) from the measures (n, m): 0 is worst.
        threshold: below which it is a fault.
        fence: interquartile ranges below the lower quartile that are still usual.
        evidence: a sentence on one picture, for its measures.
    """

    kind: str
    of: Callable[[np.ndarray], np.ndarray]
    threshold: float
    fence: float
    evidence: Callable[[np.ndarray], str]


def _sharpness(measures: np.ndarray) -> np.ndarray:
    """Strength of the edges; infinite where there is hardly any contrast, because noise is all that is left."""
    return np.where(measures[:, Measure.CONTRAST] < SETTINGS.flat, np.inf, measures[:, Measure.SHARPNESS])


def _aspect(measures: np.ndarray) -> np.ndarray:
    sides = measures[:, [Measure.WIDTH, Measure.HEIGHT]]
    return sides.min(1) / sides.max(1)


QUALITIES = (
    _Quality(
        "dark",
        lambda measures: measures[:, Measure.BRIGHTEST],
        0.32,
        1.5,
        lambda row: f"99 % of the pixels are darker than {row[Measure.BRIGHTEST]:.2f} of the brightest",
    ),
    _Quality(
        "bright",
        lambda measures: 1 - measures[:, Measure.DARK],
        0.05,
        1.5,
        lambda row: f"95 % of the pixels are brighter than {row[Measure.DARK]:.2f} of the brightest",
    ),
    _Quality(
        "low-contrast",
        lambda measures: measures[:, Measure.BRIGHTEST] - measures[:, Measure.DARKEST],
        0.1,
        1.5,
        lambda row: f"the brightness spans {row[Measure.BRIGHTEST] - row[Measure.DARKEST]:.2f} of the range",
    ),
    _Quality(
        "blurred",
        _sharpness,
        0.35,
        1.0,
        lambda row: f"the edges are {row[Measure.SHARPNESS]:.2f} as strong as the contrast; below 0.35 is blurred",
    ),
    _Quality(
        "low-information",
        lambda measures: measures[:, Measure.ENTROPY] / 10,
        0.3,
        1.5,
        lambda row: f"the entropy of the colours is {row[Measure.ENTROPY]:.1f} bits",
    ),
    _Quality(
        "odd-aspect",
        _aspect,
        0.35,
        1.5,
        lambda row: f"{row[Measure.WIDTH]:.0f} × {row[Measure.HEIGHT]:.0f} pixels",
    ),
)


def find(audited: Audited) -> Iterator[Finding]:
    """Each bad picture, one finding for each of its faults; none where no pictures were looked at."""
    if audited.traits is None or not len(audited.traits.measures):
        return
    measures = audited.traits.measures.astype(np.float64)
    known = np.flatnonzero(np.isfinite(measures).all(1))
    if not len(known):
        return
    measures = measures[known]
    for quality in QUALITIES:
        values = quality.of(measures)
        low, usual, high = np.percentile(values, [25, 50, 75], method="nearest")
        if not np.isfinite(high):
            continue
        fence = min(low - quality.fence * (high - low), SETTINGS.far_below * usual)
        for row in np.flatnonzero((values < quality.threshold) & (values < fence)):
            score = float(np.clip(1 - values[row] / (2 * quality.threshold), 0, 1))
            yield Finding(
                kind=quality.kind, evidence=quality.evidence(measures[row]), score=score, samples=(int(known[row]),)
            )
    yield from _odd_sizes(measures, known)
    yield from _grey(measures, known)


def _odd_sizes(measures: np.ndarray, known: np.ndarray, ranges: float = 3.0) -> Iterator[Finding]:
    """Pictures whose size is more than some interquartile ranges from the middle half."""
    sizes = np.sqrt(measures[:, Measure.WIDTH] * measures[:, Measure.HEIGHT])
    low, middle, high = np.percentile(sizes, [25, 50, 75])
    nearest, farthest = low - ranges * (high - low), high + ranges * (high - low)
    odd = (sizes < nearest) | (sizes > farthest)
    for row in np.flatnonzero(odd & (np.maximum(sizes / middle, middle / sizes) > SETTINGS.least_times)):
        width, height = measures[row, [Measure.WIDTH, Measure.HEIGHT]]
        times = max(sizes[row] / middle, middle / sizes[row])
        yield Finding(
            kind="odd-size",
            evidence=f"{width:.0f} × {height:.0f} pixels; the usual side is {middle:.0f}",
            score=float(1 - 1 / (1 + times)),
            samples=(int(known[row]),),
        )


def _grey(measures: np.ndarray, known: np.ndarray) -> Iterator[Finding]:
    grey = measures[:, Measure.COLOUR] == 0
    if grey.mean() > SETTINGS.grey_among_colour:
        return
    for row in np.flatnonzero(grey):
        detail = f"no colour; {100 * (1 - grey.mean()):.0f} % of the pictures have some"
        yield Finding(kind="grey", evidence=detail, samples=(int(known[row]),))
