"""The real App opens on the flagged samples; in its panel a reviewer decides as fast as keys can be pressed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import fiftyone as fo
import pytest

from integrations.fiftyone import write_result
from integrations.fiftyone.app import opening_view, page_of
from integrations.fiftyone.plugin.panel_layout import LEAST_CHECKED
from integrations.fiftyone.review import decisions, this_user, undo_last
from tests.browser.app_window import GRID_IMAGES, AppWindow, served
from tests.fiftyone.made_up import made_up_result
from tests.fiftyone.test_fiftyone import FIELDS, INJECTION_FIELDS
from tests.sixty_digits import sixty_digits
from tests.waiting import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

NAME = "written digits"
PACE_MILLISECONDS = 300
KEPT = """async () => {
    const file = performance.getEntriesByType("resource").find(({ name }) => name.includes("review/queue.js"));
    window.reviewQueue = (await import(file.name)).queue;
    window.pressed = [];
    window.addEventListener("keydown", ({ key }) => {
        if (key !== "Shift") window.pressed.push(document.querySelector("[data-cy=review] img")?.getAttribute("src"));
    }, true);
}"""


@pytest.fixture(scope="module")
def dataset() -> Iterator[fo.Dataset]:
    """Sixty digits of three classes with a written result."""
    made = sixty_digits(NAME)
    write_result(made, made_up_result(made))
    yield made
    fo.delete_dataset(NAME)


@pytest.fixture(scope="module")
def app_address(dataset: fo.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address at which the real App shows the dataset."""
    with served(dataset.name, tmp_path_factory.mktemp("app") / "console.log") as address:
        yield address


def test_the_address_names_a_view_only_where_one_is_saved(dataset: fo.Dataset) -> None:
    assert page_of(opening_view(dataset.name)) == f"datasets/{quote(NAME)}?view=audit-flagged"
    assert page_of(dataset) == f"datasets/{quote(NAME)}"  # a dataset has a name, too


def test_the_app_opens_on_the_flagged_samples(
    dataset: fo.Dataset, app_address: str, browser: Browser, tmp_path: Path
) -> None:
    """The picture is kept where INFLUENCE_AUDIT_SCREENSHOTS names a folder."""
    flagged = opening_view(dataset.name)
    folder = Path(os.environ.get("INFLUENCE_AUDIT_SCREENSHOTS", tmp_path))
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.add_init_script("window.IS_PLAYWRIGHT = true")
    page.goto(app_address)
    page.wait_for_selector("[data-cy=spotlight-section-forward]")
    page.wait_for_selector("canvas[canvas-loaded=true]")
    assert page.get_by_text("audit: flagged").first.is_visible()
    assert page.get_by_text(f"{len(flagged)} samples").first.is_visible()
    panel = page.locator("[data-cy='panel-content-label_audit']")
    panel.locator("[data-cy=review] img").first.wait_for()  # beside the grid, without a click
    start = panel.locator("[data-cy=start]")
    start.wait_for()
    assert [line[:3] for line in start.inner_text().splitlines()] == ["1. ", "2. ", "3. "]
    page.screenshot(path=folder / "app-flagged.png")
    assert page.locator("[data-cy='sidebar-group-label audit (audit)-field']").is_visible()
    for field in (FIELDS | INJECTION_FIELDS) - {"audit_decisions"}:
        assert page.locator(f"[data-cy=sidebar-field-{field}]").is_visible()
    page.close()
    assert (folder / "app-flagged.png").stat().st_size > 10_000


@pytest.fixture
def reviewing(dataset: fo.Dataset, app_address: str, browser: Browser, tmp_path: Path) -> Iterator[AppWindow]:
    """A window with the panel open, on samples that nobody has decided on."""
    dataset.reload()
    while undo_last(dataset, "audit"):
        pass
    window = AppWindow(browser, app_address, tmp_path)
    window.open_panel()
    window.panel.locator("[data-cy=review] img").wait_for()
    window.settle()
    window.page.evaluate(KEPT)
    yield window
    window.page.close()


def standing(dataset: fo.Dataset) -> list[dict[str, Any]]:
    """The decisions that were not taken back."""
    return [entry for entry in decisions(dataset, "audit") if entry["undone_at"] is None]


