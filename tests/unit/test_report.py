"""The HTML report, as text."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from audit.errors import InputError
from audit.result import SCORE_MEANINGS, AuditResult
from integrations.cli.summary_tables import show_summary
from reports import verdict
from reports.acceptance import acceptance_sentences
from reports.conditions import conditions_of
from reports.galleries import MAX_NEIGHBOURS, gallery_values
from reports.html import render_report, write_report
from reports.index import IndexEntry, write_index
from reports.known_mislabels import compare_with_known
from reports.limit import Limit
from reports.markdown import render_markdown
from reports.seals import SEAL_MEANINGS
from reports.text import signed
from reports.threshold_slider import threshold_values
from reports.wrong_labels_by_class import most_affected_classes, pairs_in_words, wrong_by_class
from tests.digits_result import CLASSES, HOSTILE_CLASSES
from tests.made_reports import ReportText, nothing_flagged
from tests.made_statements import accepting, untold, verified

# -- the file


def test_is_one_file_that_refers_to_nothing_outside_itself(reports: dict[str, Path]) -> None:
    page = ReportText(reports["injected"].read_text(encoding="utf-8"))
    references = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href", "data")]
    assert references
    inside = ("#", "data:image/webp;base64,")
    assert all(reference is not None and reference.startswith(inside) for reference in references)
    policies = [attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert policies[0] is not None
    assert policies[0].startswith("default-src 'none'; ")
    assert "unsafe" not in policies[0]
    assert [tag for tag, attrs in page.tags if "style" in attrs or any(name.startswith("on") for name in attrs)] == []


def test_same_result_gives_the_same_bytes_also_from_its_folder(injected: AuditResult, tmp_path: Path) -> None:
    first = write_report(injected, tmp_path / "first.html").read_bytes()
    folder = injected.save(tmp_path / "result")
    assert write_report(folder, tmp_path / "new" / "second.html").read_bytes() == first
    assert [path.name for path in tmp_path.rglob("*.tmp")] == []


def test_a_report_that_fails_leaves_the_old_one(injected: AuditResult, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    broken = replace(injected, scores=injected.scores.drop(columns="influence"))
    with pytest.raises(KeyError):
        write_report(broken, path)
    assert path.read_text() == "old"
    with pytest.raises(InputError, match="cannot be written"):
        write_report(injected, path / "below-a-file.html")
    with pytest.raises(InputError, match="holds no complete audit result"):
        write_report(tmp_path, path)


# -- what it says


def test_verdict_and_measures_are_those_of_the_summary(injected: AuditResult, reports: dict[str, Path]) -> None:
    page = ReportText(reports["injected"].read_text(encoding="utf-8"))
    text = " ".join(page.text.split())
    detection, estimates = injected.summary.detection, injected.summary.estimates
    assert (
        f"The audit finds {detection.true_positive} of the 180 labels that were made wrong on purpose; its models put "
        f"all wrong labels at {estimates.mistakes_low:.0f} to {estimates.mistakes_high:.0f} of 1,797."
    ) in text
    for seal, meaning in SEAL_MEANINGS.items():
        assert f"{seal} {meaning}" in text
    assert f"recall {100 * detection.recall:.1f}%" in text
    for measure in ("precision", "recall", "f1", "average_precision", "auroc"):
        assert f"{getattr(detection, measure):.3f}" in text
    for value in detection.precision_at_k.values():
        assert f"{value:.3f}" in text
    for row in injected.summary.influence_by_class:
        assert signed(row.clean) in text
        assert signed(row.corrupted) in text
    for head in injected.summary.heads.by_name.values():
        assert f"{head.test.f1:.3f}" in text
    for head in injected.summary.correction.heads.by_name.values():
        for measure in ("f1", "accuracy", "loss"):
            assert f"{getattr(head.quality['original'], measure):.3f}" in text
    for meaning in SCORE_MEANINGS.values():
        assert meaning in text
    assert "influence-audit app influence-audit-demo" in text


def test_modelled_numbers_look_different_from_measurements(plain: AuditResult, injected: AuditResult) -> None:
    bases = {number.label: number for number in verdict.key_numbers(plain.summary, None)}
    assert bases["precision of the flags"].seal == "modelled"
    assert bases["precision of the flags"].value.startswith("at least ")
    own = {number.label: number for number in verdict.key_numbers(injected.summary, compare_with_known(injected))}
    assert list(own) == [
        "wrong labels of your own",
        "to review",
        "precision of the flags",
        "what correcting is worth",
    ]
    assert own["to review"].value == str(injected.summary.detection.false_positive)
    assert own["precision of the flags"].seal == "modelled"
    assert own["what correcting is worth"].seal == "measured"
    for number in [*bases.values(), *own.values()]:
        assert number.seal == "modelled" or not number.value.startswith("≈")
        assert number.rests_on


def test_without_injection_it_says_that_nothing_was_measured(reports: dict[str, Path]) -> None:
    text = " ".join(ReportText(reports["plain"].read_text(encoding="utf-8")).text.split())
    assert "There is no measurement in this report" in text
    assert "Only 12 known mislabels of a kind could be added." in text
    assert "influence-audit run digits --dataset influence-audit-demo --inject 0.1" in text
    assert "Flagged against injected" not in text
    assert "changed on purpose to" not in text


@pytest.mark.parametrize("labels", ["believed", "given"])
def test_says_what_the_influence_takes_validation_labels_to_be(plain: AuditResult, labels: str, tmp_path: Path) -> None:
    summary = replace(plain.summary, influence=replace(plain.summary.influence, validation_labels=labels))
    report = write_report(replace(plain, summary=summary), tmp_path / "report.html")
    text = " ".join(ReportText(report.read_text(encoding="utf-8")).text.split())
    assert ("with the classes that are expected of their images" in text) == (labels == "believed")
    assert ("with their labels as given, which are trusted" in text) == (labels == "given")
    assert ("trusted: none is flagged" in text) == (labels == "given")


def test_own_mistakes_are_told_from_injected_ones(injected: AuditResult) -> None:
    def own(mistakes: float, low: float, high: float) -> str:
        estimates = replace(injected.summary.estimates, mistakes=mistakes, mistakes_low=low, mistakes_high=high)
        return verdict.sentences(replace(injected.summary, estimates=estimates), compare_with_known(injected))[0]

    assert own(190, 172, 205).endswith("not touched, and between 0 and 25 of them may be wrong.")
    assert own(282, 280, 285).endswith("not touched, and about 102 of them may be wrong.")
    assert own(180, 150, 180).endswith("not touched, and none of them looks wrong.")
    assert "The range leaves out these 180, so do not rely on it." in own(170, 150, 178)


# -- where the wrong labels are


def test_the_classes_come_to_the_number_in_the_verdict(plain: AuditResult, reports: dict[str, Path]) -> None:
    mistakes = 1.25 * plain.summary.estimates.mistakes
    summary = replace(plain.summary, estimates=replace(plain.summary.estimates, mistakes=mistakes))
    summary = replace(summary, estimates=replace(summary.estimates, mistakes_high=2 * mistakes))
    wrong = wrong_by_class(replace(plain, summary=summary))
    assert sum(number.value for number in wrong.values()) == pytest.approx(mistakes)
    suspicions = plain.scores.groupby("label")["suspicion"].sum()
    np.testing.assert_allclose([wrong[label].value for label in suspicions.index] / suspicions, 1.25)
    text = " ".join(ReportText(reports["plain"].read_text(encoding="utf-8")).text.split())
    places = [text.index(f" {label} ", text.index("Where the wrong labels are")) for label in suspicions.index]
    assert np.array_equal(np.argsort(places), np.argsort(-suspicions.to_numpy()))


def test_the_verdict_names_pairs_and_a_class_that_stand_out(plain: AuditResult) -> None:
    flagged = plain.flagged.index
    scores = plain.scores.assign(suspicion=0.01)
    scores.loc[flagged, "suspicion"] = 0.9
    scores.loc[flagged, ["label", "other_label"]] = ["digit 3", "digit 8"]
    scores.loc[flagged[:20], ["label", "other_label"]] = ["digit 1", "digit 7"]
    text = most_affected_classes(replace(plain, scores=scores))
    assert text.startswith(f"Most flags are \u2068digit 3\u2069 → \u2068digit 8\u2069 ({len(flagged) - 20}) and ")
    assert "Of all classes \u2068digit 3\u2069 is expected to have the largest share of wrong labels" in text
    pairs = [("a", "b", 4), ("b", "a", 3), ("c", "a", 3), ("d", "a", 1)]
    assert pairs_in_words(pairs, 101) == "No pair of classes stands out among the flags."
    assert pairs_in_words(pairs, 100).startswith("The most frequent flags are ")
    assert "…" in pairs_in_words([("y" * 300, " ", 1)], 1)
    assert most_affected_classes(nothing_flagged(plain)) == ""


def test_no_class_has_more_wrong_labels_than_samples_and_none_is_named_where_nothing_is_known(
    plain: AuditResult,
) -> None:
    scores = plain.scores.assign(suspicion=0.001)
    rare = scores.index[scores["label"] == "digit 3"][:26]
    scores.loc[rare, "label"] = "deer"
    scores.loc[rare, "suspicion"] = 0.99
    estimates = replace(plain.summary.estimates, mistakes=600.0, mistakes_low=500.0, mistakes_high=900.0)
    result = replace(plain, scores=scores, summary=replace(plain.summary, estimates=estimates))
    wrong = wrong_by_class(result)
    assert (wrong["deer"].value, wrong["deer"].high) == (26, 26)
    assert sum(number.value for number in wrong.values()) == pytest.approx(600)
    assert sum(number.high for number in wrong.values()) == pytest.approx(900)
    assert (
        "deer\u2069 is expected to have the largest share of wrong labels: > 99% of its 26 (modelled)."
        in most_affected_classes(result)
    )
    assert most_affected_classes(with_estimates(plain, mistakes=663.0, mistakes_low=0.0, mistakes_high=1797.0)) == ""
    assert most_affected_classes(with_estimates(plain, told=False)) == ""


def with_estimates(result: AuditResult, **changes: Any) -> AuditResult:
    estimates = replace(result.summary.estimates, **changes)
    return replace(result, summary=replace(result.summary, estimates=estimates))


@pytest.mark.parametrize("state", ["wide", "untold", "verified", "accepted"])
def test_every_kind_of_statement_is_in_report_markdown_and_terminal(
    plain: AuditResult, state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = with_estimates(plain, mistakes=174.0, mistakes_low=47.0, mistakes_high=388.0).summary
    if state == "untold":
        summary = untold(summary)
    if state == "verified":
        summary = verified(summary, (71, 20, 140), (0.1, 0.05, 0.2))
    if state == "accepted":
        accepted = accepting()
        at = [
            replace(row, threshold=threshold) for row, threshold in zip(accepted.by_threshold, (0.9, 0.7), strict=True)
        ]
        summary = replace(summary, acceptance=replace(accepted, by_threshold=tuple(at)))
    result = replace(plain, summary=summary)
    page = " ".join(ReportText(render_report(result)).text.split())
    markdown = render_markdown(result)
    show_summary(Console(width=1000), result, Path("report.html"))
    printed = " ".join(capsys.readouterr().out.split())
    head = verdict.headline(summary)
    seal = "verified" if state == "verified" else "modelled"
    for text in (page, markdown, printed):
        assert head in text
        assert seal in text
        assert "estimated" not in text
    assert f"wrong labels, {seal}" in printed
    for sentence in acceptance_sentences(summary):
        said = sentence.replace("\u00a0", " ")
        assert all(said in text.replace("\u00a0", " ") for text in (page, markdown, printed))
    assert ("What people decided" in page) == (state == "verified")
    assert ("influence-audit verify" in page) == (state != "verified")


def test_the_verdict_says_nothing_of_pairs_that_were_injected(injected: AuditResult) -> None:
    assert most_affected_classes(injected) == ""


def test_markdown_names_files_and_shows_any_text_as_it_is(plain: AuditResult) -> None:
    renamed = {"digit 3": "<b>3</b>", "digit 8": "8|`*"}
    labels = {name: plain.scores[name].replace(renamed) for name in ("label", "suggested_label", "other_label")}
    summary = replace(plain.summary, classes=tuple(renamed.get(label, label) for label in CLASSES))
    text = render_markdown(replace(plain, scores=plain.scores.assign(**labels), summary=summary))
    first = Path(plain.flagged["filepath"].iloc[0])
    assert f"| {first.parent.name}/{first.name} |".replace("_", "\\_") in text
    assert "<b>" not in text
    assert "The most frequent flags are" in text


def test_markdown_says_what_was_left_out_and_has_no_invisible_characters(plain: AuditResult) -> None:
    text = render_markdown(plain)
    assert "Left out: 3 without a label, 1 unreadable." in text
    assert "- digits/broken.png: the image cannot be decoded" in text
    assert "The most frequent flags are digit" in text
    invisible = [character for character in text if unicodedata.category(character) == "Cf" or character == "\u00a0"]
    assert invisible == []


def test_the_title_names_dataset_and_day(plain: AuditResult) -> None:
    assert "<title>Label audit of influence-audit-demo, 2026-01-02</title>" in render_report(plain)
    arrays = replace(plain, summary=replace(plain.summary, source=None))
    assert "<title>Label audit, 2026-01-02</title>" in render_report(arrays)


def test_conditions_that_were_asked_for_are_at_the_top(plain: AuditResult) -> None:
    text = " ".join(ReportText(render_report(plain, conditions_of(plain.summary, Limit.of(0.01, "low")))).text.split())
    assert "fail Wrong labels (asked: at most 1.0% wrong labels (low))" in text
    assert "asked:" not in ReportText(render_report(plain)).text


def test_nothing_wrong_is_said_plainly(reports: dict[str, Path]) -> None:
    text = " ".join(ReportText(reports["nothing flagged"].read_text(encoding="utf-8")).text.split())
    assert "No label of 1,797 looks wrong." in text
    assert "No sample reaches the threshold of 1.00." in text


def test_hostile_names_are_text_and_never_markup(reports: dict[str, Path]) -> None:
    source = reports["hostile"].read_text(encoding="utf-8")
    page = ReportText(source)
    assert not [attrs for tag, attrs in page.tags if tag == "b" or "onerror" in attrs]
    pictures = [attrs["src"] or "" for tag, attrs in page.tags if tag == "img"]
    assert all(source.startswith("data:image/webp;base64,") for source in pictures)
    assert sum(tag == "script" for tag, _ in page.tags) == 3
    for name in HOSTILE_CLASSES:
        assert name.strip() in page.text
    assert "{{ 7 * 7 }}" in page.text
    samples = json.loads(page.data)["galleries"]["samples"]
    assert {sample["given"] for sample in samples} == set(HOSTILE_CLASSES)


# -- which samples it shows


def test_galleries_hold_the_right_samples_once(injected: AuditResult) -> None:
    values = gallery_values(injected)
    ids = [sample.id for sample in values.samples]
    assert len(ids) == len(set(ids))
    scores = injected.scores
    suspects = [ids[i] for i in values.suspects]
    assert suspects[: len(injected.flagged) + 200] == list(
        scores.sort_values("suspicion", ascending=False, kind="stable").index[: len(injected.flagged) + 200]
    )
    assert set(scores.index[scores["injected"] & ~scores["flag"]]) <= set(suspects)
    for entry in values.classes:
        rows = scores[(scores["label"] == entry.label) & (scores["split"] == "train")]
        assert ids[entry.harmful[0]] == rows["influence"].idxmin()
        assert ids[entry.helpful[0]] == rows["influence"].idxmax()
    known = injected.explanations.groupby(["reason", "target", "kind"])["neighbour"].agg(list)
    first = values.explained[0]
    assert [ids[i] for i, _ in first.helpful] == known["validation", ids[first.target], "helpful"]
    assert len(values.neighbours) == 50
    for position, entry in values.neighbours.items():
        assert [ids[i] for i, _ in entry.harmful] == known["flagged", ids[position], "harmful"]


def test_the_first_cards_are_beside_the_nearest_pictures_of_both_labels(injected: AuditResult) -> None:
    values = gallery_values(injected)
    assert list(values.nearest) == values.suspects[:MAX_NEIGHBOURS]
    known = injected.nearest.groupby(["target", "kind"])["neighbour"].agg(list)
    for position, entry in values.nearest.items():
        suspect = values.samples[position]
        for kind, shown, label in (("given", entry.given, suspect.given), ("other", entry.other, suspect.other)):
            assert [values.samples[place].id for place in shown] == known[suspect.id, kind]
            assert {values.samples[place].given for place in shown} == {label}
    assert sum(values.samples[place].thumbnail is None for place in values.nearest) <= 1  # one has none


def test_a_result_of_an_earlier_version_has_no_nearest_pictures_and_a_report(
    injected: AuditResult, tmp_path: Path
) -> None:
    folder = injected.save(tmp_path / "result")
    assert AuditResult.load(folder).nearest.equals(injected.nearest)
    (folder / "nearest.parquet").unlink()
    with pytest.raises(InputError, match=r"is damaged \(.*nearest.parquet"):
        AuditResult.load(folder)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    del manifest["blake2b"]["nearest.parquet"]
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    old = AuditResult.load(folder)
    assert gallery_values(old).nearest == {}
    text = ReportText(render_report(old)).text
    assert "training images whose labels speak most against the given one" in " ".join(text.split())


# -- the threshold slider


def test_the_lowest_threshold_is_that_of_the_last_sample_in_the_page(
    plain: AuditResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reports.threshold_slider.MAX_MOVABLE", 100)
    values = threshold_values(plain, None)
    assert values.floor == plain.scores["suspicion"].nlargest(100).min()
    assert values.samples == len(plain.scores)


# -- the index of several audits


def test_the_index_says_what_was_injected(plain: AuditResult, injected: AuditResult, tmp_path: Path) -> None:
    entries = [
        IndexEntry(name, None, "audit", 0, result.summary, tmp_path / name / "report.html")
        for name, result in (("plain", plain), ("injected", injected))
    ]
    rows = write_index(entries, tmp_path / "index.html").read_text(encoding="utf-8").split("<tr>")[2:]
    assert ["180 of them injected" in row for row in rows] == [False, True]
    assert ["measured on injected" in row for row in rows] == [False, True]
