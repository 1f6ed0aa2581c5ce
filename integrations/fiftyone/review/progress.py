"""How far a review is, and whether what it finds fits the suspicions; each decision keeps the counts in the run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import fiftyone as fo
from fiftyone.core.odm import get_db_conn

from integrations.fiftyone.fields import RELABELLED, STATUSES, UNREVIEWED, WRONG
from integrations.fiftyone.review.log import DecisionLog

if TYPE_CHECKING:
    from pymongo.collection import Collection

# Of a count: standard deviations, and what a normal distribution in its place asks for, that leave chance a twentieth.
SPREAD, CONTINUITY = NormalDist().inv_cdf(0.975), 0.5
_PLACE = "config.summary.review"  # where a run's document has the counts


@dataclass(frozen=True)
class ReviewProgress:
    """How far a review is.

    Attributes:
        flagged: samples that the audit flagged.
        reviewed: flagged samples that were decided on.
        statuses: samples by status, flagged or not.
        to_apply: corrections that the label field does not have yet.
        checked: flagged samples that were decided on since the audit was written, so that its suspicion was of the
            label that was looked at.
        found_wrong: of these, the labels that were decided to be wrong.
        expected_wrong: how many the suspicions expected to be.
        chance: standard deviation of that number, were the suspicions right.
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
        """Whether so many or so few labels were wrong that chance explains it in fewer than one case in twenty."""
        return abs(self.found_wrong - self.expected_wrong) > SPREAD * self.chance + CONTINUITY


def review_progress(dataset: fo.Dataset, audit_key: str) -> ReviewProgress:
    """Count what is reviewed and what is left.

    Raises:
        InputError: if there is no such audit.
    """
    return _count(DecisionLog(dataset, audit_key))


def keep_progress(dataset: fo.Dataset, audit_key: str) -> None:
    """Bring the counts in the run's summary (`review`) up to date; decisions do so themselves.

    Raises:
        InputError: if there is no such audit.
    """
    bring_up_to_date(DecisionLog(dataset, audit_key))


def bring_up_to_date(log: DecisionLog) -> None:
    """After a decision, count anew in the run's summary, and read anew what this process holds of the dataset."""
    # Counted again after writing: another window may have decided in between, and written its count before ours.
    while (now := asdict(_count(log))) != _kept(log) and _keep(log, now):
        continue
    log.tell_samples_in_memory()


def _kept(log: DecisionLog) -> dict[str, Any] | None:
    """The counts as the run's summary has them."""
    run = _runs().find_one({"_id": log.run}, [_PLACE]) or {}
    return run.get("config", {}).get("summary", {}).get("review")


def _keep(log: DecisionLog, counts: dict[str, Any]) -> bool:
    """Put the counts into the run's summary; whether the run is still there."""
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
        if of["checked"]:
            checked += count
            found_wrong += count if of["status"] in WRONG else 0
            expected += group["expected"]
            variance += group["variance"]
    statuses[UNREVIEWED] = log.samples.count_documents({log.status: UNREVIEWED})
    flagged = log.samples.count_documents({log.flag: True})
    to_apply = log.samples.count_documents(log.waiting(log.label_field)) if statuses[RELABELLED] else 0
    # Rounded, since the order in which the database adds them up is its own, and equal counts are not written again.
    expectation = {"expected_wrong": round(expected, 3), "chance": round(max(0.0, variance) ** 0.5, 3)}
    return ReviewProgress(flagged, reviewed, statuses, to_apply, checked, found_wrong, **expectation)


def _reviewed_groups(log: DecisionLog) -> Iterable[dict[str, Any]]:
    """How many reviewed samples have each status, flagged or not, decided on before or since the audit was written.

    Only reviewed samples are looked at one by one: they are few, and `<key>_status` has an index.
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
