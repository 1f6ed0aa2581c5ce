"""The progress of a review, and whether its results agree with the suspicions. The run stores the counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import fiftyone as fo
from fiftyone.core.odm import get_db_conn

from integrations.fiftyone.fields import OF_LABELS, RELABELLED, STATUSES, UNREVIEWED, WRONG
from integrations.fiftyone.review.log import DecisionLog

if TYPE_CHECKING:
    from pymongo.collection import Collection

# For a 95 % interval of a count: standard deviations, and the continuity correction of the normal approximation.
SPREAD, CONTINUITY = NormalDist().inv_cdf(0.975), 0.5
_PLACE = "config.summary.review"  # path of the counts in a run's document


@dataclass(frozen=True)
class ReviewProgress:
    """The progress of a review.

    Attributes:
        flagged: samples that the audit flagged.
        reviewed: flagged samples that have a decision.
        statuses: number of samples by status, flagged or not.
        to_apply: corrections that were not written into the label field yet.
        checked: flagged samples that were found right or wrong after the audit was written. Only for these is the
            suspicion about the label that the reviewer saw.
        found_wrong: how many of these labels the reviewers found wrong.
        expected_wrong: how many of them are wrong according to the suspicions (their sum).
        chance: standard deviation of that number if the suspicions are right.
    """

    flagged: int
    reviewed: int
    statuses: dict[str, int]
    to_apply: int
    checked: int
    found_wrong: int
    expected_wrong: float
    chance: float

    @property
    def unexpected(self) -> bool:
        """Whether the number of wrong labels is so high or low that its probability by chance is below 5 %."""
        return abs(self.found_wrong - self.expected_wrong) > SPREAD * self.chance + CONTINUITY


def review_progress(dataset: fo.Dataset, audit_key: str) -> ReviewProgress:
    """Count the reviewed samples and the rest.

    Raises:
        InputError: if there is no such audit.
    """
    return _count(DecisionLog(dataset, audit_key))


def keep_progress(dataset: fo.Dataset, audit_key: str) -> None:
    """Update the counts in the run's summary (`review`). Every decision does this itself.

    Raises:
        InputError: if there is no such audit.
    """
    bring_up_to_date(DecisionLog(dataset, audit_key))


def bring_up_to_date(log: DecisionLog) -> None:
    """After a decision, update the counts in the run's summary, and reload the dataset in this process. A request of
    the App does not need that: the next one reads the dataset anew."""
    # Count again after writing: another window may have decided in between, and written its count before this one.
    while (now := asdict(_count(log))) != _kept(log) and _keep(log, now):
        continue
    if not log.is_of_a_request:
        log.tell_samples_in_memory()


def kept_progress(dataset: fo.Dataset, audit_key: str) -> ReviewProgress:
    """The progress as the last decision has counted it, in one query. See `review_progress`, which counts.

    Raises:
        InputError: if there is no such audit.
    """
    log = DecisionLog(dataset, audit_key)
    kept = _kept(log)
    names = {one.name for one in fields(ReviewProgress)}
    return ReviewProgress(**kept) if kept is not None and set(kept) == names else _count(log)


def _kept(log: DecisionLog) -> dict[str, Any] | None:
    """The counts stored in the run's summary."""
    run = _runs().find_one({"_id": log.run}, [_PLACE]) or {}
    return run.get("config", {}).get("summary", {}).get("review")


def _keep(log: DecisionLog, counts: dict[str, Any]) -> bool:
    """Store the counts in the run's summary; returns whether the run still exists."""
    return _runs().update_one({"_id": log.run}, {"$set": {_PLACE: counts}}).matched_count > 0


def _runs() -> Collection[dict[str, Any]]:
    return get_db_conn()["runs"]


def _count(log: DecisionLog) -> ReviewProgress:
    statuses = dict.fromkeys(STATUSES, 0)
    reviewed = checked = found_wrong = 0
    expected = variance = 0.0
    for group in _reviewed_groups(log):
        of, count = group["_id"], group["n"]
        statuses[of["status"]] += count
        if not of.get("flag"):
            continue
        reviewed += count
        if of["checked"] and of["status"] in OF_LABELS:
            checked += count
            found_wrong += count if of["status"] in WRONG else 0
            expected += group["expected"]
            variance += group["variance"]
    statuses[UNREVIEWED] = log.samples.count_documents({log.status: UNREVIEWED})
    flagged = log.samples.count_documents({log.flag: True})
    to_apply = log.samples.count_documents(log.waiting(log.label_field)) if statuses[RELABELLED] else 0
    # Rounded, because the database may add them up in any order, and equal counts should not be written again.
    expectation = {"expected_wrong": round(expected, 3), "chance": round(max(0.0, variance) ** 0.5, 3)}
    return ReviewProgress(flagged, reviewed, statuses, to_apply, checked, found_wrong, **expectation)


def _reviewed_groups(log: DecisionLog) -> Iterable[dict[str, Any]]:
    """How many reviewed samples there are by status, by flag, and by whether the decision is older than the audit.

    Only reviewed samples are read: they are few, and `<key>_status` has an index.
    """
    suspicion = f"${log.suspicion}"
    return log.samples.aggregate(
        [
            {"$match": {log.status: {"$in": [status for status in STATUSES if status != UNREVIEWED]}}},
            {
                "$group": {
                    "_id": {
                        "status": f"${log.status}",
                        "flag": f"${log.flag}",
                        "checked": {"$gte": [log.decided_at, log.audited_at]},
                    },
                    "n": {"$sum": 1},
                    "expected": {"$sum": suspicion},
                    "variance": {"$sum": {"$multiply": [suspicion, {"$subtract": [1, suspicion]}]}},
                }
            },
        ]
    )
