"""What the page needs to move the threshold: every sample's suspicion, label and origin, packed small.

The most suspicious samples come first, so that a threshold is a number of samples from the top.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pandas as pd

from audit.result import AuditResult
from reports import figures
from reports.known_mislabels import Comparison

MAX_MOVABLE = 200_000
"""Samples that the page can flag, most suspicious first; the threshold goes no lower than the last of them."""


def threshold_values(result: AuditResult, known: Comparison | None) -> dict[str, Any]:
    """The samples by falling suspicion as packed columns, and what all samples come to, as JSON values.

    Returns:
        columns: suspicion (float64), label and other, the likeliest label but that one (uint32 positions in the
        classes), influence (float32) and, with injection, wrong (uint8), each base64 of little-endian bytes.
        controls: suspicion and kind of the known mislabels where these are spike-in controls. samples, mistakes
        (estimated), wrong_total: of all samples. floor: the lowest threshold. matrix, boxes: the class positions that
        the two figures show. names: of the classes, by position.
    """
    classes = pd.Index(result.summary["classes"])
    rows = _by_suspicion(result.scores)
    columns = {
        "suspicion": _packed(rows["suspicion"], "<f8"),
        "label": _packed(classes.get_indexer(rows["label"]), "<u4"),
        "other": _packed(classes.get_indexer(rows["other_label"]), "<u4"),
        "influence": _packed(rows["influence"], "<f4"),
    }
    if known is not None and known.kind == "injected":
        columns["wrong"] = _packed(rows["injected"], "u1")
    controls, floor = None, _floor(rows, result.scores)
    if known is not None and known.kind == "controls":
        spiked = _by_suspicion(known.scores)
        kinds = list(known.by_kind)
        # 0 is a label that was left alone, 1 and up the kinds of known mislabels.
        numbers = 1 + pd.Index(kinds).get_indexer(pd.Index(spiked["kind"]))
        controls = {
            "suspicion": _packed(spiked["suspicion"], "<f8"),
            "wrong": _packed(np.where(spiked["spiked"], numbers, 0), "u1"),
            "samples": len(known.scores),
            "totals": [known.by_kind[kind][1] for kind in kinds],
        }
        floor = max(floor, _floor(spiked, known.scores))
    position = {label: number for number, label in enumerate(classes)}
    return {
        "threshold": result.summary["threshold"],
        "floor": floor,
        "samples": len(result.scores),
        "mistakes": result.summary["estimates"]["mistakes"],
        "wrong_total": int(known.wrong.sum()) if known is not None and known.kind == "injected" else 0,
        "columns": columns,
        "controls": controls,
        "classes": len(classes),
        "names": [str(label) for label in classes],
        "matrix": figures.confused_classes(result).tolist(),
        "boxes": [position[label] for label in figures.most_flagged_classes(result)],
    }


def _by_suspicion(scores: pd.DataFrame) -> pd.DataFrame:
    return scores.sort_values("suspicion", ascending=False, kind="stable").head(MAX_MOVABLE)


def _floor(rows: pd.DataFrame, scores: pd.DataFrame) -> float:
    return 0.0 if len(rows) == len(scores) else float(rows["suspicion"].iloc[-1])


def _packed(values: Any, kind: str) -> str:
    return base64.b64encode(np.asarray(values).astype(kind).tobytes()).decode("ascii")
