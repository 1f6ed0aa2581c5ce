"""The HTML report, as text and in a real browser."""

from __future__ import annotations

import json
import re
import shlex
import time
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from report_results import CLASSES, HOSTILE_CLASSES, digits_result, many_classes_result, pairs_of
from rich.console import Console

from audit.config import AuditConfig
from audit.errors import InputError
from audit.result import SCORE_MEANINGS, AuditResult
from integrations.command.audits import cli
from integrations.command.summary_tables import show_summary
from reports import figures, verdict
from reports.galleries import MAX_GALLERY_CLASSES, THUMBNAIL_BUDGET, gallery_values
from reports.html import render_report, write_report
from reports.known_mislabels import compare_with_known
from reports.markdown import render_markdown
from reports.threshold import threshold_values
from reports.where import flagged_pairs, pairs_in_words, where, wrong_by_class

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def injected() -> AuditResult:
    return digits_result()


@pytest.fixture(scope="module")
def plain() -> AuditResult:
    return digits_result(inject=0)


@pytest.fixture(scope="module")
def controls(plain: AuditResult, injected: AuditResult) -> AuditResult:
    """The audit without injection, with the injected one as the copy that holds the known mislabels."""
    columns = {"injected": "spiked", "label": "label", "original_label": "original_label", "suspicion": "suspicion"}
    table = injected.scores[list(columns)].rename(columns=columns)
    kinds = np.where(np.arange(len(table)) % 3, "slip", "look-alike")
    result = replace(plain)
    result.controls = table.assign(copy=0, kind=np.where(table["spiked"], kinds, ""))
    return result


@pytest.fixture(scope="module")
def hostile() -> AuditResult:
    return digits_result(classes=HOSTILE_CLASSES)


@pytest.fixture(scope="module")
def many() -> AuditResult:
    return many_classes_result()


