"""What the App says of an audit's numbers: the report's words, and what accepting unseen comes to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import ExecutionContext

from audit.summary.parts import to_json
from audit.summary.summary import Summary
from integrations.fiftyone import write_result
from integrations.fiftyone.importing import import_images
from integrations.fiftyone.plugin.claims_shown import NOT_KNOWN, accepting, modelled_cards, too_little
from integrations.fiftyone.plugin_install import PLUGIN, install_plugin
from integrations.sources.digits import digits
from integrations.sources.labelled_images import LabelledImages
from reports.acceptance import acceptance_sentences
from reports.claims import claims_of, claims_to_json
from tests.fiftyone.made_up import made_up_result
from tests.fiftyone.panel_window import Window
from tests.made_statements import accepting as accepted
from tests.made_statements import audited, untold, verified

NATURAL = replace(audited(10_000, (174, 47, 388), (0.75, 0.02, 0.75)), acceptance=accepted(pays_from=0.9))


def stored(summary: Summary) -> dict[str, Any]:
    """What the run of a dataset keeps of a summary, as the database gives it back."""
    parts = {name: to_json(getattr(summary, name)) for name in ("counts", "estimates", "verified")}
    parts |= {"claims": claims_to_json(claims_of(summary)), "accepting": acceptance_sentences(summary)}
    kept: dict[str, Any] = json.loads(json.dumps(parts))
    return kept


def test_the_panel_shows_ranges_as_the_report_does() -> None:
    assert modelled_cards(stored(NATURAL)) == [
        ("47 to 388", "wrong labels, modelled"),
        ("2% to 75%", "of the flags right, modelled"),
    ]
    assert too_little(stored(NATURAL)) == ""
    unknown = stored(untold(NATURAL))
    assert [value for value, _ in modelled_cards(unknown)] == ["any number", "any share"]
    assert too_little(unknown).startswith("Too little to tell: The embeddings predict")
    assert accepting(stored(NATURAL)) == " ".join(acceptance_sentences(NATURAL))
    assert accepting(unknown) == " ".join(acceptance_sentences(untold(NATURAL)))


def test_decisions_take_the_place_of_models() -> None:
    decided = stored(verified(NATURAL, (71, 20, 140), (0.1, 0.05, 0.2)))
    assert modelled_cards(decided) == []
    assert too_little(decided) == ""
    assert accepting({**stored(NATURAL), "verified": decided["verified"]}) == NOT_KNOWN


def test_the_run_of_an_older_audit_has_a_range_and_claims_no_precision() -> None:
    older = {name: part for name, part in stored(NATURAL).items() if name not in ("claims", "accepting")}
    assert modelled_cards(older) == [
        ("47 to 388", "wrong labels, modelled"),
        ("any share", "of the flags right, modelled"),
    ]
    assert accepting(older) == NOT_KNOWN
    assert modelled_cards({}) == []


@pytest.fixture
def dataset(dataset_name: Callable[[str], str]) -> fo.Dataset:
    """Thirty digits with an audit that knows what accepting unseen comes to."""
    install_plugin()
    listed = list(digits(["0", "1", "2"]))[:30]
    name = dataset_name("accepting")
    import_images(LabelledImages("digits", "digits", len(listed), lambda: iter(listed)), name)
    found = fo.load_dataset(name)
    result = made_up_result(found, inject=False)
    known = accepted(pays_from=0.9)
    at_threshold = replace(known.by_threshold[1], threshold=result.summary.threshold)
    acceptance = replace(known, by_threshold=(known.by_threshold[0], at_threshold))
    classes = {"influence_by_class": NATURAL.influence_by_class, "controls": NATURAL.controls}
    result.summary = replace(result.summary, acceptance=acceptance, **classes)
    write_result(found, result)
    return found


def test_whoever_accepts_several_at_once_is_told_what_that_comes_to(dataset: fo.Dataset) -> None:
    expected = "It pays only from a suspicion of 0.90 (20 suggestions)"
    window = Window(dataset)
    window.event("on_load")
    assert window.shows(expected)  # the review in the browser shows it once several samples are selected
    chosen = dataset.values("id")[:4]

    def form(ids: list[str]) -> str:
        opened = {"dataset_name": dataset.name, "params": {"audit_key": "audit", "samples": ids}}
        context = ExecutionContext(request_params=opened)
        return json.dumps(foo.get_operator(f"{PLUGIN}/accept_suggestion").resolve_input(context).to_json())

    assert expected in form(chosen)
    assert expected not in form(chosen[:1])
