"""What the page needs to move the threshold: every sample's suspicion, label and origin, packed small.

The most suspicious samples come first, so that a threshold is a number of samples from the top.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from audit.result import AuditResult
from reports import figures
from reports.known_mislabels import Comparison

MAX_MOVABLE = 200_000
"""Samples that the page can flag, most suspicious first; the threshold goes no lower than the last of them."""


@dataclass(frozen=True)
class MovableControls:
    """The known mislabels where these are spike-in controls, by falling suspicion.

    Attributes:
        suspicion: base64 of float64.
        wrong: base64 of uint8: 0 for a label that was left alone, 1 and up the kinds of known mislabels.
        samples: how many labels were compared.
        totals: how many known mislabels of each kind there are.
    """

    suspicion: str
    wrong: str
    samples: int
    totals: list[int]


@dataclass(frozen=True)
class ThresholdValues:
    """The samples by falling suspicion as packed columns, and the totals over all samples.

    Attributes:
        threshold: the audit's.
        floor: the lowest threshold that the page offers.
        samples, mistakes, wrong_total: how many samples, wrong labels (estimated) and injected mislabels there are.
        columns: suspicion (float64), label and other, the likeliest label but that one (uint32 positions in the
            classes), influence (float32) and, with injection, wrong (uint8), each base64 of little-endian bytes.
        controls: None where the known mislabels are no spike-in controls.
        classes: how many classes there are.
        names: of the classes, by position.
        matrix, boxes: the class positions that the two figures show.
    """

    threshold: float
    floor: float
    samples: int
    mistakes: float
    wrong_total: int
    columns: dict[str, str]
    controls: MovableControls | None
    classes: int
    names: list[str]
    matrix: list[int]
    boxes: list[int]


def threshold_values(result: AuditResult, known: Comparison | None) -> ThresholdValues:
    """What the page needs to move the threshold."""
    classes = result.summary.classes
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
        mistakes=result.summary.estimates.mistakes,
        wrong_total=int(known.wrong.sum()) if known is not None and known.kind == "injected" else 0,
        columns=columns,
        controls=controls,
        classes=len(classes),
        names=[str(label) for label in classes],
        matrix=figures.confused_classes(result).tolist(),
        boxes=[position[label] for label in figures.most_flagged_classes(result)],
    )


def _by_suspicion(scores: pd.DataFrame) -> pd.DataFrame:
    return scores.sort_values("suspicion", ascending=False, kind="stable").head(MAX_MOVABLE)


def _floor(rows: pd.DataFrame, scores: pd.DataFrame) -> float:
    return 0.0 if len(rows) == len(scores) else float(rows["suspicion"].iloc[-1])


def _packed(values: Any, kind: str) -> str:
    return base64.b64encode(np.asarray(values).astype(kind).tobytes()).decode("ascii")