@pytest.fixture(scope="module")
def reports(
    tmp_path_factory: pytest.TempPathFactory,
    injected: AuditResult,
    plain: AuditResult,
    controls: AuditResult,
    hostile: AuditResult,
    many: AuditResult,
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    results = {
        "injected": injected,
        "plain": plain,
        "controls": controls,
        "hostile": hostile,
        "many": many,
        "nothing flagged": nothing_flagged(plain),
    }
    return {name: write_report(result, folder / f"{name}.html") for name, result in results.items()}


def nothing_flagged(result: AuditResult) -> AuditResult:
    """No flags, no pictures, no explanations, no curves: the least that a report is made of."""
    summary = json.loads(json.dumps(result.summary))
    summary["counts"]["flagged"] = 0
    summary["estimates"] |= {"mistakes": 0.0, "mistakes_low": 0.0, "mistakes_high": 0.2, "precision": None}
    summary |= {
        "threshold": 1.0,
        "threshold_rule": "The threshold was given by the user.",
        "backbone": None,
        "notes": [],
    }
    del summary["source"]
    summary["correction"] = None
    return replace(
        result,
        scores=result.scores.assign(flag=False),
        summary=summary,
        curves=result.curves.iloc[:0],
        explanations=result.explanations.iloc[:0],
        skipped=result.skipped.iloc[:0],
        thumbnails=result.thumbnails.iloc[:0],
    )


class _Page(HTMLParser):
    """Text, tags and scripts of a page, as a browser would take them apart."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.data = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = "data" if dict(attrs).get("id") == "page-data" else tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "data":
            self.data += data
        elif self._inside not in ("script", "style"):
            self.text += f" {data}"


# -- the file


def test_is_one_file_that_refers_to_nothing_outside_itself(reports: dict[str, Path]) -> None:
    page = _Page(reports["injected"].read_text(encoding="utf-8"))
    references = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href", "data")]
    assert references
    assert all(reference is not None and reference.startswith("#") for reference in references)
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
    broken = replace(injected, summary={**injected.summary, "heads": {}})
    with pytest.raises(KeyError):
        write_report(broken, path)
    assert path.read_text() == "old"
    with pytest.raises(InputError, match="cannot be written"):
        write_report(injected, path / "below-a-file.html")
    with pytest.raises(InputError, match="holds no complete audit result"):
        write_report(tmp_path, path)


def test_a_thousand_flagged_samples_stay_under_15_megabytes(reports: dict[str, Path], many: AuditResult) -> None:
    assert len(many.flagged) == 1000
    assert reports["many"].stat().st_size < 15e6
    heavy = many.thumbnails.assign(image=[image + bytes(20_000) for image in many.thumbnails["image"]])
    values = gallery_values(replace(many, thumbnails=heavy))
    assert values["thumbnails_left_out"] > 0
    assert sum(map(len, values["thumbnails"])) <= THUMBNAIL_BUDGET * 4 / 3 + 4 * len(values["thumbnails"])
    assert len(render_report(replace(many, thumbnails=heavy)).encode()) < 15e6


# -- what it says


def test_verdict_and_measures_are_those_of_the_summary(injected: AuditResult, reports: dict[str, Path]) -> None:
    page = _Page(reports["injected"].read_text(encoding="utf-8"))
    text = " ".join(page.text.split())
    detection, estimates = injected.summary["detection"], injected.summary["estimates"]
    assert f"About {estimates['mistakes']:.0f} of 1,797 labels look wrong; 180 were changed on purpose." in text
    assert f"between {estimates['mistakes_low']:.0f} and {estimates['mistakes_high']:.0f}" in text
    assert f"recall {100 * detection['recall']:.1f}%" in text
    for measure in ("precision", "recall", "f1", "average_precision", "auroc"):
        assert f"{detection[measure]:.3f}" in text
    for value in detection["precision_at_k"].values():
        assert f"{value:.3f}" in text
    for row in injected.summary["influence_by_class"]:
        assert verdict.signed(row["clean"]) in text
        assert verdict.signed(row["corrupted"]) in text
    for head in injected.summary["heads"].values():
        assert f"{head['test']['f1']:.3f}" in text
    for head in injected.summary["correction"]["heads"].values():
        for measure in ("f1", "accuracy", "loss"):
            assert f"{head['quality']['original'][measure]:.3f}" in text
    for meaning in SCORE_MEANINGS.values():
        assert meaning in text
    assert "influence-audit app influence-audit-demo" in text


def test_estimates_look_different_from_measurements(plain: AuditResult, injected: AuditResult) -> None:
    bases = {number.label: number for number in verdict.key_numbers(plain.summary, None)}
    assert bases["precision of the flags"].basis == "estimated"
    assert bases["precision of the flags"].value.startswith("≈")
    measured = {number.label: number for number in verdict.key_numbers(injected.summary, compare_with_known(injected))}
    assert measured["precision"].basis == "measured"
    assert "injected mislabels" in measured["precision"].rests_on
    for number in [*bases.values(), *measured.values()]:
        assert number.value.startswith("≈") == (number.basis == "estimated")
        assert number.rests_on


def test_without_injection_it_says_that_nothing_was_measured(reports: dict[str, Path]) -> None:
    text = " ".join(_Page(reports["plain"].read_text(encoding="utf-8")).text.split())
    assert "There is no measurement in this report" in text
    assert "Only 12 known mislabels of a kind could be added." in text
    assert "influence-audit run fiftyone:influence-audit-demo --inject 0.1" in text
    assert "Flagged against injected" not in text
    assert "changed on purpose to" not in text


@pytest.mark.parametrize("labels", ["believed", "given"])
def test_says_what_the_influence_takes_validation_labels_to_be(plain: AuditResult, labels: str, tmp_path: Path) -> None:
    summary = plain.summary | {"influence": plain.summary["influence"] | {"validation_labels": labels}}
    report = write_report(replace(plain, summary=summary), tmp_path / "report.html")
    text = " ".join(_Page(report.read_text(encoding="utf-8")).text.split())
    assert ("with the classes that are expected of their images" in text) == (labels == "believed")
    assert ("with their labels as given, which are trusted" in text) == (labels == "given")
    assert ("trusted: none is flagged" in text) == (labels == "given")


def test_commands_quote_what_a_shell_would_read(plain: AuditResult) -> None:
    source = {"dataset": "my set; rm -rf", "label_field": "labels", "audit_key": "second", "source": "data/a b"}
    summary = plain.summary | {"source": source}
    again = "influence-audit run 'fiftyone:my set; rm -rf' --label-field labels --audit-key second"
    assert [step.commands for step in verdict.next_steps(summary, None)] == [
        ("influence-audit app 'my set; rm -rf'", "influence-audit export RESULT_FOLDER -o flagged.csv"),
        (f"{again} --inject 0.1",),
        (f"{again} -o corrected", "influence-audit compare RESULT_FOLDER corrected"),
    ]


def test_what_the_command_prints_last_can_be_pasted(
    plain: AuditResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = plain.summary["source"] | {"dataset": "<b>my</b> set; ls"}
    result = replace(plain, summary=plain.summary | {"source": source, "findings": []})
    show_summary(Console(), result, tmp_path)
    assert "next      influence-audit app '<b>my</b> set; ls'    review" in capsys.readouterr().out
    counts = result.summary["counts"] | {"flagged": 0}
    show_summary(Console(), replace(result, summary=result.summary | {"counts": counts}), tmp_path)
    assert "next" not in capsys.readouterr().out
    assert "influence-audit app &#39;&lt;b&gt;my&lt;/b&gt; set; ls&#39;</code> runs" in render_report(result)


def test_the_command_that_audits_again_takes_the_part_that_was_audited(plain: AuditResult) -> None:
    def again(part: dict[str, Any] | None) -> str:
        return verdict.run_again(plain.summary | {"source": plain.summary["source"] | {"part": part}})

    assert " --view 'not mine' --keep-labels a,b" in again({"view": "not mine", "keep_labels": "a,b"})
    assert " --keep-labels 'tench, Tinca tinca' --keep-labels b" in again({"keep_labels": ["tench, Tinca tinca", "b"]})
    assert " --view VIEW" in again(None)
    assert "--view" not in again({})


def test_the_command_that_audits_again_has_all_settings_of_the_audit(plain: AuditResult) -> None:
    config = AuditConfig(
        seed=3, weights="my weights.pth", trainer="adam", damping=1e-3, use_splits=True, max_review=50, cache_dir="x"
    )
    summary = plain.summary | {"config": config.to_dict()}
    again = shlex.split(verdict.run_again(summary))
    parsed = typer.main.get_command(cli).get_command(None, "run").make_context("run", again[2:])  # type: ignore[attr-defined,arg-type]
    kept = {name: parsed.params[name] for name in config.to_dict()}
    assert AuditConfig(**kept) == replace(config, cache_dir=None)
    assert "--max-review" not in verdict.run_again(summary, any_threshold=True)
    injected = {"inject": 0.2, "inject_strategy": "class-pair"}
    summary["config"] |= injected
    assert verdict.run_again(summary).endswith(" --inject 0.2 --inject-strategy class-pair --max-review 50")
    assert "inject" not in verdict.run_again(summary, inject=0)


def test_what_to_do_fits_the_outcome(plain: AuditResult, injected: AuditResult) -> None:
    nothing = verdict.next_steps(nothing_flagged(plain).summary, None)
    assert [step.title for step in nothing] == [
        "Nothing to correct",
        "Measure how far to trust the flags",
        "Audit again when the labels change",
    ]
    assert nothing[0].text.startswith("No sample reaches the threshold of 1.00.")
    arrays = {name: value for name, value in plain.summary.items() if name != "source"}
    commands = [command for step in verdict.next_steps(arrays, None) for command in step.commands]
    assert commands == ["influence-audit export RESULT_FOLDER -o flagged.csv"]
    helps = verdict.correction_sentence(injected.summary["correction"])
    assert helps in verdict.next_steps(injected.summary, compare_with_known(injected))[1].text


def test_own_mistakes_are_told_from_injected_ones(injected: AuditResult) -> None:
    def own(mistakes: float, low: float, high: float) -> str:
        estimates = injected.summary["estimates"] | {
            "mistakes": mistakes,
            "mistakes_low": low,
            "mistakes_high": high,
        }
        return verdict.sentences(injected.summary | {"estimates": estimates}, compare_with_known(injected))[0]

    assert own(190, 172, 205).endswith("not touched, and about 10 of them look wrong (between 0 and 25).")
    assert own(170, 150, 200).endswith("not touched, and hardly one of them looks wrong (between 0 and 20).")
    assert own(170, 150, 178).endswith("not touched, and none of them looks wrong.")


# -- where the wrong labels are


def test_the_classes_come_to_the_number_in_the_verdict(plain: AuditResult, reports: dict[str, Path]) -> None:
    mistakes = 1.25 * plain.summary["estimates"]["mistakes"]
    summary = plain.summary | {"estimates": plain.summary["estimates"] | {"mistakes": mistakes}}
    wrong = wrong_by_class(replace(plain, summary=summary))
    assert wrong.sum() == pytest.approx(mistakes)
    suspicions = plain.scores.groupby("label")["suspicion"].sum()
    np.testing.assert_allclose(wrong[suspicions.index] / suspicions, 1.25)
    text = " ".join(_Page(reports["plain"].read_text(encoding="utf-8")).text.split())
    places = [text.index(f" {label} ", text.index("Where the wrong labels are")) for label in suspicions.index]
    assert np.array_equal(np.argsort(places), np.argsort(-suspicions.to_numpy()))


def test_the_verdict_names_pairs_and_a_class_that_stand_out(plain: AuditResult) -> None:
    flagged = plain.flagged.index
    scores = plain.scores.assign(suspicion=0.01)
    scores.loc[flagged, "suspicion"] = 0.9
    scores.loc[flagged, ["label", "other_label"]] = ["digit 3", "digit 8"]
    scores.loc[flagged[:20], ["label", "other_label"]] = ["digit 1", "digit 7"]
    text = where(replace(plain, scores=scores))
    assert text.startswith(f"Most flags are \u2068digit 3\u2069 → \u2068digit 8\u2069 ({len(flagged) - 20}) and ")
    assert "Of all classes \u2068digit 3\u2069 has the largest share of wrong labels" in text
    pairs = [("a", "b", 4), ("b", "a", 3), ("c", "a", 3), ("d", "a", 1)]
    assert pairs_in_words(pairs, 101) == "No pair of classes stands out among the flags."
    assert pairs_in_words(pairs, 100).startswith("The commonest flags: ")
    assert "…" in pairs_in_words([("y" * 300, " ", 1)], 1)
    assert where(nothing_flagged(plain)) == ""


def test_the_verdict_says_nothing_of_pairs_that_were_injected(injected: AuditResult) -> None:
    assert where(injected) == ""


def test_markdown_names_files_and_shows_any_text_as_it_is(plain: AuditResult) -> None:
    renamed = {"digit 3": "<b>3</b>", "digit 8": "8|`*"}
    labels = {name: plain.scores[name].replace(renamed) for name in ("label", "suggested_label", "other_label")}
    summary = plain.summary | {"classes": [renamed.get(label, label) for label in CLASSES]}
    text = render_markdown(replace(plain, scores=plain.scores.assign(**labels), summary=summary))
    first = Path(plain.flagged["filepath"].iloc[0])
    assert f"| {first.parent.name}/{first.name} |".replace("_", "\\_") in text
    assert "<b>" not in text
    assert "The commonest flags" in text


def test_nothing_wrong_is_said_plainly(reports: dict[str, Path]) -> None:
    text = " ".join(_Page(reports["nothing flagged"].read_text(encoding="utf-8")).text.split())
    assert "No label of 1,797 looks wrong." in text
    assert "No sample reaches the threshold of 1.00." in text


def test_hostile_names_are_text_and_never_markup(reports: dict[str, Path]) -> None:
    source = reports["hostile"].read_text(encoding="utf-8")
    page = _Page(source)
    assert not [attrs for tag, attrs in page.tags if tag in ("img", "b") or "onerror" in attrs]
    assert sum(tag == "script" for tag, _ in page.tags) == 4
    for name in HOSTILE_CLASSES:
        assert name.strip() in page.text
    assert "{{ 7 * 7 }}" in page.text
    samples = json.loads(page.data)["galleries"]["samples"]
    assert {sample["given"] for sample in samples} == set(HOSTILE_CLASSES)


# -- which samples it shows


def test_galleries_hold_the_right_samples_once(injected: AuditResult) -> None:
    values = gallery_values(injected)
    ids = [sample["id"] for sample in values["samples"]]
    assert len(ids) == len(set(ids))
    scores = injected.scores
    suspects = [ids[i] for i in values["suspects"]]
    assert suspects[: len(injected.flagged) + 200] == list(
        scores.sort_values("suspicion", ascending=False, kind="stable").index[: len(injected.flagged) + 200]
    )
    assert set(scores.index[scores["injected"] & ~scores["flag"]]) <= set(suspects)
    for entry in values["classes"]:
        rows = scores[(scores["label"] == entry["label"]) & (scores["split"] == "train")]
        assert ids[entry["harmful"][0]] == rows["influence"].idxmin()
        assert ids[entry["helpful"][0]] == rows["influence"].idxmax()
    known = injected.explanations.groupby(["reason", "target", "kind"])["neighbour"].agg(list)
    first = values["explained"][0]
    assert [ids[i] for i, _ in first["helpful"]] == known["validation", ids[first["target"]], "helpful"]
    assert len(values["neighbours"]) == 50
    for position, entry in values["neighbours"].items():
        assert [ids[i] for i, _ in entry["harmful"]] == known["flagged", ids[position], "harmful"]


def test_many_classes_are_limited_and_counted(many: AuditResult, reports: dict[str, Path]) -> None:
    assert len(gallery_values(many)["classes"]) == MAX_GALLERY_CLASSES
    text = " ".join(_Page(reports["many"].read_text(encoding="utf-8")).text.split())
    assert f"{MAX_GALLERY_CLASSES} of 200 classes are here" in text
    assert "the 20 classes with most confusions of 200, as the audit flagged" in text


# -- figures


def test_curve_passes_through_the_chosen_threshold(injected: AuditResult) -> None:
    detection = injected.summary["detection"]
    figure = figures.precision_recall(injected)
    curve = next(trace for trace in figure.data if trace.name == "suspicion")
    distance = np.hypot(
        np.asarray(curve.x) - detection["recall"], np.asarray(curve.y, dtype=float) - detection["precision"]
    )
    assert distance.min() < 0.01
    mark = next(trace for trace in figure.data if trace.mode == "markers")
    assert (mark.x[0], mark.y[0]) == (detection["recall"], detection["precision"])


def test_boxes_hold_the_quartiles_of_each_class(injected: AuditResult) -> None:
    clean, corrupted = figures.influence_by_class(injected).data
    scores = injected.scores
    for trace, rows in ((clean, scores[~scores["injected"]]), (corrupted, scores[scores["injected"]])):
        medians = [rows.loc[rows["label"] == label, "influence"].median() for label in CLASSES]
        np.testing.assert_allclose(trace.median, [*medians, rows["influence"].median()])


def test_boxes_have_a_number_axis_where_nothing_is_flagged(plain: AuditResult) -> None:
    figure = figures.influence_by_class(nothing_flagged(plain))
    assert len(figure.data[1].median) == 0
    assert figure.layout.xaxis.type == "linear"


def test_confusion_matrix_holds_the_counts(injected: AuditResult) -> None:
    heads = injected.summary["correction"]["heads"]
    for matrix, confusion in (
        (figures.confusion(injected, "corrupted"), injected.summary["heads"]["corrupted"]["test"]["confusion"]),
        (figures.confusion_corrected(injected, "removed"), heads["removed"]["quality"]["original"]["confusion"]),
    ):
        assert pairs_of(np.array(matrix.data[0].customdata)[:, :, 2].astype(int)) == confusion


def test_themes_differ_in_colour_only(injected: AuditResult) -> None:
    light, dark = (
        re.sub(r"#[0-9a-f]{6}|rgba\([^)]*\)", "", str(figures.loss_curves(injected, theme).to_json()))
        for theme in ("light", "dark")
    )
    assert light == dark
    assert figures.loss_curves(injected, "light") != figures.loss_curves(injected, "dark")


def test_labels_in_figures_are_escaped_and_short() -> None:
    assert figures.short_label("<b>x</b>") == "&lt;b&gt;x&lt;/b&gt;"
    assert len(figures.short_label("y" * 300)) == 18
    assert figures.short_label("") == "(empty)"
    assert figures.short_label(3) == "3"


# -- in a browser


class _Opened:
    """A report in a browser page, with every complaint and every request that it made."""

    def __init__(
        self,
        browser: Any,
        path: Path,
        viewport: dict[str, int] = DESKTOP,
        scheme: str = "light",
        bypass_csp: bool = False,
    ) -> None:
        self.context = browser.new_context(viewport=viewport, color_scheme=scheme, bypass_csp=bypass_csp)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def draw_all(self) -> list[str]:
        """Scroll every plot into view and wait until it is drawn; their names."""
        for plot in self.page.query_selector_all("[data-figure]"):
            plot.scroll_into_view_if_needed()
            name = plot.get_attribute("data-figure")
            self.page.wait_for_selector(f'[data-figure="{name}"] svg.main-svg', timeout=20_000)
        return [str(plot.get_attribute("data-figure")) for plot in self.page.query_selector_all("[data-figure]")]

    def wait_until(self, truth: str, seconds: float = 30) -> None:
        """Wait until an expression is true: `wait_for_function` looks again by eval, which the report forbids."""
        end = time.monotonic() + seconds
        while not self.page.evaluate(truth):
            assert time.monotonic() < end, f"not true within {seconds} s: {truth}"
            self.page.wait_for_timeout(50)

    def shown_ids(self, gallery: str = "flagged-gallery") -> list[str]:
        ids: list[str] = self.page.eval_on_selector_all(
            f"#{gallery} .card", "cards => cards.map(card => card.dataset.sample)"
        )
        return ids

    def sideways_overflow(self) -> int:
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


INJECTED_PLOTS = [
    "precision_recall",
    "roc",
    "suspicion_histogram",
    "influence_by_class",
    "given_by_suggested",
    "confusion_before",
    "confusion_removed",
    "confusion_corrected",
    "loss_curves",
    "confusion_given",
]


@pytest.mark.parametrize(
    ("name", "plots"),
    [
        ("injected", INJECTED_PLOTS),
        ("hostile", INJECTED_PLOTS),
        ("many", INJECTED_PLOTS),
        ("plain", [name for name in INJECTED_PLOTS if name not in ("precision_recall", "roc", "confusion_given")]),
        ("controls", [name for name in INJECTED_PLOTS if name != "confusion_given"]),
        ("nothing flagged", ["suspicion_histogram", "influence_by_class", "given_by_suggested", "confusion_given"]),
    ],
)
def test_opens_without_complaint_and_draws_every_plot(
    browser: Any, reports: dict[str, Path], name: str, plots: list[str]
) -> None:
    with _Opened(browser, reports[name]) as opened:
        assert opened.draw_all() == plots
        for plot in opened.page.query_selector_all("[data-figure]"):
            assert plot.query_selector_all(".trace, .heatmaplayer .hm, .point"), plot.get_attribute("data-figure")
            plot.hover()
        assert opened.sideways_overflow() == 0
        assert opened.complaints == []
        outside = [url for url in opened.requests if not url.startswith(("file:", "data:", "blob:"))]
        assert outside == []


@pytest.mark.parametrize("name", ["injected", "hostile", "many"])
def test_fits_a_phone(browser: Any, reports: dict[str, Path], name: str) -> None:
    with _Opened(browser, reports[name], PHONE) as opened:
        opened.draw_all()
        assert opened.sideways_overflow() == 0
        heights = opened.page.eval_on_selector_all(
            "#confused-pairs button", "buttons => buttons.map(b => b.clientHeight)"
        )
        assert max(heights) < 60
        assert opened.page.is_visible("nav a[href='#flagged']")
        assert opened.complaints == []


def test_filters_search_and_order(browser: Any, reports: dict[str, Path], injected: AuditResult) -> None:
    flagged = injected.flagged
    with _Opened(browser, reports["injected"]) as opened:
        page = opened.page
        assert opened.shown_ids() == list(flagged.index[:24])
        assert page.inner_text("#flagged-count") == (
            f"Showing 24 of {len(flagged)} flagged samples. 1 of them has no picture in this report."
        )
        page.click("#flagged-more")
        assert opened.shown_ids() == list(flagged.index[:48])

        page.select_option("[name=given]", "=digit 3")
        of_class = flagged[flagged["label"] == "digit 3"]
        assert opened.shown_ids() == list(of_class.index[:24])
        page.select_option("[name=suggested]", "=digit 5")
        pair = of_class[of_class["suggested_label"] == "digit 5"]
        assert opened.shown_ids() == list(pair.index)
        page.click("#flagged-reset")

        page.select_option("[name=origin]", "own")
        assert opened.shown_ids() == list(flagged[~flagged["injected"]].index[:24])
        page.select_option("[name=order]", "harmful")
        own = flagged[~flagged["injected"]].sort_values("influence", kind="stable")
        assert opened.shown_ids() == list(own.index[:24])
        page.click("#flagged-reset")

        page.fill("[name=search]", flagged.index[70].upper())
        assert opened.shown_ids() == [flagged.index[70]]
        page.fill("[name=search]", "no such thing")
        assert opened.shown_ids() == []
        assert page.inner_text("#flagged-count") == "No flagged sample matches."
        assert opened.complaints == []


def test_page_shows_the_measured_numbers(browser: Any, reports: dict[str, Path], injected: AuditResult) -> None:
    detection = injected.summary["detection"]
    with _Opened(browser, reports["injected"]) as opened:
        for cell in ("true_positive", "false_positive", "false_negative", "true_negative"):
            assert opened.page.inner_text(f"[data-cell={cell}]") == f"{detection[cell]:,}"
        for measure in ("precision", "recall", "f1", "average_precision", "auroc"):
            assert opened.page.inner_text(f"[data-measure={measure}]") == f"{detection[measure]:.3f}"
        missed = injected.scores[injected.scores["injected"] & ~injected.scores["flag"]]
        assert set(opened.shown_ids("missed-gallery")) == set(missed.sort_values("suspicion")[-12:].index)


def test_a_sample_opens_by_keyboard_with_all_its_scores(
    browser: Any, reports: dict[str, Path], injected: AuditResult
) -> None:
    first, second = injected.flagged.index[:2]
    with _Opened(browser, reports["injected"]) as opened:
        page = opened.page
        page.focus("#flagged-gallery .card")
        page.keyboard.press("Enter")
        sheet = page.inner_text("#sheet")
        assert first in sheet
        assert injected.scores.loc[first, "filepath"] in sheet
        page.keyboard.press("ArrowRight")
        assert second in page.inner_text("#sheet")
        page.keyboard.press("Escape")
        assert not page.is_visible("#sheet")
        assert page.evaluate("document.activeElement.dataset.sample") == first
        assert opened.complaints == []


def test_pictures_are_decoded_and_a_missing_one_has_a_placeholder(
    browser: Any, reports: dict[str, Path], injected: AuditResult
) -> None:
    missing = next(sample for sample in injected.flagged.index if sample not in injected.thumbnails.index)
    with _Opened(browser, reports["injected"]) as opened:
        page = opened.page
        opened.wait_until("[...document.images].every(image => image.complete)")
        assert page.evaluate("[...document.images].every(image => image.naturalWidth === 96 && image.alt)")
        page.fill("[name=search]", missing)
        assert page.inner_text("#flagged-gallery .picture") == "no picture in this report"


def test_theme_follows_the_system_and_the_button(browser: Any, reports: dict[str, Path]) -> None:
    with _Opened(browser, reports["injected"], scheme="dark") as opened:
        page = opened.page
        opened.draw_all()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 21, 27)"
        stroke = "getComputedStyle(document.querySelector('[data-figure=loss_curves] .js-line')).stroke"
        assert page.evaluate(stroke) == "rgb(111, 180, 240)"
        page.click("#theme")
        opened.wait_until(f"{stroke} === 'rgb(31, 111, 180)'")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(247, 248, 250)"
        page.reload()
        assert page.evaluate("document.documentElement.dataset.theme") == "light"
        assert opened.complaints == []


def test_prints_light_with_every_plot_and_no_controls(browser: Any, reports: dict[str, Path]) -> None:
    with _Opened(browser, reports["injected"], scheme="dark") as opened:
        page = opened.page
        page.emulate_media(media="print")
        opened.wait_until(
            "[...document.querySelectorAll('[data-figure]')].every(plot => plot.dataset.drawn === 'print')"
        )
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not page.is_visible("#flagged-filters")
        assert not page.is_visible("#theme")
        assert page.is_visible("#how details td")
        assert page.is_visible("#confused-pairs button")
        assert len(page.pdf()) > 50_000
        page.emulate_media(media="screen")
        fits = (
            "[...document.querySelectorAll('[data-figure]')].every(plot => plot.dataset.drawn === 'dark'"
            " && plot.querySelector('.main-svg').clientWidth <= plot.clientWidth)"
        )
        opened.wait_until(fits)
        assert not page.is_visible("#how details td")
        assert opened.sideways_overflow() == 0
        assert opened.complaints == []


def test_class_gallery_follows_its_choice(browser: Any, reports: dict[str, Path], injected: AuditResult) -> None:
    rows = injected.scores[(injected.scores["label"] == "digit 7") & (injected.scores["split"] == "train")]
    with _Opened(browser, reports["injected"]) as opened:
        opened.page.select_option("#class-choice", label="digit 7")
        assert opened.shown_ids("class-harmful") == list(rows.sort_values("influence").index[:8])
        known = injected.explanations
        targets = pd.unique(known["target"][known["reason"] == "validation"])
        opened.page.click("#explained-more")
        shown = opened.page.eval_on_selector_all(
            "#explained-list > .explained > div:first-child .card", "cards => cards.map(card => card.dataset.sample)"
        )
        assert shown == list(targets)


# -- the threshold slider


def move_threshold(page: Any, value: float) -> None:
    """Move the slider as a hand would, and wait until pictures and plots have followed."""
    page.locator("#threshold-slider").fill(str(value))
    page.wait_for_selector(f'html[data-threshold="{value}"]', state="attached")


def live_texts(page: Any) -> list[tuple[str, str]]:
    return [
        (name, text)
        for name, text in page.eval_on_selector_all(
            "[data-live], [data-class-flagged]",
            "nodes => nodes.map(node => [node.dataset.live ?? 'class ' + node.dataset.classFlagged, node.textContent])",
        )
    ]


def correction_at(result: AuditResult, value: float) -> str:
    """What is said of the heads that were trained for the nearest threshold."""
    measured = verdict.correction_texts(result.summary)
    return str(min(measured, key=lambda each: abs(each["threshold"] - value))["texts"]["sentence"])


@pytest.mark.parametrize("value", [0.25, 0.9])
def test_slider_moves_every_number_as_the_scores_have_it(
    browser: Any, reports: dict[str, Path], injected: AuditResult, tmp_path: Path, value: float
) -> None:
    scores = pd.read_parquet(injected.save(tmp_path) / "scores.parquet")
    flag, wrong = scores["suspicion"] >= value, scores["injected"]
    found = int((flag & wrong).sum())
    precision, recall = found / int(flag.sum()), found / int(wrong.sum())
    expected = scores["suspicion"][flag].sum()
    false_alarms = int((flag & ~wrong).sum())
    numbers = {
        "threshold": f"{value:.2f}",
        "flagged": f"{flag.sum():,}",
        "flagged_samples": f"{flag.sum():,} samples",
        "flags": f"{flag.sum():,} flags",
        "expected_precision": f"≈ {100 * expected / flag.sum():.1f}%",
        "expected_recall": f"≈ {100 * expected / scores['suspicion'].sum():.1f}%",
        "true_positive": f"{found:,}",
        "false_positive": f"{false_alarms:,}",
        "false_negative": f"{(~flag & wrong).sum():,}",
        "true_negative": f"{(~flag & ~wrong).sum():,}",
        "precision": f"{precision:.3f}",
        "recall": f"{recall:.3f}",
        "f1": f"{2 * precision * recall / (precision + recall):.3f}",
        "precision_share": f"{100 * precision:.1f}%",
        "recall_share": f"{100 * recall:.1f}%",
    }
    numbers["correction"] = correction_at(injected, value)
    by_class = flag.groupby(scores["label"]).sum()
    numbers |= {f"class {number}": str(by_class[label]) for number, label in enumerate(CLASSES)}
    with _Opened(browser, reports["injected"]) as opened:
        page = opened.page
        opened.draw_all()
        before = live_texts(page)
        assert {name for name, _ in before} == set(numbers)
        move_threshold(page, value)
        assert [text for _, text in live_texts(page)] == [numbers[name] for name, _ in before]

        ordered = scores.sort_values("suspicion", ascending=False, kind="stable")
        assert opened.shown_ids() == list(ordered.index[:24])
        known = {"unexpected": flag & ~wrong, "missed": ~flag & wrong}
        for gallery, chosen in known.items():
            shown = opened.shown_ids(f"{gallery}-gallery")
            assert len(shown) == min(12, chosen.sum())
            assert chosen[shown].all()
        if value < injected.summary["threshold"]:
            assert "no picture in this report" in page.inner_text("#flagged-count")

        figure = "name => document.querySelector(`[data-figure=${name}]`)"
        trace = f"({figure})(name).data.find(trace => trace.mode === 'markers')"
        mark = f"name => {{ const mark = {trace}; return [...mark.x, ...mark.y]; }}"
        assert page.evaluate(mark, "precision_recall") == pytest.approx([recall, precision])
        assert page.evaluate(mark, "roc") == pytest.approx([false_alarms / (~wrong).sum(), recall])
        assert page.evaluate(f"({figure})('suspicion_histogram').layout.shapes[0].x0") == value
        matrix = page.evaluate(f"({figure})('given_by_suggested').data[0].customdata")
        flagged = scores[flag]
        pairs = flagged.groupby(["label", "other_label"]).size()
        assert {(row, column): number for cells in matrix for row, column, number in cells if number} == pairs.to_dict()

        command = page.inner_text("#threshold-moved code")
        assert command == f"influence-audit run fiftyone:influence-audit-demo --threshold {value}"
        page.click("#threshold-reset")
        assert live_texts(page) == before
        assert not page.is_visible("#threshold-moved")
        assert opened.complaints == []


@pytest.mark.parametrize("which", ["injected", "plain"])
def test_slider_moves_to_the_nearest_heads_that_were_trained(
    browser: Any, reports: dict[str, Path], request: pytest.FixtureRequest, which: str
) -> None:
    summary = request.getfixturevalue(which).summary
    correction = summary["correction"]
    everywhere = [{"threshold": summary["threshold"], **correction}, *correction["elsewhere"]]
    assert len(everywhere) >= 3
    with _Opened(browser, reports[which]) as opened:
        page = opened.page
        untouched = page.inner_text("#correction")
        for measured in everywhere[1:]:
            move_threshold(page, round(measured["threshold"] + 0.03, 2))
            text = page.inner_text("#correction")
            assert f"for a threshold of {measured['threshold']:.2f}" in text
            assert f"{measured['flagged']['train']:,} flagged training samples" in text
            on = measured["measured_on"][0]
            for arm in ("before", "removed", "corrected"):
                shown = page.inner_text(f"[data-correction='{arm}-{on['name']}-f1']")
                assert shown == f"{measured['heads'][arm]['quality'][on['name']]['f1']:.3f}"
        page.locator("[data-reset-threshold]:visible").first.click()
        assert page.inner_text("#correction") == untouched


def test_slider_moves_flagged_against_others_where_nothing_was_injected(
    browser: Any, reports: dict[str, Path], plain: AuditResult
) -> None:
    with _Opened(browser, reports["plain"]) as opened:
        page = opened.page
        opened.draw_all()
        for value in (0.15, plain.summary["threshold"]):
            move_threshold(page, value)
            boxes = page.evaluate(
                "document.querySelector('[data-figure=influence_by_class]').data"
                ".map(box => ({ median: Array.from(box.median._inputArray ?? box.median), "
                "q3: Array.from(box.q3._inputArray ?? box.q3) }))"
            )
            flag = plain.scores["suspicion"] >= value
            for box, rows in zip(boxes, (plain.scores[~flag], plain.scores[flag]), strict=True):
                assert box["median"][-1] == pytest.approx(rows["influence"].median(), rel=1e-5)
                assert box["q3"][0] == pytest.approx(
                    rows["influence"][rows["label"] == CLASSES[0]].quantile(0.75), rel=1e-5
                )
        assert page.inner_text("#flagged [data-live=expected_precision]").startswith("≈ ")
        assert opened.complaints == []


def test_pairs_of_classes_follow_the_slider_and_lead_to_their_samples(
    browser: Any, reports: dict[str, Path], plain: AuditResult
) -> None:
    with _Opened(browser, reports["plain"]) as opened:
        page = opened.page
        for value in (None, 0.2):
            threshold = plain.summary["threshold"] if value is None else value
            if value is not None:
                move_threshold(page, value)
            flag = plain.scores["suspicion"] >= threshold
            at_threshold = replace(plain, scores=plain.scores.assign(flag=flag))
            pairs = flagged_pairs(at_threshold)
            assert page.inner_text("[data-live=where]") == pairs_in_words(pairs, int(flag.sum()))
            listed = page.locator("#confused-pairs button").all_inner_texts()
            assert [re.sub(r"\s+", " ", text) for text in listed] == [
                f"{given} → {other} {number}" for given, other, number in pairs[:10]
            ]
        page.select_option("[name=order]", "label")
        page.focus("#confused-pairs li:nth-child(2) button")
        page.keyboard.press("Enter")
        given, other, _ = pairs[1]
        of_pair = plain.scores[flag & (plain.scores["label"] == given) & (plain.scores["other_label"] == other)]
        assert opened.shown_ids() == list(of_pair.sort_values("suspicion", ascending=False, kind="stable").index[:24])
        assert page.evaluate("document.activeElement.name") == "given"
        assert opened.complaints == []


def test_without_injection_the_flags_are_measured_on_spike_in_controls(
    browser: Any, reports: dict[str, Path], controls: AuditResult, injected: AuditResult
) -> None:
    known = compare_with_known(controls)
    assert known is not None
    for measure in ("true_positive", "false_positive", "precision", "recall", "average_precision", "auroc"):
        assert known.measures[measure] == pytest.approx(injected.summary["detection"][measure])
    text = " ".join(_Page(reports["controls"].read_text(encoding="utf-8")).text.split())
    assert "known mislabels were added to copies of your labels (spike-in controls)" in text
    assert "Your own mistakes count against precision here" in text
    assert "There is no measurement in this report" not in text
    with _Opened(browser, reports["controls"]) as opened:
        move_threshold(opened.page, 0.9)
        flag, spiked = injected.scores["suspicion"] >= 0.9, injected.scores["injected"]
        assert opened.page.inner_text("[data-cell=true_positive]") == f"{(flag & spiked).sum():,}"
        assert opened.page.inner_text("[data-measure=recall]") == f"{(flag & spiked).sum() / spiked.sum():.3f}"
        for number, kind in enumerate(("look-alike", "slip")):
            of_kind = (controls.controls["kind"] == kind).to_numpy()
            recall = (flag.to_numpy() & of_kind).sum() / of_kind.sum()
            assert opened.page.inner_text(f"[data-kind='{number}']") == f"{recall:.3f}"
        own = (controls.scores["suspicion"] >= 0.9).sum()
        assert opened.page.inner_text("#threshold-form [data-live=flagged]") == f"{own:,}"
        assert opened.complaints == []


def test_fifty_thousand_samples_move_within_a_second(
    browser: Any, plain: AuditResult, tmp_path_factory: pytest.TempPathFactory
) -> None:
    many = pd.concat([plain.scores] * 28)
    many.index = pd.Index([f"{number:024x}" for number in range(len(many))], name="id")
    result = replace(plain, scores=many, explanations=plain.explanations.iloc[:0], thumbnails=plain.thumbnails.iloc[:0])
    path = write_report(result, tmp_path_factory.mktemp("large") / "report.html")
    assert path.stat().st_size < 15e6
    with _Opened(browser, path) as opened:
        seconds = opened.page.evaluate(
            """() => {
                const began = performance.now(), slider = document.getElementById('threshold-slider');
                slider.value = '0.3';
                slider.dispatchEvent(new Event('input'));
                return (performance.now() - began) / 1000;
            }"""
        )
        assert seconds < 1
        flagged = int((many["suspicion"] >= 0.3).sum())
        assert opened.page.inner_text("#threshold-value").endswith(f" {flagged:,} flagged")
        opened.page.wait_for_selector('html[data-threshold="0.3"]', state="attached")
        status = opened.page.inner_text("#flagged-count")
        assert f"{flagged - 1000:,} more are flagged at this threshold and are not shown here" in status


def test_the_lowest_threshold_is_that_of_the_last_sample_in_the_page(
    plain: AuditResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reports.threshold.MAX_MOVABLE", 100)
    values = threshold_values(plain, None)
    assert values["floor"] == plain.scores["suspicion"].nlargest(100).min()
    assert values["samples"] == len(plain.scores)


# -- for everyone


@pytest.mark.parametrize("name", ["injected", "hostile"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Any, reports: dict[str, Path], name: str, scheme: str) -> None:
    axe = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    # The page's policy keeps strangers' scripts out; axe is one, so it is lifted here and nowhere else.
    with _Opened(browser, reports[name], scheme=scheme, bypass_csp=True) as opened:
        page = opened.page
        opened.draw_all()
        page.evaluate(axe)
        for open_a_sample in (False, True):
            if open_a_sample:
                page.locator("#flagged-gallery .card").first.click()
            violations = page.evaluate("axe.run().then(result => result.violations)")
            found = [(each["impact"], each["id"], each["nodes"][0]["html"]) for each in violations]
            assert [each for each in found if each[0] in ("serious", "critical")] == []
            assert found == []


def test_everything_is_reached_by_keyboard(browser: Any, reports: dict[str, Path], injected: AuditResult) -> None:
    with _Opened(browser, reports["injected"]) as opened:
        page = opened.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("location.hash") == "#content"
        page.focus("#threshold-slider")
        page.keyboard.press("End")
        page.wait_for_selector('html[data-threshold="1"]', state="attached")
        assert "No sample reaches the threshold" in page.inner_text("#flagged-count")
        page.keyboard.press("ArrowLeft")
        page.wait_for_selector('html[data-threshold="0.99"]', state="attached")
        flagged = int((injected.scores["suspicion"] >= 0.99).sum())
        assert page.get_attribute("#threshold-slider", "aria-valuetext") == f"0.99, {flagged} flagged"
        page.focus("#threshold-reset")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "threshold-slider"
        reached = set()
        for _ in range(200):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("(node => node.id || node.name || node.className)(document.activeElement)"))
        page.focus("#flagged-reset")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "app-address"
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.dataset.sample") == injected.flagged.index[0]
        wanted = {"theme", "threshold-exact", "search", "given", "suggested", "origin", "order", "flagged-more", "card"}
        assert wanted <= reached
        assert opened.complaints == []


def test_neighbours_and_the_app_are_one_step_from_a_flagged_sample(
    browser: Any, reports: dict[str, Path], injected: AuditResult
) -> None:
    first = injected.flagged.index[0]
    known = injected.explanations
    known = known[(known["target"] == first) & (known["reason"] == "flagged")]
    with _Opened(browser, reports["injected"]) as opened:
        page = opened.page
        assert page.locator("#flagged-gallery .card").first.locator(".closest .picture").count() == 4
        page.locator("#flagged-gallery .card").first.click()
        link = page.get_attribute("#sheet a", "href")
        assert link == f"http://localhost:5151/datasets/influence-audit-demo?id={first}"
        shown = page.eval_on_selector_all("#sheet .card", "cards => cards.map(card => card.dataset.sample)")
        assert shown == [
            *known[known["kind"] == "helpful"]["neighbour"],
            *known[known["kind"] == "harmful"]["neighbour"],
        ]
        page.keyboard.press("Escape")
        card_link = page.locator("#flagged-gallery .in-app").first
        assert card_link.get_attribute("href") == link
        page.fill("#app-address", "https://elsewhere:6000/datasets/whatever")
        moved = f"https://elsewhere:6000/datasets/influence-audit-demo?id={first}"
        assert card_link.get_attribute("href") == moved
        page.fill("#app-address", "javascript:alert(1)")
        assert card_link.get_attribute("href") == moved
        assert opened.complaints == []


def test_moves_nothing_for_those_who_asked_for_that(browser: Any, reports: dict[str, Path]) -> None:
    with _Opened(browser, reports["injected"]) as opened:
        assert opened.page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "smooth"
        opened.page.emulate_media(reduced_motion="reduce")
        assert opened.page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
        animated = (
            "[...document.querySelectorAll('*')].some(node => getComputedStyle(node).transitionDuration !== '0s')"
        )
        assert not opened.page.evaluate(animated)


def test_a_thousand_flagged_samples_are_painted_in_time(browser: Any, reports: dict[str, Path]) -> None:
    with _Opened(browser, reports["many"]) as opened:
        painted = opened.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        assert painted < 8000


def test_printed_plots_fit_the_page(browser: Any, reports: dict[str, Path]) -> None:
    with _Opened(browser, reports["injected"], {"width": 700, "height": 1000}) as opened:
        opened.page.emulate_media(media="print")
        opened.page.wait_for_selector('[data-figure=confusion_given][data-drawn="print"]', state="attached")
        opened.page.wait_for_timeout(300)
        assert opened.sideways_overflow() == 0
