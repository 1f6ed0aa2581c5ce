"""Which samples the report shows as pictures, as plain values for the page: each sample and thumbnail appears once."""

from __future__ import annotations

import base64
import math
from typing import Any

import pandas as pd

from audit.result import AuditResult

MAX_FLAGGED = 1000
"""Flagged samples that the gallery holds, most suspicious first; the rest is in the result's scores."""

MAX_COMPARED = 120
"""Samples in each of the galleries 'injected and missed' and 'flagged but not injected'."""

MAX_GALLERY_CLASSES = 40
"""Classes whose most harmful and helpful samples are shown: the largest, of which a result holds thumbnails."""

SAMPLES_A_CLASS = 8
MAX_EXPLAINED = 12

THUMBNAIL_BUDGET = 6_500_000
"""Bytes of thumbnails in one report, so that the file stays under 15 MB; later galleries go without first."""


def gallery_values(result: AuditResult) -> dict[str, Any]:
    """The samples of all galleries and where each belongs, as JSON values.

    Returns:
        samples: one object a shown sample; thumbnails: base64 WebP, addressed by a sample's `thumbnail`; and, as
        positions in samples: flagged, missed, unexpected, classes (label, harmful, helpful) and explained (target,
        helpful, harmful with the pairwise influence). thumbnails_left_out: how many the budget did not allow.
    """
    shelf = _Shelf(result)
    flagged = result.flagged
    values: dict[str, Any] = {
        "flagged": shelf.put(flagged.head(MAX_FLAGGED)),
        "flagged_total": len(flagged),
        "missed": [],
        "missed_total": 0,
        "unexpected": [],
        "unexpected_total": 0,
    }
    if result.summary["detection"] is not None:
        injected = result.scores["injected"].to_numpy(dtype=bool)
        missed = result.scores[injected & ~result.scores["flag"].to_numpy(dtype=bool)]
        missed = missed.sort_values("suspicion", ascending=False, kind="stable")
        unexpected = flagged[~flagged["injected"].to_numpy(dtype=bool)]
        values |= {
            "missed": shelf.put(missed.head(MAX_COMPARED)),
            "missed_total": len(missed),
            "unexpected": shelf.put(unexpected.head(MAX_COMPARED)),
            "unexpected_total": len(unexpected),
        }
    values["explained"] = _explained(result, shelf)
    values["classes"] = _classes(result, shelf)
    values["classes_total"] = len(result.summary["classes"])
    return values | {
        "samples": shelf.samples,
        "thumbnails": shelf.thumbnails,
        "thumbnails_left_out": shelf.left_out,
    }


class _Shelf:
    """Takes each sample once, with its thumbnail while the budget lasts."""

    def __init__(self, result: AuditResult) -> None:
        self._images = result.thumbnails["image"].to_dict() if len(result.thumbnails) else {}
        self._positions: dict[Any, int] = {}
        self._bytes = 0
        self.samples: list[dict[str, Any]] = []
        self.thumbnails: list[str] = []
        self.left_out = 0

    def put(self, rows: pd.DataFrame) -> list[int]:
        positions = []
        for identifier, row in zip(rows.index, rows.to_dict("records"), strict=True):
            if identifier not in self._positions:
                self._positions[identifier] = len(self.samples)
                self.samples.append(_sample(identifier, row) | {"thumbnail": self._thumbnail(identifier)})
            positions.append(self._positions[identifier])
        return positions

    def _thumbnail(self, identifier: Any) -> int | None:
        image = self._images.get(identifier)
        if not isinstance(image, bytes):
            return None
        if self._bytes + len(image) > THUMBNAIL_BUDGET:
            self.left_out += 1
            return None
        self._bytes += len(image)
        self.thumbnails.append(base64.b64encode(image).decode("ascii"))
        return len(self.thumbnails) - 1


def _sample(identifier: Any, row: dict[Any, Any]) -> dict[str, Any]:
    sample = {
        "id": str(identifier),
        "path": _text(row.get("filepath")),
        "split": str(row["split"]),
        "given": str(row["label"]),
        "suggested": _text(row["suggested_label"]),
        "flag": bool(row["flag"]),
        "injected": bool(row["injected"]) if "injected" in row else None,
        "original": _text(row.get("original_label")),
    }
    scores = ("suspicion", "suggested_probability", "influence", "self_influence", "loo_probability")
    return sample | {score: _number(row[score]) for score in scores}


def _classes(result: AuditResult, shelf: _Shelf) -> list[dict[str, Any]]:
    scores = result.scores
    trained_on = scores[scores["split"] == "train"].dropna(subset=["influence"])
    groups = dict(list(trained_on.groupby("label", sort=False)))
    largest = set(scores["label"].value_counts().index[:MAX_GALLERY_CLASSES])
    classes = []
    for label in result.summary["classes"]:
        if label not in groups or label not in largest:
            continue
        ranked = groups[label].sort_values("influence", kind="stable")
        harmful = ranked[ranked["influence"] < 0].head(SAMPLES_A_CLASS)
        helpful = ranked[ranked["influence"] > 0].iloc[::-1].head(SAMPLES_A_CLASS)
        classes.append({"label": str(label), "harmful": shelf.put(harmful), "helpful": shelf.put(helpful)})
    return classes


def _explained(result: AuditResult, shelf: _Shelf) -> list[dict[str, Any]]:
    explained = []
    known = result.explanations[result.explanations["reason"] == "validation"]
    known = known[known["target"].isin(result.scores.index) & known["neighbour"].isin(result.scores.index)]
    for target, group in list(known.groupby("target", sort=False))[:MAX_EXPLAINED]:
        entry: dict[str, Any] = {"target": shelf.put(result.scores.loc[[target]])[0]}
        for kind in ("helpful", "harmful"):
            ranked = group[group["kind"] == kind].sort_values("rank")
            samples = shelf.put(result.scores.loc[ranked["neighbour"]])
            entry[kind] = [
                [sample, _number(influence)] for sample, influence in zip(samples, ranked["influence"], strict=True)
            ]
        explained.append(entry)
    return explained


def _text(value: Any) -> str | None:
    return None if pd.isna(value) else str(value)


def _number(value: Any) -> float | None:
    number = float(value)
    return float(f"{number:.6g}") if math.isfinite(number) else None
