"""What is left of a review: what decisions found so far, and how many more would find most of the other mistakes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import fiftyone as fo
import numpy as np

from integrations.fiftyone.fields import OF_LABELS, UNREVIEWED, WRONG
from integrations.fiftyone.review.log import DecisionLog

EDGES = (0.0, 0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)  # of the bins of suspicion
MOST = 0.95  # share of the remaining mistakes that a plan counts the decisions for
AHEAD = 50  # decisions whose yield says whether it is worth going on
WEIGHT = 20.0  # decisions that the suspicion itself counts as, beside those that were made in its bin


@dataclass(frozen=True)
class YieldBin:
    """The samples of one range of suspicion.

    Attributes:
        low, high: the range; `high` belongs to the next bin, but for the last one.
        decided: samples that were found right or wrong since the audit.
        found_wrong: how many of them are wrong.
        left: samples that nobody has decided on.
        expected_left: how many of those are expected to be wrong.
    """

    low: float
    high: float
    decided: int
    found_wrong: int
    left: int
    expected_left: float


@dataclass(frozen=True)
class ReviewPlan:
    """What is left of a review.

    Attributes:
        bins: the most suspicious first.
        left: samples that nobody has decided on.
        expected_left: how many of them are expected to be wrong.
        decisions: in the order of suspicion, how many more find `MOST` of these.
        next_wrong: how many of the next `AHEAD` samples are expected to be wrong.
        verified: whether decisions on samples that were drawn by chance stand behind the suspicions.
    """

    bins: tuple[YieldBin, ...]
    left: int
    expected_left: float
    decisions: int
    next_wrong: float
    verified: bool

    @property
    def sentences(self) -> list[str]:
        """The plan in words."""
        said = []
        if not self.verified:
            said.append(
                "First check the audit: these numbers rest on its suspicions, and only decisions on pictures that were "
                "drawn by chance can say how far to trust them."
            )
        if not self.left:
            return [*said, "Every sample is decided."]
        said.append(
            f"About {self.expected_left:,.0f} of the {self.left:,} labels that nobody has decided on are expected to "
            f"be wrong. About {self.decisions:,} more decisions, the most suspicious labels first, find {MOST:.0%} of "
            "these."
        )
        ahead = min(AHEAD, self.left)
        said.append(
            f"Of the next {ahead:,} labels, about {self.next_wrong:,.0f} are expected to be wrong. Stop once that is "
            "fewer than your time is worth. No review of the most suspicious labels shows that the others are right."
        )
        return said


def review_plan(dataset: fo.Dataset, audit_key: str) -> ReviewPlan:
    """What decisions found so far, and what is left to find.

    Suspicions are calibrated by the decisions in their bin: where fewer labels were wrong than the suspicions said, the
    remaining ones count for less. The suspicion itself counts as `WEIGHT` decisions.

    Raises:
        InputError: if there is no such audit.
    """
    log = DecisionLog(dataset, audit_key)
    rows = log.samples.aggregate(
        [
            {"$match": {log.status: {"$in": list(OF_LABELS)}}},
            {
                "$project": {
                    "suspicion": f"${log.suspicion}",
                    "wrong": {"$in": [f"${log.status}", list(WRONG)]},
                    "checked": {"$gte": [log.decided_at, log.audited_at]},
                }
            },
        ]
    )
    decided = [(row["suspicion"], row["wrong"]) for row in rows if row["checked"] and row.get("suspicion") is not None]
    found = log.samples.find({log.status: UNREVIEWED}, {log.suspicion: 1, "_id": 0}).sort(log.suspicion, -1)
    left = np.array([row[log.suspicion] for row in found if row.get(log.suspicion) is not None], dtype=float)
    run: dict[str, Any] = dataset.get_run_info(audit_key).config.summary
    return _plan(
        np.array([suspicion for suspicion, _ in decided], dtype=float),
        np.array([wrong for _, wrong in decided], dtype=bool),
        left,
        bool(run.get("verified")),
    )


def _plan(decided: np.ndarray, wrong: np.ndarray, left: np.ndarray, verified: bool) -> ReviewPlan:
    """Suspicions of decided samples, which of them are wrong, and suspicions of the others, the highest first."""
    inner = np.array(EDGES[1:-1])
    bin_of_decided, bin_of_left = np.digitize(decided, inner), np.digitize(left, inner)
    expected, bins = np.zeros(len(left)), []
    for number, (low, high) in enumerate(pairwise(EDGES)):
        made, rest = bin_of_decided == number, bin_of_left == number
        said, found = float(decided[made].sum()), int(wrong[made].sum())
        mean = float(np.concatenate([decided[made], left[rest]]).mean()) if made.any() or rest.any() else 0.0
        factor = (found + WEIGHT * mean) / max(said + WEIGHT * mean, 1e-12)
        expected[rest] = np.minimum(1.0, factor * left[rest])
        bins.append(YieldBin(low, high, int(made.sum()), found, int(rest.sum()), float(expected[rest].sum())))
    total = np.cumsum(expected)
    enough = int(np.searchsorted(total, MOST * total[-1]) + 1) if len(total) else 0
    return ReviewPlan(
        tuple(reversed(bins)),
        len(left),
        float(expected.sum()),
        min(enough, len(left)),
        float(expected[:AHEAD].sum()),
        verified,
    )
