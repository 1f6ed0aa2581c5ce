"""The data that the page needs to move the threshold: suspicion, label and origin of every sample, in packed form.

The most suspicious samples come first, so the samples above a threshold are the first rows.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from audit.result import AuditResult
from audit.summary.summary import Summary
from reports import figures
from reports.claims import claims_of
from reports.known_mislabels import Comparison
from reports.ranges import Figure, share_range

MAX_MOVABLE = 200_000
"""Largest number of samples that the page can flag. The slider cannot set a lower threshold than for this number."""


@dataclass(frozen=True)
class MovableControls:
    """The spike-in controls by falling suspicion, if the known mislabels are controls.

    Attributes:
        suspicion: base64 of float64.
        wrong: base64 of uint8: 0 for an unchanged label, 1 and up for the kinds of known mislabels.
        samples: number of labels compared.
        totals: number of known mislabels of each kind.
    """

    suspicion: str
    wrong: str
    samples: int
    totals: list[int]


@dataclass(frozen=True)
class KnownAt:
    """What is known of the flags at one threshold.

    Attributes:
        samples: how many have at least this suspicion.
        wrong: fewest and most wrong labels among them.
        recall: lowest and highest share of all wrong labels; None where that is not known.
    """

    samples: int
    wrong: tuple[float, float]
    recall: tuple[float, float] | None


@dataclass(frozen=True)
class ThresholdValues:
    """The samples by falling suspicion as packed columns, and the totals over all samples.

    Attributes:
        threshold: the audit's threshold.
        floor: the lowest threshold that the page offers.
        samples, wrong_total: numbers of samples and of injected mislabels.
        expected: precision and recall of the flags at the audit's threshold, as text.
        expected_of_all: the same where every sample is flagged.
        known: what is known at other thresholds, from the highest down; empty where nothing is.
        told: whether the chances of suggestions may be shown as numbers.
        columns: suspicion (float64), label and other (the given and the likeliest other label, as uint32 positions
            among the classes), influence (float32) and, with injection, wrong (uint8). Each is base64 of little-endian
            bytes.
        controls: the spike-in controls; None if the known mislabels were injected, or there are none.
        classes: number of classes.
        names: class names, by position.
        matrix, boxes: positions of the classes that the confusion matrix and the box plots show.
    """

    threshold: float
    floor: float
    samples: int
    wrong_total: int
    expected: dict[str, str]
    expected_of_all: dict[str, str]
    known: list[KnownAt]
    told: bool
    columns: dict[str, str]
    controls: MovableControls | None
    classes: int
    names: list[str]
    matrix: list[int]
    boxes: list[int]


def threshold_values(result: AuditResult, known: Comparison | None) -> ThresholdValues:
    """Collect the data that the page needs to move the threshold."""
    classes, claims = result.summary.classes, claims_of(result.summary)
    rows = _by_suspicion(result.scores)
    columns = {
        "suspicion": _packed(rows["suspicion"], "<f8"),
        "label": _packed(result.class_positions(rows["label"]), "<u4"),
        "other": _packed(result.class_positions(rows["other_label"]), "<u4"),
        "influence": _packed(rows["influence"], "<f4"),
    }
    if known is not None and known.kind == "injected":
        columns["wrong"] = _packed(rows["injected"], "u1")
    controls, floor = None, _floor(rows, result.scores)
    if known is not None and known.kind == "controls":
        spiked = _by_suspicion(known.scores)
        kinds = list(known.by_kind)
        numbers = 1 + pd.Index(kinds).get_indexer(pd.Index(spiked["kind"]))
        controls = MovableControls(
            suspicion=_packed(spiked["suspicion"], "<f8"),
            wrong=_packed(np.where(spiked["spiked"], numbers, 0), "u1"),
            samples=len(known.scores),
            totals=[known.by_kind[kind][1] for kind in kinds],
        )
        floor = max(floor, _floor(spiked, known.scores))
    position = {label: number for number, label in enumerate(classes)}
    return ThresholdValues(
        threshold=result.summary.threshold,
        floor=floor,
        samples=len(result.scores),
        wrong_total=int(known.wrong.sum()) if known is not None and known.kind == "injected" else 0,
        expected={"precision": _text(claims.precision), "recall": _text(claims.recall)},
        expected_of_all={
            "precision": share_range(claims.mistakes.scaled(1 / max(len(result.scores), 1), 1.0)),
            "recall": "100%",
        },
        known=_known(result.summary),
        told=claims.precision is not None and not claims.precision.is_wide,
        columns=columns,
        controls=controls,
        classes=len(classes),
        names=[str(label) for label in classes],
        matrix=figures.confused_classes(result).tolist(),
        boxes=[position[label] for label in figures.most_flagged_classes(result)],
    )


def _text(number: Figure | None) -> str:
    return "–" if number is None else share_range(number)


def _known(summary: Summary) -> list[KnownAt]:
    """The thresholds at which something is known: by verification where there is one, otherwise by the models."""
    if (verified := summary.verified) is not None:
        return [
            KnownAt(
                row.samples,
                (row.samples * row.precision.low, row.samples * row.precision.high),
                None if row.recall is None else (row.recall.low, row.recall.high),
            )
            for row in verified.by_threshold
        ]
    if summary.acceptance is None or claims_of(summary).too_little:
        return []
    rows = summary.acceptance.by_threshold
    return [KnownAt(row.samples, (row.samples - row.broken_high, row.samples - row.broken_low), None) for row in rows]


def _by_suspicion(scores: pd.DataFrame) -> pd.DataFrame:
    return scores.sort_values("suspicion", ascending=False, kind="stable").head(MAX_MOVABLE)


def _floor(rows: pd.DataFrame, scores: pd.DataFrame) -> float:
    return 0.0 if len(rows) == len(scores) else float(rows["suspicion"].iloc[-1])


def _packed(values: Any, kind: str) -> str:
    return base64.b64encode(np.asarray(values).astype(kind).tobytes()).decode("ascii")