def path_of(source: str) -> str:
    return unquote(source.split("filepath=", 1)[1])


def test_a_dataset_without_an_audit_opens_the_form_and_a_running_audit_can_be_stopped(
    dataset_name: Callable[[str], str], browser: Browser, tmp_path: Path
) -> None:
    """The pictures are kept where INFLUENCE_AUDIT_SCREENSHOTS names a folder."""
    new = sixty_digits(dataset_name("not audited"))
    fields = list(new.get_field_schema())
    folder = Path(os.environ.get("INFLUENCE_AUDIT_SCREENSHOTS", tmp_path))
    with served(new.name, tmp_path / "console.log") as address:
        window = AppWindow(browser, address, folder)
        form = window.form()
        form.get_by_text("Label field").first.wait_for()
        window.settle()
        window.page.screenshot(path=folder / "app-new.png")
        form.get_by_text("More settings").click()
        form.locator("input[value='auto']").fill("bundled")
        window.settle()
        form.get_by_role("button", name="Audit labels", exact=True).first.click()
        stop = window.page.get_by_role("button", name="Stop the audit").first
        stop.wait_for()
        window.page.screenshot(path=folder / "app-stop.png")
        stop.click()
        window.sees("audit 'audit' was stopped; nothing was written")
        window.page.reload()  # the form is offered once, and not again and again
        window.panel.get_by_text("No audit yet").wait_for()
        window.settle()
        assert not window.page.locator("[data-cy=operators-prompt-modal]").count()
    new.reload()
    assert (new.list_runs(), list(new.get_field_schema())) == ([], fields)


def test_ten_decisions_come_before_a_judgement_on_the_audit(reviewing: AppWindow, dataset: fo.Dataset) -> None:
    flagged = len(dataset.match(fo.ViewField("audit_flag") == True))  # noqa: E712
    assert flagged >= LEAST_CHECKED
    judgement = reviewing.panel.get_by_text("decided on since the audit")
    for number in range(1, LEAST_CHECKED):
        reviewing.decide("D")
        reviewing.sees(f"{number} / {flagged} reviewed")
    assert not judgement.count()
    reviewing.decide("D")
    judgement.first.wait_for()
    assert f"Of {LEAST_CHECKED} flags decided on" in judgement.first.inner_text()
    reviewing.page.keyboard.press("Shift+U")
    judgement.first.wait_for(state="hidden")


def test_each_key_decides_on_the_picture_that_was_on_screen(reviewing: AppWindow, dataset: fo.Dataset) -> None:
    page = reviewing.page
    queue = dataset.load_saved_view("audit: to review").values("id")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    keys = "DCDDCDDD"
    for key in keys:
        page.keyboard.press(f"Shift+{key}")
        page.wait_for_timeout(PACE_MILLISECONDS)
    ignored = page.evaluate("reviewQueue.state.early")  # on a busy machine the next picture may come later than the key
    wait_until(lambda: len(standing(dataset)) == len(keys) - ignored)
    made = standing(dataset)
    paths = dict(zip(*dataset.values(["id", "filepath"]), strict=True))
    decided = [entry["sample"] for entry in made]
    assert decided == queue[: len(decided)]
    shown = list(dict.fromkeys(path_of(source) for source in page.evaluate("window.pressed")))
    assert [paths[sample] for sample in decided] == shown[: len(decided)]
    reviewing.sees(f"{len(made)} / {len(queue)} reviewed")
    assert len(asked) <= 2 * len(keys)  # no storm: the decisions, and what refills the queue
    page.keyboard.press("Shift+U")
    reviewing.sees("Undone: 1 sample")
    assert len(standing(dataset)) == len(made) - 1


def test_a_key_that_comes_before_the_picture_is_ignored_and_said(reviewing: AppWindow, dataset: fo.Dataset) -> None:
    page = reviewing.page
    page.evaluate("""() => {
        const press = () => document.body.dispatchEvent(new KeyboardEvent("keydown",
            { code: "KeyD", key: "D", shiftKey: true, bubbles: true }));
        press(); press(); press();
    }""")
    reviewing.sees("That key came before the picture: it was ignored.")
    wait_until(lambda: len(standing(dataset)) > 0)
    reviewing.watch()
    assert len(standing(dataset)) == 1


