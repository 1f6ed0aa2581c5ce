"""The whole review in a browser on the real App: audit, look, understand, decide, undo, correct, audit again, report.

The pictures of each step, and the moving picture of them for the README, are kept where INFLUENCE_AUDIT_SCREENSHOTS
names a folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import fiftyone as fo
import pytest
from fiftyone import ViewField as F
from PIL import Image, ImageDraw, ImageFont

from integrations.fiftyone.background_audit import results_home
from integrations.fiftyone.importing import import_images
from integrations.fiftyone.plugin.claims_shown import modelled_cards
from integrations.fiftyone.review import decisions
from integrations.sources.digits import digits
from integrations.sources.labelled_images import LabelledImages
from tests.browser.app_window import FIFTYONE_LOADS, GRID_IMAGES, AppWindow, served
from tests.mongod import Mongod
from tests.waiting import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MISTAKES = 12  # so many that the second audit, after three corrections, still flags some
FRAME = (1200, 900)
STEPS = {
    "audit-form": "Audit the labels: choose what, how, and under which key",
    "audited": "The grid shows what is flagged, the panel the most suspicious sample",
    "threshold": "Move the threshold: the grid follows",
    "explanation": "Why it is suspect: training samples that speak for and against its label",
    "selection": "Accept the suggestion, for one sample or for a selection; undo is a click away",
    "apply-form": "Apply the corrections: the label field is written, the old labels are kept",
    "second-audit": "Audit again: what changed since the last time",
}
"""The steps of the README's moving picture, with what is said under them."""


