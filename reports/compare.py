"""What changed between two results: after corrections, with another backbone, with another seed."""

from __future__ import annotations

import base64
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from audit.errors import InputError
from audit.result import AuditResult
from reports import verdict
from reports.galleries import THUMBNAIL_BUDGET
from reports.page import asset, environment, policy, write_page

MAX_SHOWN = 200
"""Samples in each gallery; the rest is counted."""

SHOWN_AT_FIRST = 12
MAX_PAIRS = 30
MAX_CLASSES = 200
BINS = 40
"""Cells a side of the picture of both suspicions."""

_FACTS = ("name", "weights", "image_size", "precision")


def write_comparison(first: AuditResult, second: AuditResult, path: str | Path) -> Path:
    """Write a page about what changed from the first result to the second; it needs no network and no other file.

    Raises:
        InputError: if the results have no sample in common, or the file cannot be written.
    """
    return write_page(render_comparison(first, second), path)


def render_comparison(first: AuditResult, second: AuditResult) -> str:
    """The page as HTML text."""
    values = compare(first, second)
    both = _matched(first, second)
    shelf = _Thumbnails(first, second)
    galleries = {name: _cards(both[rows], shelf) for name, rows in _groups(both).items()}
    style = asset("report.css") + "\n" + asset("compare.css")
    return (
        environment()
        .get_template("compare.html.j2")
        .render(
            title="What changed between two label audits",
            values=values,
            headline=headline(values),
            sentences=sentences(values),
            galleries=galleries,
            classes=sorted(values["classes"], key=lambda row: -(row["gone"] + row["new"]))[:MAX_CLASSES],
            max_classes=MAX_CLASSES,
            max_pairs=MAX_PAIRS,
            at_first=SHOWN_AT_FIRST,
            totals={name: int(rows.sum()) for name, rows in _groups(both).items()},
            cells=_cells(both),
            bins=BINS,
            thresholds=(first.summary["threshold"], second.summary["threshold"]),
            style=style,
            theme_script=asset("theme.js"),
            policy=policy([asset("theme.js")], style),
        )
    )


def compare(first: AuditResult, second: AuditResult) -> dict[str, Any]:
    """The comparison as JSON values.

    Returns:
        first, second: which audits these are, with samples, flagged, threshold, estimates, detection, backbone, and the
        quality of the head on the test split;
        samples: common to both, only in one;
        flags: of the common samples, flagged in both, only by the second (new), only by the first (gone);
        labels: how many of the user's own labels changed, how many of these the first audit had flagged, how many
        became what it had suggested, and from which class to which;
        suspicion: Spearman's rank correlation over the common samples, None where it is not defined;
        classes: for each of the user's labels in the second result, flags in both results;
        settings: those that differ, by name.

    Raises:
        InputError: if the results have no sample in common.
    """
    both = _matched(first, second)
    flagged, now = both["flag_first"].to_numpy(bool), both["flag_second"].to_numpy(bool)
    changed = (both["own_first"] != both["own_second"]).to_numpy(bool)
    followed = changed & (both["own_second"] == both["suggested_label_first"].astype(str)).to_numpy(bool)
    return {
        "first": _describe(first),
        "second": _describe(second),
        "samples": {
            "common": len(both),
            "only_first": len(first.scores) - len(both),
            "only_second": len(second.scores) - len(both),
        },
        "flags": {
            "both": int((flagged & now).sum()),
            "new": int((~flagged & now).sum()),
            "gone": int((flagged & ~now).sum()),
        },
        "labels": {
            "changed": int(changed.sum()),
            "changed_of_flagged": int((changed & flagged).sum()),
            "as_suggested": int(followed.sum()),
            "pairs": _pairs(both[changed]),
        },
        "suspicion": {"rank_correlation": _rank_correlation(both)},
        "classes": _by_class(both),
        "settings": _different_settings(first.summary, second.summary),
    }


def headline(values: dict[str, Any]) -> str:
    """What changed, in a sentence."""
    before, after = (round(values[which]["estimates"]["mistakes"]) for which in ("first", "second"))
    if before == after == 0:
        return "No label looks wrong in either audit."
    if values["first"]["samples"] == values["second"]["samples"]:
        total = f" of {verdict.count(values['second']['samples'])}"
        if before == after:
            return f"About {verdict.count(after)}{total} labels look wrong in both audits."
        return f"About {verdict.count(before)}{total} labels looked wrong, now about {verdict.count(after)} do."
    return (
        f"About {verdict.count(before)} of {verdict.count(values['first']['samples'])} labels looked wrong, "
        f"now about {verdict.count(after)} of {verdict.count(values['second']['samples'])} do."
    )


