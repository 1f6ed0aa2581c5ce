"""Two audits side by side: what changed."""

from __future__ import annotations

import dataclasses

import pytest
from scipy.stats import spearmanr

from audit.errors import InputError
from audit.result import AuditResult
from audit.summary.summary import Summary
from reports.changes import CommonSamples, compare, headline, sentences
from reports.claims import claims_of
from reports.ranges import count_phrase
from tests.made_statements import audited

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
    before, after = (claims_of(result.summary).mistakes for result in corrected)
    said = headline(values)
    assert said.startswith(f"{count_phrase(before).capitalize()} of {len(one)} labels ")
    assert f", now {count_phrase(after)} " in said


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


WIDE, NARROW, NONE = (
    audited(10_000, (174, 47, 388), None),
    audited(10_000, (60, 57, 63), None),
    audited(10_000, (0, 0, 0), None),
)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            WIDE,
            NARROW,
            "Between 47 and 388 of 10,000 labels may have been wrong, now about 60 may be.",
        ),
        (NARROW, NARROW, "About 60 of 10,000 labels look wrong in both audits."),
        (WIDE, WIDE, "Between 47 and 388 of 10,000 labels may be wrong in both audits."),
        (NONE, NONE, "No label looks wrong in either audit."),
        (NARROW, NONE, "About 60 of 10,000 labels looked wrong, now none do."),
    ],
)
def test_a_comparison_claims_no_change_that_the_ranges_do_not_show(
    corrected: Results, before: Summary, after: Summary, said: str
) -> None:
    values = compare(*corrected)
    audits = [
        dataclasses.replace(audit, samples=summary.counts.samples, claims=claims_of(summary))
        for audit, summary in ((values.first, before), (values.second, after))
    ]
    values = dataclasses.replace(values, first=audits[0], second=audits[1])
    assert headline(values) == said
    overlaps = "do not show that the number of wrong labels changed" in sentences(values)[0]
    assert overlaps == (after is not NONE)
