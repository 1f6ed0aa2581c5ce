"""Compare two audit results, in numbers and in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from audit.errors import InputError
from audit.result import AuditResult
from audit.summary.detection import InjectedDetection
from audit.summary.estimates import Estimates
from audit.summary.heads import HeadQuality
from audit.summary.summary import Summary
from audit.summary.surroundings import AuditedDataset, BackboneSummary
from audit.summary.verified import Verified
from reports.claims import Claims, claims_of
from reports.finding_changes import FindingChanges, finding_changes, finding_sentences
from reports.ranges import Figure, count_phrase, has_wide_count, is_any_number, is_none
from reports.text import count


@dataclass(frozen=True)
class HeadOnTest:
    """How well a head predicts the test split: F1 and accuracy 0 to 1, loss in nats."""

    samples: int
    accuracy: float
    f1: float
    loss: float


@dataclass(frozen=True)
class ComparedAudit:
    """One of the two audits: what was audited, its main numbers (as in `Summary`), and what it may claim."""

    created: str
    source: AuditedDataset | None
    samples: int
    classes: int
    flagged: int
    injected: int
    threshold: float
    estimates: Estimates
    verified: Verified | None
    claims: Claims
    detection: InjectedDetection | None
    backbone: BackboneSummary | None
    head: HeadOnTest | None


@dataclass(frozen=True)
class CommonSamples:
    """How many samples are in both results, and how many in one only."""

    common: int
    only_first: int
    only_second: int


@dataclass(frozen=True)
class FlagChanges:
    """How many common samples are flagged by both audits, only by the second (new), or only by the first (gone)."""

    both: int
    new: int
    gone: int


@dataclass(frozen=True)
class LabelPair:
    """How many of the user's labels changed from one class to another."""

    from_: str
    to: str
    count: int


@dataclass(frozen=True)
class LabelChanges:
    """How many labels changed in the user's dataset.

    Attributes:
        changed: number of labels that changed.
        changed_of_flagged: how many of these the first audit had flagged.
        as_suggested: how many of these changed to the label that the first audit had suggested.
        pairs: old and new class, the most frequent pair first.
    """

    changed: int
    changed_of_flagged: int
    as_suggested: int
    pairs: list[LabelPair]


@dataclass(frozen=True)
class SuspicionAgreement:
    """Spearman's rank correlation of the suspicions of the common samples, -1 to 1; None if it is undefined."""

    rank_correlation: float | None


@dataclass(frozen=True)
class ClassChanges:
    """Flags and mean suspicions (0 to 1) of the samples that have one label in the second result."""

    class_: str
    samples: int
    flagged_first: int
    flagged_second: int
    gone: int
    new: int
    suspicion_first: float
    suspicion_second: float


@dataclass(frozen=True)
class SettingChange:
    """A setting, version or source that differs between the results; None if a result has no value."""

    name: str
    first: object
    second: object


@dataclass(frozen=True)
class AuditChanges:
    """What changed between two results.

    Attributes:
        first, second: the two audits.
        samples: how many are in both results, and in only one.
        flags: of the common samples.
        labels: of the common samples.
        suspicion: how well the two rankings agree.
        classes: one entry per label in the second result.
        findings: beside single labels, one entry per kind.
        settings: the settings that differ.
    """

    first: ComparedAudit
    second: ComparedAudit
    samples: CommonSamples
    flags: FlagChanges
    labels: LabelChanges
    suspicion: SuspicionAgreement
    classes: list[ClassChanges]
    findings: list[FindingChanges]
    settings: list[SettingChange]