def test_a_decision_that_is_not_saved_comes_back(reviewing: AppWindow, dataset: fo.Dataset) -> None:
    page = reviewing.page
    picture = reviewing.panel.locator("[data-cy=review] img").first
    first = picture.get_attribute("src")
    page.route("**/operators/execute", lambda route: route.abort())
    page.keyboard.press("Shift+D")
    reviewing.sees("the decision was not saved")
    assert picture.get_attribute("src") == first
    page.unroute("**/operators/execute")
    assert standing(dataset) == []
    page.wait_for_timeout(1500)  # one that comes back is not decided on by a key that was meant for another
    page.keyboard.press("Shift+D")
    wait_until(lambda: len(standing(dataset)) == 1)


def test_a_class_is_one_key_and_any_other_is_typed(reviewing: AppWindow, dataset: fo.Dataset) -> None:
    page = reviewing.page
    first, second, *_ = dataset.load_saved_view("audit: to review").values("id")
    choices = page.evaluate("[...document.querySelectorAll('[data-cy=review] button')].map((one) => one.innerText)")
    wanted = next(text for text in choices if text.startswith("1"))
    page.keyboard.press("1")
    wait_until(lambda: len(standing(dataset)) == 1)
    made = standing(dataset)[0]
    assert made["sample"] == first
    assert made["action"] == ("dismiss" if "(given)" in wanted else "accept")
    reviewing.settle()
    page.keyboard.press("Shift+L")
    page.keyboard.type("nine")  # the field has the focus
    page.keyboard.press("Enter")
    wait_until(lambda: len(standing(dataset)) == 2)
    made = standing(dataset)[1]
    assert (made["sample"], made["action"], made["after"]["corrected"]) == (second, "relabel", "nine")


def test_a_filter_moves_the_panel_to_its_first_unreviewed_sample(reviewing: AppWindow, dataset: fo.Dataset) -> None:
    reviewing.panel.locator("table tbody tr").last.click()
    label = reviewing.panel.locator("table tbody tr").last.locator("td").first.inner_text()
    reviewing.panel.get_by_text(f"class {label}").first.wait_for()
    reviewing.settle()
    given = reviewing.panel.get_by_text("given: ").first
    wait_until(lambda: given.inner_text().startswith(f"given: {label}"))
    reviewing.page.route("**/operators/execute", lose_all_but_the_view)
    reviewing.press("Show all samples")
    wait_until(lambda: reviewing.panel.get_by_text(f"class {label}").count() == 0)  # the panel asks again


def lose_all_but_the_view(route: Route) -> None:
    """Let the page lose what the panel answers, as it may while it shows the dataset anew, until it asks again."""
    asked = route.request.post_data or ""
    if '"again":true' in asked or not re.search('"__method__":"(show_all|on_change_view)"', asked):
        route.continue_()
        return
    answer = route.fetch()
    body = answer.json()
    requests = body["executor"]["requests"]
    body["executor"]["requests"] = [request for request in requests if request["operator_uri"] == "clear_view"]
    route.fulfill(response=answer, json=body)


def test_unsure_is_a_key_and_the_history_says_who_decided(reviewing: AppWindow, dataset: fo.Dataset) -> None:
    first, *_ = dataset.load_saved_view("audit: to review").values("id")
    reviewing.decide("S")
    reviewing.sees("1 sample left open")
    assert [(entry["sample"], entry["action"]) for entry in standing(dataset)] == [(first, "unsure")]
    reviewing.page.keyboard.press("Shift+U")
    reviewing.sees("Undone: 1 sample")
    history = reviewing.panel.locator("[data-cy=history]").first
    history.wait_for()
    assert this_user() in history.inner_text()
    assert "could not say" in history.inner_text()
    assert "(taken back)" in history.inner_text()


