"""The flags against mislabels that are known: those that were injected, or spike-in controls where none were."""

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
    """What the flags are measured on.

    Attributes:
        kind: 'injected' (labels of this audit were changed on purpose) or 'controls' (labels of copies were, and the
            copies were scored again).
        wrong: bool (n,), the known mislabels.
        scores: (n) rows with suspicion, and with injection the other scores too.
        measures: at the audit's threshold.
        by_kind: of each kind of control, how many reach the threshold and how many there are.
    """

    kind: Literal["injected", "controls"]
    wrong: np.ndarray
    scores: pd.DataFrame
    measures: DetectionQuality
    by_kind: dict[str, tuple[int, int]] = field(default_factory=dict)


def compare_with_known(result: AuditResult) -> Comparison | None:
    """The comparison that a result allows; None where no mislabel is known."""
    if result.summary.detection is not None:
        wrong = result.scores["injected"].to_numpy(dtype=bool)
        return Comparison("injected", wrong, result.scores, result.summary.detection)
    controls = result.controls
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
