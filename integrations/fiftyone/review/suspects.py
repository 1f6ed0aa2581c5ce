"""How many samples are at or above a suspicion, by class, and how many of them are expected to be wrong."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import Any

import fiftyone as fo

from integrations.fiftyone.fields import INJECTED, SUGGESTED
from integrations.fiftyone.overview import version_of
from integrations.fiftyone.review.log import DecisionLog

KEPT = 64  # in memory, of the places where the slider was last


@dataclass(frozen=True)
class Suspects:
    """Samples at or above a suspicion.

    Attributes:
        count: how many there are.
        expected_wrong: how many of them are wrong according to the suspicions (their sum).
    """

    count: int
    expected_wrong: float


_found: OrderedDict[tuple[str, str, str, float, bool, str | None], dict[str, Suspects]] = OrderedDict()
_looking = Lock()


def suspects_by_class(
    dataset: fo.Dataset, audit_key: str, threshold: float, hide_injected: bool = False, suggested: str | None = None
) -> dict[str, Suspects]:
    """The samples at or above a suspicion, by the label that was audited; classes without any are left out.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        threshold: the lowest suspicion.
        hide_injected: whether samples whose label the audit changed on purpose are left out.
        suggested: count only samples with this suggested label; None for all.

    Raises:
        InputError: if there is no such audit.
    """
    log = DecisionLog(dataset, audit_key)
    place = (str(dataset._doc.id), audit_key, version_of(dataset, audit_key), threshold, hide_injected, suggested)
    with _looking:
        if place not in _found:
            _found[place] = _suspects(log, threshold, hide_injected, suggested)
            while len(_found) > KEPT:
                _found.popitem(last=False)
        _found.move_to_end(place)
        return _found[place]


def _suspects(log: DecisionLog, threshold: float, hide_injected: bool, suggested: str | None) -> dict[str, Suspects]:
    suspicion = f"${log.suspicion}"
    wanted: dict[str, Any] = {log.suspicion: {"$gte": threshold}}
    if hide_injected:
        wanted[INJECTED.name(log.key)] = {"$ne": True}
    if suggested is not None:
        wanted[f"{SUGGESTED.name(log.key)}.label"] = suggested
    groups = log.samples.aggregate(
        [
            {"$match": wanted},
            {"$group": {"_id": log.label_of_audit, "n": {"$sum": 1}, "expected": {"$sum": suspicion}}},
        ],
        allowDiskUse=True,
    )
    return {str(group["_id"]): Suspects(group["n"], float(group["expected"])) for group in groups}