def test_buttons_stay_and_the_outline_goes_from_one_sample_to_the_next(
    reviewing: AppWindow, dataset: fo.Dataset
) -> None:
    def places() -> list[Any]:
        names = ("Accept suggestion", "Dismiss", "Unsure", "Next")
        return [reviewing.panel.get_by_role("button", name=name).first.bounding_box() for name in names]

    order = {sample.filepath: number for number, sample in enumerate(opening_view(dataset.name))}
    grid = "all => all.flatMap((one, number) => one.hasAttribute('data-on-screen') ? [number] : [])"
    before = places()
    for key in "DSCA":
        reviewing.decide(key)
        reviewing.settle()
        assert places() == before
        shown = reviewing.panel.locator("[data-cy=review] img").first.get_attribute("src")
        assert shown is not None
        assert reviewing.page.locator(GRID_IMAGES).evaluate_all(grid) == [order[path_of(shown)]]  # outlined there
    reviewing.page.keyboard.press("Shift+U")
    reviewing.settle()
    assert places() == before


def test_a_class_pair_is_decided_on_a_contact_sheet_and_taken_back(reviewing: AppWindow, dataset: fo.Dataset) -> None:
    reviewing.press("Decide in batches")
    pair = reviewing.panel.locator("[data-cy=pairs] button").first
    text = pair.inner_text()
    pair.click()
    sheet = reviewing.panel.locator("[data-cy=sheet] img")
    sheet.first.wait_for()
    shown = sheet.count()
    assert text.endswith(f"({shown})")
    sheet.first.click()
    assert sheet.first.get_attribute("alt") == "excepted"
    reviewing.page.keyboard.press("Shift+D")  # keys decide on one picture on screen, and here are several
    suggested = text.split(" → ")[1].split(" (")[0]
    reviewing.press(f"All are {suggested} ({shown - 1})")
    wait_until(lambda: len(standing(dataset)) == shown - 1)
    assert {entry["action"] for entry in standing(dataset)} == {"accept"}
    assert {entry["after"]["corrected"] for entry in standing(dataset)} == {suggested}
    reviewing.panel.get_by_role("button", name=f"All are {suggested} (1)").wait_for()  # the exception is left
    reviewing.press("Undo last")
    wait_until(lambda: not standing(dataset))
    reviewing.panel.get_by_role("button", name=f"All are {suggested} ({shown})").wait_for()
    reviewing.press("Back")
    reviewing.panel.locator("[data-cy=review] img").first.wait_for()


def test_a_decided_sample_has_a_badge_and_the_log_has_the_reviewers_name(
    reviewing: AppWindow, dataset: fo.Dataset
) -> None:
    reviewing.press(f"Reviewer: {this_user()}")
    team = reviewing.panel.locator("[data-cy=team]").first
    team.get_by_label("Reviewer", exact=True).fill("Ada")
    reviewing.page.keyboard.press("Enter")
    team.get_by_role("button", name="Hide").click()
    reviewing.panel.get_by_role("button", name="Reviewer: Ada").wait_for()
    reviewing.decide("D")
    wait_until(lambda: len(standing(dataset)) == 1)
    assert standing(dataset)[0]["by"] == "Ada"
    reviewing.page.locator(GRID_IMAGES).filter(has_text="right").first.wait_for()


def test_a_cell_of_the_class_matrix_shows_its_samples_in_the_grid(reviewing: AppWindow, dataset: fo.Dataset) -> None:
    reviewing.press("Class matrix")
    cell = reviewing.panel.locator("[data-cy=matrix] button:not([disabled])").first
    cell.wait_for()
    count = int(cell.inner_text())
    cell.click()
    reviewing.page.wait_for_function(f"document.querySelectorAll('{GRID_IMAGES}').length == {count}")
    reviewing.panel.get_by_text(re.compile("^class .* → ")).first.wait_for()
    assert "view=audit-" in reviewing.page.url  # a view with a name
    reviewing.panel.locator("[data-cy=matrix] button[aria-pressed=true]").first.click()
    reviewing.panel.get_by_text(re.compile("^class .* → ")).first.wait_for(state="hidden")
    reviewing.press("Hide matrix")