def compare(first: AuditResult, second: AuditResult) -> AuditChanges:
    """Compute what changed from the first result to the second.

    Raises:
        InputError: if the results have no sample in common.
    """
    both = matched(first, second)
    flagged = both["flag_first"].to_numpy(bool)
    changed = (both["own_first"] != both["own_second"]).to_numpy(bool)
    followed = changed & (both["own_second"] == both["suggested_label_first"].astype(str)).to_numpy(bool)
    common = len(both)
    return AuditChanges(
        first=_describe(first.summary),
        second=_describe(second.summary),
        samples=CommonSamples(common, len(first.scores) - common, len(second.scores) - common),
        flags=FlagChanges(**{name: int(rows.sum()) for name, rows in flag_groups(both).items()}),
        labels=LabelChanges(
            changed=int(changed.sum()),
            changed_of_flagged=int((changed & flagged).sum()),
            as_suggested=int(followed.sum()),
            pairs=_pairs(both[changed]),
        ),
        suspicion=SuspicionAgreement(_rank_correlation(both)),
        classes=_by_class(both),
        findings=finding_changes(first, second, dict(zip(both["id_first"], both["id_second"], strict=True))),
        settings=_different_settings(first.summary, second.summary),
    )


def headline(values: AuditChanges) -> str:
    """One sentence on what changed."""
    before, after = values.first.claims.mistakes, values.second.claims.mistakes
    if is_none(before) and is_none(after):
        return "No label looks wrong in either audit."
    same_samples = values.first.samples == values.second.samples
    total = f" of {count(values.second.samples)}"
    first_total = total if same_samples else f" of {count(values.first.samples)}"
    first = f"{_capital(count_phrase(before))}{first_total} labels"
    if before == after and same_samples:
        return f"{first} {'look' if _is_narrow(after) else 'may be'} wrong in both audits."
    first += " looked wrong" if _is_narrow(before) else " may have been wrong"
    second = f"{count_phrase(after)}{'' if same_samples else total}"
    return f"{first}, now {second} {'do' if _is_narrow(before) and _is_narrow(after) else 'may be'}."


def _is_narrow(mistakes: Figure) -> bool:
    return not has_wide_count(mistakes) and not is_any_number(mistakes)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _overlap(values: AuditChanges) -> list[str]:
    """That two ranges which overlap do not show a change."""
    before, after = values.first.claims.mistakes, values.second.claims.mistakes
    if (is_none(before) and is_none(after)) or before.high < after.low or after.high < before.low:
        return []
    return ["The ranges of the two overlap, so they do not show that the number of wrong labels changed."]


def sentences(values: AuditChanges) -> list[str]:
    """The verdict after the headline: labels, flags, agreement, settings."""
    labels, flags, samples = values.labels, values.flags, values.samples
    said = _overlap(values)
    if labels.changed:
        said.append(
            f"{count(labels.changed)} labels changed in between; the first audit had flagged "
            f"{count(labels.changed_of_flagged)} of them, and {count(labels.as_suggested)} "
            "became what it suggested."
        )
    else:
        said.append("No label of the samples that both have changed in between.")
    said.append(
        f"Of the first audit's flags {count(flags.gone)} are gone and {count(flags.both)} stay; "
        f"{count(flags.new)} are new."
    )
    injected = values.first.injected, values.second.injected
    if any(injected):
        said.append(
            f"The audits had changed {count(injected[0])} and {count(injected[1])} labels on purpose; "
            "where those differ, so do the flags."
        )
    said += [*finding_sentences(values.findings), *_verified_sentences(values)]
    if samples.only_first or samples.only_second:
        said.append(
            f"{count(samples.only_first)} samples are only in the first result, "
            f"{count(samples.only_second)} only in the second; flags are compared on the "
            f"{count(samples.common)} that both have."
        )
    if values.settings:
        names = ", ".join(setting.name for setting in values.settings[:6])
        said.append(f"The audits differ in: {names}{' and more' if len(values.settings) > 6 else ''}.")
    return said


def _verified_sentences(values: AuditChanges) -> list[str]:
    """What drawn decisions say of each audit that has some."""
    return [
        f"{count(audit.verified.decided)} decisions on drawn samples of the {name} audit say that "
        f"{count(audit.verified.mistakes.low)} to {count(audit.verified.mistakes.high)} of its labels are wrong."
        for name, audit in (("first", values.first), ("second", values.second))
        if audit.verified is not None
    ]


