"""How far a check is, and what its decisions say so far."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import fiftyone as fo

from integrations.fiftyone.review.check import Check, drawn_and_decided, find_check, table_of
from integrations.fiftyone.review.judgements import Judgement, judgements, model_scores
from integrations.fiftyone.review.log import DecisionLog
from integrations.fiftyone.runs import audit_config

if TYPE_CHECKING:
    import pandas as pd

    from audit.verification.anytime import Estimate
    from audit.verification.estimate import Verification

DECISIONS_BETWEEN_LOOKS = 10
"""The anytime intervals hold for a reviewer who looks after every ten decisions, so the check shows no others."""

NARROW = 0.25  # of the range from 0 to 1: an interval below this width says enough
_VERIFICATIONS_KEPT = 8  # in memory, of the looks that were taken last


@dataclass(frozen=True)
class CheckProgress:
    """How far a check is.

    Attributes:
        drawn: drawn samples, in the order to decide them.
        decided: how many of them from the first are decided; 'unsure' is a decision, too.
        wrong, right, unsure: how many of these have each decision.
        next: the id of the sample to decide next; None where all are decided.
        looked: how many decisions `verification` rests on: whole tens, or all once every drawn sample is decided.
        verification: what these decisions say; None before the first look, or where all of them are unsure.
        samples: how many samples `verification` speaks of; 0 where there is none.
        used: whether suspicions, flags and suggestions in the dataset follow decisions.
        unused: whether decisions were made or undone since they were used, or never used.
        interrupted: whether writing them was begun and did not end; using the decisions again, or going back, mends it.
    """

    drawn: tuple[str, ...]
    decided: int
    wrong: int
    right: int
    unsure: int
    next: str | None
    looked: int
    verification: Verification | None
    samples: int
    used: bool
    unused: bool
    interrupted: bool

    @property
    def enough(self) -> bool:
        """Whether the check may end: the anytime interval is narrower than a quarter, of the share of flags that are
        right or, where nothing is flagged, of the share of labels that are wrong."""
        if self.verification is None:
            return False
        precision = self.verification.precision
        if precision is not None:
            return _width(precision) < NARROW
        return _width(self.verification.mistakes) < NARROW * self.samples


def check_progress(dataset: fo.Dataset, audit_key: str) -> CheckProgress | None:
    """How far the check of an audit is; None where none was begun.

    Raises:
        InputError: if there is no such audit.
    """
    check = find_check(dataset, audit_key)
    if check is None:
        return None
    kept = audit_config(dataset, audit_key).check
    log = DecisionLog(dataset, audit_key)
    made = judgements(log, check.ids)
    drawn, decided = drawn_and_decided(log, check, made)
    is_over = decided == len(drawn)
    looked = decided if is_over else decided // DECISIONS_BETWEEN_LOOKS * DECISIONS_BETWEEN_LOOKS
    words = [made[sample].decision for sample in drawn[:decided]]
    estimated = _verification(log, check, _at_look(made, drawn, looked))
    return CheckProgress(
        drawn=drawn,
        decided=decided,
        wrong=words.count("wrong"),
        right=words.count("right"),
        unsure=words.count("unsure"),
        next=None if is_over else drawn[decided],
        looked=looked,
        verification=estimated and estimated[0],
        samples=estimated[1] if estimated else 0,
        used=bool(kept.get("used")),
        unused=kept.get("decisions") != len(table_of(made, drawn[:decided])),
        interrupted=bool(kept.get("writing")),
    )


def _at_look(made: dict[str, Judgement], drawn: tuple[str, ...], looked: int) -> pd.DataFrame:
    """The decisions on so many drawn samples, and those of ordinary review on samples that were not drawn."""
    later = set(drawn[looked:])
    return table_of({sample: one for sample, one in made.items() if sample not in later}, drawn[:looked])


_verifications: OrderedDict[tuple[Any, ...], tuple[Verification, int]] = OrderedDict()
_estimating = Lock()


def _verification(log: DecisionLog, check: Check, decisions: pd.DataFrame) -> tuple[Verification, int] | None:
    """What decisions say of how many samples; the panel asks about the same decisions at every event."""
    from audit.verification.estimate import verify_scores

    drawn = decisions["order"].notna()
    if not (drawn & (decisions["decision"] != "unsure")).any():
        return None
    rows = tuple(decisions.reset_index().fillna({"order": -1.0}).itertuples(index=False, name=None))
    key = (log.run, log.audited_at, check.started, rows)
    with _estimating:
        if key not in _verifications:
            scores = model_scores(log)
            _verifications[key] = verify_scores(scores, decisions), len(scores)
            while len(_verifications) > _VERIFICATIONS_KEPT:
                _verifications.popitem(last=False)
        _verifications.move_to_end(key)
        return _verifications[key]


def _width(estimate: Estimate) -> float:
    return estimate.anytime_high - estimate.anytime_low
