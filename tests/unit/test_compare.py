"""Two audits side by side: what changed."""

from __future__ import annotations

import dataclasses

import pytest
from scipy.stats import spearmanr

from audit.errors import InputError
from audit.result import AuditResult
from reports.changes import CommonSamples, compare, headline

Results = tuple[AuditResult, AuditResult]


def test_the_comparison_counts_what_the_results_say(corrected: Results) -> None:
    first, second = corrected
    values = compare(first, second)
    one, other = first.scores, second.scores
    assert values.samples == CommonSamples(common=len(one), only_first=0, only_second=0)
    assert values.labels.changed == values.labels.as_suggested == int((one.label != other.label).sum()) > 30
    assert values.labels.changed_of_flagged == values.labels.changed
    flags = values.flags
    assert flags.gone == int((one.flag & ~other.flag).sum()) > 30
    assert flags.new == int((~one.flag & other.flag).sum())
    assert flags.both + flags.gone == len(first.flagged)
    expected = spearmanr(one.suspicion, other.suspicion).statistic
    assert values.suspicion.rank_correlation == pytest.approx(expected)
    assert [(setting.name, setting.first, setting.second) for setting in values.settings] == [("seed", 0, 1)]
    assert sum(row.gone for row in values.classes) == flags.gone
    assert sum(pair.count for pair in values.labels.pairs) == values.labels.changed
    before, after = (round(result.summary.estimates.mistakes) for result in corrected)
    assert headline(values) == f"About {before} of {len(one)} labels looked wrong, now about {after} do."


def test_samples_are_matched_by_file_where_ids_differ_and_refused_where_nothing_does(corrected: Results) -> None:
    first, second = corrected
    paths = [f"/images/{row}.png" for row in range(len(first.scores))]
    one = dataclasses.replace(first, scores=first.scores.assign(filepath=paths))
    other = dataclasses.replace(second, scores=second.scores.assign(filepath=paths).add_prefix("x", axis=0)[100:])
    values = compare(one, other)
    assert values.samples == CommonSamples(common=len(paths) - 100, only_first=100, only_second=0)
    copied = [f"/elsewhere/images/{row + 100}.png" for row in range(len(other.scores))]
    copies = dataclasses.replace(other, scores=other.scores.assign(filepath=copied))
    assert compare(one, copies).samples == values.samples
    with pytest.raises(InputError, match="no sample in common"):
        compare(first, dataclasses.replace(other, scores=other.scores.assign(filepath=None)))