@pytest.fixture
def dataset(dataset_name: Callable[[str], str]) -> fo.Dataset:
    """Digits that look alike, twelve of them labelled wrong."""
    name = dataset_name("labels to review")
    alike = list(digits(["3", "5", "8", "9"]))[:160]
    import_images(LabelledImages("digits", "digits", len(alike), lambda: iter(alike)), name)
    dataset = fo.load_dataset(name)
    classes = dataset.distinct("ground_truth.label")
    for label, wrong in zip(classes, classes[1:] + classes[:1], strict=True):
        part = dataset.match(F("source_label") == label).limit(MISTAKES // len(classes))
        part.set_values("ground_truth.label", [wrong] * len(part))
    return dataset


def test_a_reviewer_goes_from_a_flag_to_a_corrected_label(
    dataset: fo.Dataset, browser: Browser, tmp_path: Path
) -> None:
    kept = os.environ.get("INFLUENCE_AUDIT_SCREENSHOTS")
    folder = Path(kept or tmp_path)
    with served(dataset.name, tmp_path / "console.log") as address:
        dark = AppWindow(browser, address, folder)
        review(dark, dataset)
        dark.page.close()
        light = AppWindow(browser, address, folder, "light")
        look_again(light, dataset)
        put_away(light, dataset)
        light.page.close()
    if kept:
        moving_picture([(dark.pictures[step], text) for step, text in STEPS.items()], folder / "review.webp")
    assert all(picture.stat().st_size > 10_000 for picture in [*dark.pictures.values(), *light.pictures.values()])


def review(app: AppWindow, dataset: fo.Dataset) -> None:
    """The whole way, from opening the dataset to the report after the second audit."""
    form = app.form()  # a dataset without an audit opens it
    app.settle()
    app.picture("dataset")
    form.get_by_text("More settings").click()
    form.get_by_text("Backbone weights:").wait_for()
    form.locator("input[value='auto']").fill("bundled")
    app.settle()
    app.picture("audit-form")
    app.audit()
    app.panel.get_by_text("Most confused with").wait_for()
    dataset.reload()
    flagged = dataset.load_saved_view("audit: flagged").values("id")
    assert len(flagged) >= MISTAKES // 2
    app.sees(f"0 / {len(flagged)}")
    # Without a reload of the page.
    app.page.locator("[data-cy='sidebar-group-entry-label audit (audit)' i]").wait_for()
    app.page.locator("[data-cy='sidebar-field-container-audit_influence']").wait_for()
    app.picture("audited")

    slider = app.panel.locator(".MuiSlider-root").first
    place = slider.bounding_box()
    assert place is not None
    slider.click(position={"x": place["width"] * 0.8, "y": place["height"] / 2})
    app.sees(re.compile(r"Show suspicion of at least 0\.(79|80|81)"))
    above = len(dataset.match(F("audit_suspicion") >= 0.8))
    app.sees(f"{above} sample")
    app.picture("threshold")

    app.panel.locator("table tbody tr").first.click()
    app.panel.get_by_text(re.compile("^class ")).wait_for()
    app.picture("class")
    app.panel.locator(".js-plotly-plot").last.scroll_into_view_if_needed()
    app.picture("classes")
    app.press("Show all samples")
    app.panel.get_by_text(re.compile("^class ")).wait_for(state="hidden")
    app.sees(f"{len(dataset)} samples")
    app.settle()

    app.sees("nearest are labelled")
    for number in (1, 2, 3):  # each class with its probability
        app.panel.get_by_role("button", name=re.compile(rf"^{number}.*\s·\s[01]\.\d\d$")).first.wait_for()
    app.press("Why is it suspect?")
    app.panel.get_by_text("Training samples that speak").first.wait_for()
    app.panel.get_by_role("button", name="Audit again").first.scroll_into_view_if_needed()
    app.picture("explanation")

    first, second = dataset.load_saved_view("audit: to review").values("id")[:2]
    app.press("Accept suggestion")
    app.sees(f"1 / {len(flagged)}")
    app.picture("accepted")
    dataset.reload()
    assert dataset[first].audit_status == "relabelled"
    app.page.keyboard.press("Shift+U")
    app.sees(f"0 / {len(flagged)}")
    dataset.reload()
    assert dataset[first].audit_status == "unreviewed"
    app.picture("undone")
    app.skip(by_key=True)
    for key, status in (("C", "confirmed"), ("A", "relabelled")):
        app.decide(key)
        app.sees(f"1 / {len(flagged)}")
        dataset.reload()
        assert dataset[second].audit_status == status
        app.page.keyboard.press("Shift+U")
        app.sees(f"0 / {len(flagged)}")

    form = app.operate("Load audit")
    form.get_by_text("flagged", exact=True).click()
    app.submit("Load audit")
    app.sees(f"{len(flagged)} samples")
    app.page.wait_for_function(f"document.querySelectorAll('{GRID_IMAGES}').length == {len(flagged)}")
    app.settle()
    app.select_first_samples(3)
    app.panel.get_by_role("button", name="Accept suggestion (3)").wait_for()
    app.picture("selection")
    app.press("Accept suggestion (3)")
    app.sees(f"3 / {len(flagged)}")
    dataset.reload()
    accepted = dataset.match(F("audit_status") == "relabelled").values("id")
    assert accepted == dataset.select(flagged[:3]).values("id")
    app.picture("selection-accepted")

    app.press("Apply")
    app.form().get_by_text("3 corrected labels").wait_for()
    app.picture("apply-form")
    app.submit("Apply corrections")
    app.sees("3 samples corrected in the label field")
    app.panel.get_by_text("choose 'Apply'").wait_for(state="hidden")
    dataset.reload()
    for sample in dataset.select(accepted):
        assert sample.ground_truth.label == sample.audit_suggested.label != sample.audit_original.label
    app.picture("applied")

    app.press("Audit again")
    form = app.form()
    form.get_by_text("Replace audit 'audit'").wait_for()  # the same key, not a new one
    assert form.get_by_role("checkbox").first.is_checked()
    app.settle()
    app.picture("audit-again")
    app.audit()
    app.sees("Since the last audit: 3 labels corrected")
    dataset.reload()
    app.sees(f"0 / {len(dataset.match(F('audit_flag') == True))}")  # noqa: E712
    summary = dataset.get_run_info("audit").config.summary
    app.sees(f"Show suspicion of at least {summary['threshold']:.2f}")
    cards = [re.escape(value).replace("\u00a0", r"\s") for value, _ in modelled_cards(summary)]
    app.sees(re.compile(f"^{cards[0]}$"))
    app.sees(f"threshold {summary['threshold']:.2f}")
    app.watch()  # no late answer brings back the numbers of the first audit
    assert summary["counts"]["flagged"] > 0
    app.sees(re.compile(f"^{cards[1]}$"))
    app.picture("second-audit")
    assert dataset.get_run_info("audit").config.summary["since_last"]["labels_corrected"] == 3
    assert len(decisions(dataset, "audit")) == 9  # three that were undone, three accepted, three applied

    with app.page.expect_download() as download:
        app.press("Report")
        app.submit("Make report")
    assert download.value.suggested_filename == "report.html"
    assert (results_home(dataset, "audit") / "report.html").is_file()
    app.picture("report")
    assert [error for error in app.errors if error != FIFTYONE_LOADS] == []


def look_again(light: AppWindow, dataset: fo.Dataset) -> None:
    """In the other theme: the panel beside the grid, in the sample view, and the App's own editor."""
    light.open_panel()
    light.panel.get_by_text("Most confused with").wait_for()
    light.press("Why is it suspect?")
    light.panel.get_by_text("Training samples that speak").first.wait_for()
    light.picture("panel")
    light.operate("Load audit").get_by_text("flagged", exact=True).click()
    light.submit("Load audit")
    flagged = len(dataset.load_saved_view("audit: flagged"))
    light.page.wait_for_function(f"document.querySelectorAll('{GRID_IMAGES}').length == {flagged}")
    light.page.locator("canvas[canvas-loaded=true]").first.click()
    light.page.locator("[data-cy=modal]").wait_for()
    modal = light.page.locator("[data-cy=modal]")
    modal.get_by_text("Label audit", exact=True).first.click()
    modal.get_by_text("Training samples that speak").first.wait_for()
    light.picture("sample")
    first = modal.locator("[data-cy=review] img").first
    decided = first.get_attribute("src")
    light.decide("D")
    light.sees("1 sample dismissed")
    wait_until(lambda: first.get_attribute("src") != decided)  # the sample view goes on, too
    light.settle()
    given = modal.get_by_text("given: ").first.inner_text().removeprefix("given: ")
    other = next(label for label in dataset.distinct("ground_truth.label") if label != given)
    modal.get_by_role("button", name="Label by hand").first.click()
    modal.locator("[data-cy=sidebar]").get_by_text(given, exact=True).first.click()
    modal.get_by_text("Edit Classification").wait_for()
    modal.get_by_role("radio", name=other).check()
    light.sees("1 sample relabelled")  # the panel looks by itself while the editor is open
    modal.get_by_text(f"given: {other}").first.wait_for()
    light.picture("by-hand")
    dataset.reload()
    dismissed, typed = decisions(dataset, "audit")[-2:]
    assert dismissed["action"] == "dismiss"
    assert dismissed["sample"] != typed["sample"]
    opened = dataset[typed["sample"]]
    assert (opened.ground_truth.label, opened.audit_status) == (other, "relabelled")
    assert (typed["by_hand"], typed["given"], typed["after"]["corrected"]) == (True, given, other)
    light.page.keyboard.press("Escape")
    modal.wait_for(state="hidden")
    light.panel.get_by_text(f"2 / {flagged}").wait_for()  # what was decided in the sample view
    light.watch()
    assert light.panel.get_by_text(f"2 / {flagged}").is_visible()  # no timer brings back what was before
    light.picture("closed")


def put_away(app: AppWindow, dataset: fo.Dataset) -> None:
    """Rename the audit, and delete it: sidebar and panel follow without a reload of the page."""
    group = "[data-cy='sidebar-group-entry-label audit ({})' i]"
    field = "[data-cy='sidebar-field-container-{}_influence']"
    app.operate("Rename audit").get_by_role("textbox").last.fill("checked")
    app.submit("Rename audit")
    app.page.locator(group.format("checked")).wait_for()
    app.page.locator(field.format("checked")).wait_for()
    for former in (group, field):
        app.page.locator(former.format("audit")).wait_for(state="hidden")
    app.panel.get_by_text("checked", exact=True).first.wait_for()
    app.sees(f"{len(dataset)} samples")  # the view that was open asked for fields that are gone
    app.picture("renamed")
    app.operate("Delete audit").get_by_text("go with it").wait_for()
    app.picture("delete-form")
    app.submit("Delete audit")
    app.panel.get_by_text("No audit yet").wait_for()
    for gone in (group, field):
        app.page.locator(gone.format("checked")).wait_for(state="hidden")
    app.picture("deleted")
    dataset.reload()
    assert (dataset.list_runs(), dataset.list_saved_views()) == ([], [])
    assert [name for name in dataset.get_field_schema() if name.startswith(("audit", "checked"))] == []


def moving_picture(steps: list[tuple[Path, str]], path: Path) -> None:
    """The steps one after the other, each with a line of text under it, as an animated WebP."""
    frames = []
    for picture, text in steps:
        with Image.open(picture) as screenshot:
            shown = screenshot.convert("RGB").resize(FRAME, Image.Resampling.LANCZOS)
        frame = Image.new("RGB", (FRAME[0], FRAME[1] + 44), "#ff6d04")
        frame.paste(shown)
        ImageDraw.Draw(frame).text((16, FRAME[1] + 9), text, "#ffffff", ImageFont.load_default(22))
        frames.append(frame)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=3500, loop=0, quality=70, method=6)
    assert path.stat().st_size < 2_000_000