def sentences(values: dict[str, Any]) -> list[str]:
    """The verdict after the headline: labels, flags, agreement, settings."""
    labels, flags, samples = values["labels"], values["flags"], values["samples"]
    said = []
    if labels["changed"]:
        said.append(
            f"{verdict.count(labels['changed'])} labels changed in between; the first audit had flagged "
            f"{verdict.count(labels['changed_of_flagged'])} of them, and {verdict.count(labels['as_suggested'])} "
            "became what it suggested."
        )
    else:
        said.append("No label of the samples that both have changed in between.")
    said.append(
        f"Of the first audit's flags {verdict.count(flags['gone'])} are gone and {verdict.count(flags['both'])} stay; "
        f"{verdict.count(flags['new'])} are new."
    )
    injected = [values[which]["injected"] for which in ("first", "second")]
    if any(injected):
        said.append(
            f"The audits had changed {verdict.count(injected[0])} and {verdict.count(injected[1])} labels on purpose; "
            "where those differ, so do the flags."
        )
    if samples["only_first"] or samples["only_second"]:
        said.append(
            f"{verdict.count(samples['only_first'])} samples are only in the first result, "
            f"{verdict.count(samples['only_second'])} only in the second; flags are compared on the "
            f"{verdict.count(samples['common'])} that both have."
        )
    if values["settings"]:
        names = ", ".join(setting["name"] for setting in values["settings"][:6])
        said.append(f"The audits differ in: {names}{' and more' if len(values['settings']) > 6 else ''}.")
    return said


def _matched(first: AuditResult, second: AuditResult) -> pd.DataFrame:
    """The samples that both have, by id (where no id is in both, by file, and where no file is, by its name and
    folder, as of copies of one dataset), columns with `_first` and `_second`."""
    tables = [_with_own_label(result.scores) for result in (first, second)]
    for key in (None, "filepath", "name"):
        keyed = [table if key is None else _keyed(table, key) for table in tables]
        both = keyed[0].join(keyed[1], how="inner", lsuffix="_first", rsuffix="_second")
        if len(both):
            break
    else:
        raise InputError(
            "the two results have no sample in common, neither by id nor by file; compare audits of the same dataset"
        )
    return both


def _keyed(table: pd.DataFrame, key: str) -> pd.DataFrame:
    return table.dropna(subset=[key]).drop_duplicates(key, keep=False).set_index(key, drop=False)


def _short_path(path: object) -> str | None:
    return "/".join(Path(path).parts[-2:]) if isinstance(path, str) else None


