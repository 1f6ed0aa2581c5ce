"""Compare the flags with known mislabels: the injected ones, or else the spike-in controls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from audit.flags.measures import detection_quality
from audit.result import AuditResult
from audit.summary.detection import DetectionQuality


@dataclass(frozen=True)
class Comparison:
    """The known mislabels that the flags are measured on.

    Attributes:
        kind: 'injected' (the audit changed some of its labels on purpose) or 'controls' (it changed labels in copies,
            and scored the copies).
        wrong: bool (n,), whether the label is a known mislabel.
        scores: n rows with the suspicion, and for injected mislabels also the other scores.
        measures: at the audit's threshold.
        by_kind: for each kind of control, how many are flagged and how many there are.
    """

    kind: Literal["injected", "controls"]
    wrong: np.ndarray
    scores: pd.DataFrame
    measures: DetectionQuality
    by_kind: dict[str, tuple[int, int]] = field(default_factory=dict)


def compare_with_known(result: AuditResult) -> Comparison | None:
    """Compare a result's flags with its known mislabels; None if it has none."""
    if result.summary.detection is not None:
        wrong = result.scores["injected"].to_numpy(dtype=bool)
        return Comparison("injected", wrong, result.scores, result.summary.detection)
    controls = result.controls
    if "model_flag" in result.scores:
        # Samples that are flagged as they are have no place in the comparison; after a verification these are others.
        controls = controls[~controls.index.isin(result.scores.index[result.scores["flag"]])]
    if not controls["spiked"].any():
        return None
    wrong, suspicion = controls["spiked"].to_numpy(dtype=bool), controls["suspicion"].to_numpy(dtype=float)
    flag = suspicion >= result.summary.threshold
    by_kind = {
        str(kind): (
            int(flag[wrong & (controls["kind"] == kind)].sum()),
            int((wrong & (controls["kind"] == kind)).sum()),
        )
        for kind in sorted(set(controls["kind"][wrong]))
    }
    measures = detection_quality(wrong, flag, {"suspicion": suspicion})
    return Comparison("controls", wrong, controls, measures, by_kind)