# --- two windows, and restarts --------------------------------------------------------------------------------------


WRITE_AUDIT = """
import json
import fiftyone as fo
from tests.fiftyone.made_up import made_up_result
from integrations.sources.digits import digits
from integrations.fiftyone import write_result
from integrations.fiftyone.importing import import_images
from integrations.sources.labelled_images import LabelledImages
images = list(digits(["0", "1", "2"]))[:60]
import_images(LabelledImages("digits", "digits", 60, lambda: iter(images)), "restarted")
dataset = fo.load_dataset("restarted")
write_result(dataset, made_up_result(dataset, inject=False))
print(json.dumps(dataset.load_saved_view("audit: to review").values("id")))
"""
READ_DECISIONS = """
import json
import fiftyone as fo
from integrations.fiftyone.review import decisions
dataset = fo.load_dataset("restarted")
made = [(entry["sample"], entry["action"]) for entry in decisions(dataset, "audit")]
statuses = dict(zip(*dataset.values(["id", "audit_status"])))
print(json.dumps([made, statuses, dataset.get_run_info("audit").config.summary["review"]["statuses"]]))
"""


def one_is_asked(one: AppWindow, two: AppWindow) -> bool:
    """Whether the first of two windows asks before it replaces a decision of the other one; one of them does."""
    asks = [window.panel.get_by_text("Replace that decision?") for window in (one, two)]
    wait_until(lambda: any(text.count() for text in asks))
    return bool(asks[0].count())