def _with_own_label(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores with the user's own label, which injection left alone, as text, and the file's name and folder."""
    own = scores["original_label"] if "original_label" in scores else scores["label"]
    return scores.assign(own=own.astype(str), id=scores.index, name=scores["filepath"].map(_short_path))


def _groups(both: pd.DataFrame) -> dict[str, np.ndarray]:
    flagged, now = both["flag_first"].to_numpy(bool), both["flag_second"].to_numpy(bool)
    return {"gone": flagged & ~now, "new": ~flagged & now, "both": flagged & now}


def _describe(result: AuditResult) -> dict[str, Any]:
    summary = result.summary
    backbone = summary["backbone"]
    test = summary["heads"]["given"]["test"]
    return {
        "created": summary["created"],
        "source": summary.get("source"),
        "samples": summary["counts"]["samples"],
        "classes": summary["counts"]["classes"],
        "flagged": summary["counts"]["flagged"],
        "injected": summary["counts"]["injected"],
        "threshold": summary["threshold"],
        "estimates": {name: value for name, value in summary["estimates"].items() if name != "basis"},
        "detection": summary["detection"]
        and {
            name: summary["detection"][name] for name in ("injected", "precision", "recall", "f1", "average_precision")
        },
        "backbone": backbone and {name: backbone[name] for name in _FACTS},
        "head": {name: test[name] for name in ("samples", "accuracy", "f1", "loss")},
    }


def _different_settings(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    tables = []
    for summary in (first, second):
        table = dict(summary["config"])
        # What 'auto' came to matters more than that it was asked for.
        table |= {f"backbone {name}": (summary["backbone"] or {}).get(name) for name in _FACTS}
        table |= {f"version of {name}": version for name, version in summary["versions"].items()}
        table |= {name: (summary.get("source") or {}).get(name) for name in ("dataset", "label_field")}
        tables.append(table)
    names = list(dict.fromkeys([*tables[0], *tables[1]]))
    return [
        {"name": name, "first": tables[0].get(name), "second": tables[1].get(name)}
        for name in names
        if tables[0].get(name) != tables[1].get(name)
    ]


def _rank_correlation(both: pd.DataFrame) -> float | None:
    columns = both["suspicion_first"], both["suspicion_second"]
    if any(column.nunique() < 2 for column in columns):
        return None  # no order to agree with
    return float(spearmanr(*columns).statistic)


def _pairs(changed: pd.DataFrame) -> list[dict[str, Any]]:
    """From which label to which, the commonest first."""
    counted = Counter(zip(changed["own_first"], changed["own_second"], strict=True))
    ranked = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return [{"from": before, "to": after, "count": count} for (before, after), count in ranked]


def _by_class(both: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for label, group in both.groupby("own_second", sort=True):
        flagged, now = group["flag_first"].to_numpy(bool), group["flag_second"].to_numpy(bool)
        rows.append(
            {
                "class": str(label),
                "samples": len(group),
                "flagged_first": int(flagged.sum()),
                "flagged_second": int(now.sum()),
                "gone": int((flagged & ~now).sum()),
                "new": int((~flagged & now).sum()),
                "suspicion_first": float(group["suspicion_first"].mean()),
                "suspicion_second": float(group["suspicion_second"].mean()),
            }
        )
    return rows


class _Thumbnails:
    """Pictures from both results, while the budget of bytes lasts."""

    def __init__(self, *results: AuditResult) -> None:
        self._images = [result.thumbnails["image"].to_dict() if len(result.thumbnails) else {} for result in results]
        self._bytes = 0

    def of(self, *ids: Any) -> str | None:
        """A data URL of the first of these ids (one a result) that there is a picture of."""
        found = (images.get(id) for images, id in zip(self._images, ids, strict=True))
        image = next((image for image in found if isinstance(image, bytes)), None)
        if image is None or self._bytes + len(image) > THUMBNAIL_BUDGET:
            return None
        self._bytes += len(image)
        return f"data:image/webp;base64,{base64.b64encode(image).decode('ascii')}"


def _cards(rows: pd.DataFrame, shelf: _Thumbnails) -> list[dict[str, Any]]:
    """What a gallery shows of these samples, those with the largest change of suspicion first."""
    change = (rows["suspicion_second"] - rows["suspicion_first"]).abs()
    ranked = rows.loc[change.sort_values(ascending=False, kind="stable").index][:MAX_SHOWN]
    return [
        {
            "id": str(row["id_second"]),
            "path": row["filepath_second"] if isinstance(row["filepath_second"], str) else None,
            "picture": shelf.of(row["id_first"], row["id_second"]),
            "label_first": str(row["own_first"]),
            "label_second": str(row["own_second"]),
            "audited": str(row["label_second"] if row["flag_second"] else row["label_first"]),
            "suggested": str(row["suggested_label_second"] if row["flag_second"] else row["suggested_label_first"]),
            "suspicion_first": float(row["suspicion_first"]),
            "suspicion_second": float(row["suspicion_second"]),
        }
        for row in ranked.to_dict("records")
    ]


def _cells(both: pd.DataFrame) -> list[dict[str, float]]:
    """How many samples have which pair of suspicions: cells of a grid that are not empty, shade 0 to 1 by logarithm."""
    counts, _, _ = np.histogram2d(
        both["suspicion_first"], both["suspicion_second"], bins=BINS, range=[[0.0, 1.0], [0.0, 1.0]]
    )
    shades = np.log1p(counts) / max(np.log1p(counts.max()), 1e-12)
    return [
        {"x": int(x), "y": int(y), "count": int(counts[x, y]), "shade": round(0.15 + 0.85 * float(shades[x, y]), 3)}
        for x, y in zip(*np.nonzero(counts), strict=True)
    ]