def matched(first: AuditResult, second: AuditResult) -> pd.DataFrame:
    """The samples in both results, as `matched_scores` matches them."""
    return matched_scores(first.scores, second.scores)


def matched_scores(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """The samples in both tables of scores, with columns ending in `_first` and `_second`. Samples are matched by id;
    if no id is in both, by file path; if no path is either (copies of one dataset), by file name and folder.

    Raises:
        InputError: if they have no sample in common.
    """
    tables = [_with_own_label(scores) for scores in (first, second)]
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
    """The scores, with the label before any injection as text, and with the file's name and folder."""
    own = scores["original_label"] if "original_label" in scores else scores["label"]
    return scores.assign(own=own.astype(str), id=scores.index, name=scores["filepath"].map(_short_path))


def flag_groups(both: pd.DataFrame) -> dict[str, np.ndarray]:
    """For each kind of flag (gone, new, in both), bool (n,): which of the n samples have it."""
    flagged, now = both["flag_first"].to_numpy(bool), both["flag_second"].to_numpy(bool)
    return {"gone": flagged & ~now, "new": ~flagged & now, "both": flagged & now}


def _describe(summary: Summary) -> ComparedAudit:
    counts, heads = summary.counts, summary.heads
    return ComparedAudit(
        created=summary.created,
        source=summary.source,
        samples=counts.samples,
        classes=counts.classes,
        flagged=counts.flagged,
        injected=counts.injected,
        threshold=summary.threshold,
        estimates=summary.estimates,
        verified=summary.verified,
        claims=claims_of(summary),
        detection=summary.detection,
        backbone=summary.backbone,
        head=None if heads is None else _on_test(heads.given.test),
    )


def _on_test(test: HeadQuality) -> HeadOnTest:
    return HeadOnTest(test.samples, test.accuracy, test.f1, test.loss)


def _different_settings(first: Summary, second: Summary) -> list[SettingChange]:
    tables = _settings(first), _settings(second)
    names = list(dict.fromkeys([*tables[0], *tables[1]]))
    changes = (SettingChange(name, tables[0].get(name), tables[1].get(name)) for name in names)
    return [change for change in changes if change.first != change.second]


def _settings(summary: Summary) -> dict[str, object]:
    """By name, everything that the numbers depend on except the labels."""
    table: dict[str, object] = dict(summary.config.to_dict())
    if (backbone := summary.backbone) is not None:  # compare the value chosen for 'auto', and not 'auto' itself
        table |= {"backbone name": backbone.name, "backbone weights": backbone.weights}
        table |= {"backbone image_size": backbone.image_size, "backbone precision": backbone.precision}
    table |= {f"version of {name}": version for name, version in summary.versions.items()}
    if summary.source is not None:
        table |= {"dataset": summary.source.dataset, "label_field": summary.source.label_field}
    return table


def _rank_correlation(both: pd.DataFrame) -> float | None:
    columns = both["suspicion_first"], both["suspicion_second"]
    if any(column.nunique() < 2 for column in columns):
        return None  # constant suspicions have no ranks
    return float(spearmanr(*columns).statistic)


def _pairs(changed: pd.DataFrame) -> list[LabelPair]:
    """Old label, new label and number of samples, the most frequent pair first."""
    counted = Counter(zip(changed["own_first"], changed["own_second"], strict=True))
    ranked = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return [LabelPair(before, after, number) for (before, after), number in ranked]


def _by_class(both: pd.DataFrame) -> list[ClassChanges]:
    rows = []
    for label, group in both.groupby("own_second", sort=True):
        flagged, now = group["flag_first"].to_numpy(bool), group["flag_second"].to_numpy(bool)
        rows.append(
            ClassChanges(
                class_=str(label),
                samples=len(group),
                flagged_first=int(flagged.sum()),
                flagged_second=int(now.sum()),
                gone=int((flagged & ~now).sum()),
                new=int((~flagged & now).sum()),
                suspicion_first=float(group["suspicion_first"].mean()),
                suspicion_second=float(group["suspicion_second"].mean()),
            )
        )
    return rows