def test_decisions_of_two_windows_survive_the_app_and_the_database_being_killed(
    mongod: Mongod, browser: Browser, tmp_path: Path
) -> None:
    queue = mongod.run(WRITE_AUDIT)
    mongod.write_down()
    first, second = queue[:2]
    with served("restarted", tmp_path / "console.log", mongod.environment) as address:
        one, two = AppWindow(browser, address, tmp_path), AppWindow(browser, address, tmp_path)
        for window in (one, two):
            window.open_panel()
            window.sees(f"0 / {len(queue)}")
        one.press("Dismiss")  # each window shows the first sample, and does not know of the other's decision
        one.sees(f"1 / {len(queue)}")
        two.skip()
        two.press("Confirm mistake")
        two.sees(f"2 / {len(queue)}")
        one.skip()
        one.press("Dismiss")  # both at once: neither waits for an answer
        two.press("Confirm mistake")
        later = one if one_is_asked(one, two) else two  # nothing is replaced unseen
        later.press("Replace it")
        wait_until(lambda: len(mongod.run(READ_DECISIONS)[0]) >= 4)
        before = mongod.run(READ_DECISIONS)
        mongod.kill()
    made, statuses, kept = before
    assert len(made) == 4
    assert made[:2] == [[first, "dismiss"], [second, "confirm"]]
    assert sorted(action for _, action in made) == ["confirm", "confirm", "dismiss", "dismiss"]
    mongod.start()
    assert mongod.run(READ_DECISIONS) == before
    reviewed = sum(status != "unreviewed" for status in statuses.values())
    assert sum(count for status, count in kept.items() if status != "unreviewed") == reviewed
    with served("restarted", tmp_path / "again.log", mongod.environment) as address:
        again = AppWindow(browser, address, tmp_path)
        again.open_panel()
        again.sees(f"{reviewed} / {len(queue)}")
        again.press("Undo last")
        again.sees(re.compile("Undone: 1 sample"))
        assert "view=audit-flagged" in again.page.url
        again.operate("Rename audit").get_by_role("textbox").last.fill("checked")
        again.submit("Rename audit")
        again.sees("60 samples")  # the App cannot show a saved view that is gone
        again.panel.get_by_text("checked", exact=True).first.wait_for()
        assert [error for error in again.errors if error != FIFTYONE_LOADS] == []
        lost = again.lose_first_answer('"__method__":"changed"')
        again.operate("Rename audit").get_by_role("textbox").last.fill("audit")
        again.submit("Rename audit")
        again.panel.get_by_text("audit", exact=True).first.wait_for()
        assert len(lost) == 1
    assert len(mongod.run(READ_DECISIONS)[0]) == 4