def test_the_wheel_zooms_the_picture_and_the_key_does(reviewing: AppWindow, dataset: fo.Dataset) -> None:
    picture = reviewing.panel.locator("[data-cy=review] img").first
    scale = "image => new DOMMatrix(getComputedStyle(image).transform).a"
    assert picture.evaluate(scale) == 1
    picture.hover()
    reviewing.page.mouse.wheel(0, -300)
    wait_until(lambda: picture.evaluate(scale) > 1)
    picture.dblclick()
    wait_until(lambda: picture.evaluate(scale) == 1)
    assert not reviewing.page.locator("[data-cy=modal]").count()
    reviewing.page.keyboard.press("Shift+Z")
    wait_until(lambda: picture.evaluate(scale) > 1)
    reviewing.decide("D")  # a zoomed picture is on screen, too
    wait_until(lambda: len(standing(dataset)) == 1)
    assert picture.evaluate(scale) > 1
    reviewing.page.keyboard.press("Shift+Z")


def test_the_plan_says_how_much_is_left(reviewing: AppWindow) -> None:
    reviewing.press("How much is left?")
    reviewing.sees("First check the audit")
    reviewing.sees("more decisions, the most suspicious labels first, find 95% of these")


def test_numbers_follow_the_slider_and_are_never_broken(reviewing: AppWindow, dataset: fo.Dataset) -> None:
    slider = reviewing.panel.locator(".MuiSlider-root").first
    place = slider.bounding_box()
    assert place is not None
    slider.click(position={"x": place["width"] * 0.3, "y": place["height"] / 2})
    label = reviewing.panel.get_by_text("Show suspicion of at least 0.3").first
    label.wait_for()
    shown = float(label.inner_text().split("at least ")[1].split(":")[0])
    above = len(dataset.match(fo.ViewField("audit_suspicion") >= shown))
    reviewing.sees(f"at or above {shown:.2f}")
    reviewing.panel.get_by_role("heading", name=f"{above}", exact=True).first.wait_for()
    flagged = [int(text) for text in reviewing.panel.locator("table tbody tr td:nth-child(3)").all_inner_texts()]
    assert sum(flagged) == above
    for width in (1280, 1920):
        reviewing.page.set_viewport_size({"width": width, "height": 1200})
        reviewing.settle()
        heights = reviewing.panel.locator("h5").evaluate_all("all => all.map((one) => one.getClientRects().length)")
        assert set(heights) == {1}
    reviewing.press("Show all samples")


def test_the_panel_stays_open_when_another_view_is_chosen(reviewing: AppWindow, dataset: fo.Dataset) -> None:
    reviewing.page.locator("[data-cy=saved-views-selection]").first.click()
    reviewing.page.locator("[data-cy=saved-views-audit-to-review-selection-option]").click()
    reviewing.page.wait_for_url("**view=audit-to-review**")
    reviewing.settle()
    assert reviewing.panel.is_visible()
    assert reviewing.panel.locator("[data-cy=review] img").first.is_visible()


def test_the_file_that_a_report_saved_is_uploaded_and_taken_back(
    dataset: fo.Dataset, app_address: str, browser: Browser, tmp_path: Path
) -> None:
    """The picture of the form is kept where INFLUENCE_AUDIT_SCREENSHOTS names a folder."""
    ids = dataset.match({"audit_status": "unreviewed"}).limit(2).values("id")
    table = tmp_path / "decisions.csv"
    table.write_text(f"\ufeffid,status\r\n{ids[0]},dismissed\r\n{ids[1]},removed\r\n", encoding="utf-8")
    folder = Path(os.environ.get("INFLUENCE_AUDIT_SCREENSHOTS", tmp_path))
    window = AppWindow(browser, app_address, folder)
    form = window.operate("Import decisions")
    form.locator("input[type=file]").set_input_files(table)
    form.get_by_text("Decisions on 2 samples would be imported").wait_for()
    window.page.screenshot(path=folder / "app-import.png")
    window.submit("Import decisions")
    window.page.get_by_text("Decisions on 2 samples are imported").first.wait_for()
    assert statuses(dataset, ids) == ["dismissed", "removed"]
    window.operate("Undo last decision")
    window.submit("Undo last decision")
    wait_until(lambda: statuses(dataset, ids) == ["unreviewed", "unreviewed"])
    assert window.errors == []
    window.page.close()


def statuses(dataset: fo.Dataset, ids: list[str]) -> list[str]:
    dataset.reload()
    return dataset.select(ids, ordered=True).values("audit_status")
