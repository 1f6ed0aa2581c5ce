"""The overview of an audit in the App's panel: numbers, classes and figures, computed when the audit is written.

It is saved as the results of the run, so that the panel opens without reading the scores, however many there are.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import fiftyone as fo
import pandas as pd

from audit.errors import InputError
from audit.result import AuditResult
from integrations.fiftyone.fields import FLAG, INFLUENCE, INJECTED, INJECTED_LABEL, SUGGESTED, SUSPICION
from integrations.fiftyone.runs import COMPLETE, FAILED, LabelAuditConfig, audit_config
from reports.flagged_scores import FlaggedScores

OVERVIEWS_KEPT = 4  # in memory, of the audits that were opened last


@dataclass(frozen=True)
class ClassRow:
    """One class of an audit.

    Attributes:
        label: its name.
        samples: how many have it as their given label.
        flagged: how many of them are flagged.
        confused_with: what flagged ones are suggested most often, and how often.
        mean_influence: of its samples on the mean validation loss.
    """

    label: str
    samples: int
    flagged: int
    confused_with: str | None
    confusions: int
    mean_influence: float | None


@dataclass(frozen=True)
class Overview:
    """An audit as the panel shows it.

    Attributes:
        threshold: the suspicion from which on samples are flagged.
        classes: most flagged first.
        figures: plotly figures as JSON values, 'suspicion' and 'influence'.
    """

    threshold: float
    classes: list[ClassRow]
    figures: dict[str, dict[str, Any]]


_overviews: OrderedDict[tuple[str, str, str], Overview] = OrderedDict()
_reading = Lock()


def audit_overview(dataset: fo.Dataset, audit_key: str) -> Overview:
    """The overview of an audit; that of an audit by an older version is made at the first call, and kept.

    Raises:
        InputError: if there is no such audit, or it is not complete.
    """
    config = audit_config(dataset, audit_key)
    if config.state != COMPLETE:
        if config.state == FAILED:
            raise InputError(f"audit {audit_key!r} could not be written ({config.problem}); run it again or delete it")
        raise InputError(
            f"audit {audit_key!r} is being written, or was interrupted then; wait, run it again or delete it"
        )
    identity = (str(dataset._doc.id), audit_key, version_of(dataset, audit_key))
    with _reading:
        if identity not in _overviews:
            kept = _kept(dataset, audit_key)
            if kept is None:
                kept = overview_of(_result(dataset, audit_key, config))
                keep_overview(dataset, audit_key, kept)
            _overviews[identity] = kept
            while len(_overviews) > OVERVIEWS_KEPT:
                _overviews.popitem(last=False)
        _overviews.move_to_end(identity)
        return _overviews[identity]


def version_of(dataset: fo.Dataset, audit_key: str) -> str:
    """A text that changes when the audit under a key is replaced, or its scores follow other decisions."""
    info = dataset.get_run_info(audit_key)
    return f"{info.timestamp} {info.config.check.get('used')}"


def overview_of(audited: AuditResult | FlaggedScores) -> Overview:
    """Make the overview of a result."""
    from reports.figures import influence_by_class, suspicion_histogram

    flagged = FlaggedScores.of(audited)
    figures = {"suspicion": suspicion_histogram(flagged, "dark"), "influence": influence_by_class(flagged, "dark")}
    return Overview(
        threshold=flagged.threshold,
        classes=class_rows(flagged.scores),
        figures={name: json.loads(figure.to_json()) for name, figure in figures.items()},
    )


def keep_overview(dataset: fo.Dataset, audit_key: str, overview: Overview) -> None:
    """Keep an overview as the results of the audit's run."""
    results = dataset.init_run_results(audit_key, overview=asdict(overview))
    dataset.save_run_results(audit_key, results, cache=False)


def _kept(dataset: fo.Dataset, audit_key: str) -> Overview | None:
    results = dataset.load_run_results(audit_key, cache=False, load_view=False)
    if results is None:
        return None
    kept = results.overview
    return Overview(kept["threshold"], [ClassRow(**row) for row in kept["classes"]], kept["figures"])


def class_rows(scores: pd.DataFrame) -> list[ClassRow]:
    """The classes of an audit's scores, those with most flagged samples first."""
    by_class = scores.groupby("label", sort=True)
    table = pd.DataFrame(
        {"samples": by_class.size(), "flagged": by_class["flag"].sum(), "influence": by_class["influence"].mean()}
    )
    flagged = scores[scores["flag"] & (scores["suggested_label"] != scores["label"])]
    pairs = flagged.groupby(["label", "suggested_label"]).size().reset_index(name="count")
    pairs = pairs.sort_values("count", ascending=False, kind="stable")
    confused: dict[str, tuple[str, int]] = {}
    for label, suggested, count in zip(pairs["label"], pairs["suggested_label"], pairs["count"], strict=True):
        confused.setdefault(str(label), (str(suggested), int(count)))
    table = table.sort_values("flagged", ascending=False, kind="stable")
    rows = []
    for label, samples, flags, influence in zip(table.index, *(table[name] for name in table), strict=True):
        other, count = confused.get(str(label), (None, 0))
        mean = None if influence != influence else float(influence)
        rows.append(ClassRow(str(label), int(samples), int(flags), other, count, mean))
    return rows


def _result(dataset: fo.Dataset, audit_key: str, config: LabelAuditConfig) -> AuditResult | FlaggedScores:
    """The saved result where it is there, else what the dataset's fields say."""
    follows_decisions = bool(config.check.get("used"))
    saved = None if follows_decisions else saved_result(config)
    return scores_of_fields(dataset, audit_key, config) if saved is None else saved


def saved_result(config: LabelAuditConfig) -> AuditResult | None:
    """The result of the audit, if the folder in which it was saved still has it."""
    if config.result_folder is None:
        return None
    try:
        saved = AuditResult.load(Path(config.result_folder))
    except InputError:
        return None
    return saved if saved.summary.created == config.summary.get("created") else None


def scores_of_fields(dataset: fo.Dataset, key: str, config: LabelAuditConfig) -> FlaggedScores:
    """The scores that the dataset's fields have."""
    scored = dataset.exists(SUSPICION.name(key))
    names = {
        "label": f"{config.label_field}.label",
        "influence": INFLUENCE.name(key),
        "suspicion": SUSPICION.name(key),
        "flag": FLAG.name(key),
        "suggested_label": f"{SUGGESTED.name(key)}.label",
    }
    injected = dataset.has_field(INJECTED.name(key))
    if injected:
        names |= {"injected": INJECTED.name(key), "injected_label": f"{INJECTED_LABEL.name(key)}.label"}
    ids, *columns = scored.values(["id", *names.values()])
    scores = pd.DataFrame(dict(zip(names, columns, strict=True)), index=pd.Index(ids, name="id", dtype=object))
    scores["influence"] = scores["influence"].astype(float)
    scores["flag"] = scores["flag"].fillna(False).astype(bool)
    if injected:
        scores["injected"] = scores["injected"].fillna(False).astype(bool)
        scores["label"] = scores["injected_label"].fillna(scores["label"])
    kept = dict(config.summary)
    classes = sorted(scores["label"].dropna().unique())
    return FlaggedScores(scores, classes, kept.get("threshold", 0.5), kept.get("detection") is not None)
