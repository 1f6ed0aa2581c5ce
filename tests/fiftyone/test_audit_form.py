"""The form of an audit: which labels it offers, what it says of others, and the key that it proposes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import Executor

from integrations.fiftyone.label_fields import COPY_OF, label_fields
from integrations.fiftyone.plugin_install import PLUGIN
from tests.fiftyone.panel_window import opened
from tests.sixty_digits import audited_digits, sixty_digits

pytestmark = pytest.mark.usefixtures("plugin_installed")

Names = Callable[[str], str]
AUDIT = f"{PLUGIN}/audit_labels"


def form(dataset: fo.Dataset, **params: Any) -> dict[str, Any]:
    """The properties of the form, as the App gets them."""
    request = {"dataset_name": dataset.name, "operator_uri": AUDIT, "params": params}
    ctx = foo.ExecutionContext(request, Executor(), operator_uri=AUDIT)
    found = foo.get_operator(AUDIT).resolve_input(ctx).to_json()
    return found["type"]["properties"]


def said(properties: dict[str, Any]) -> str:
    return json.dumps(properties, ensure_ascii=False)


def without_labels(name: str, **fields: Any) -> fo.Dataset:
    """Six samples whose fields are made from their number."""
    dataset = fo.Dataset(name)
    samples = [
        fo.Sample(f"/nowhere/{number}.png", **{field: make(number) for field, make in fields.items()})
        for number in range(6)
    ]
    dataset.add_samples(samples, progress=False)
    return dataset


def box(number: int) -> fo.Detections:
    detection = fo.Detection(label=f"class {number % 2}", bounding_box=[0, 0, 1, 1])
    return fo.Detections(detections=[detection])


def test_the_form_proposes_the_audit_of_these_labels_again_and_a_free_key_for_others(dataset_name: Names) -> None:
    dataset = sixty_digits(dataset_name("audited twice"))
    assert form(dataset)["audit_key"]["default"] == "audit"
    dataset.delete()
    dataset = audited_digits("audited twice")
    again = form(dataset)
    assert again["audit_key"]["default"] == "audit"
    assert again["replace"]["default"] is True
    assert not again["replace"]["invalid"]
    assert "they are audited again" in said(again)
    assert "for example 'audit_2'" in said(again)
    refused = form(dataset, audit_key="audit", replace=False)
    assert refused["replace"]["invalid"]
    dataset.clone_sample_field("ground_truth", "second_opinion")
    other = form(dataset, label_field="second_opinion")
    assert other["audit_key"]["default"] == "audit_2"
    assert "replace" not in other
    typed = form(dataset, label_field="second_opinion", audit_key="audit")
    assert "replace" not in typed  # the audit of another field is never replaced, with its decisions
    assert typed["audit_key"]["invalid"]
    assert "is of the field 'ground_truth'" in typed["audit_key"]["error_message"]


def test_audit_again_in_the_panel_names_the_field_that_the_labels_came_from(dataset_name: Names) -> None:
    dataset = audited_digits(dataset_name("audited text"))
    field = dataset.get_field("ground_truth")
    dataset.add_sample_field("name", fo.StringField)
    field.info = {COPY_OF: "name"}
    field.save()
    window = opened(dataset)
    window.event("prompt", operator="audit_labels")
    (params,) = (request for uri, request in window.triggered.items() if uri == "prompt_user_for_operation")
    assert params["params"]["label_field"] == "name"
    assert label_fields(dataset) == ["name", "source_label"] or label_fields(dataset) == ["name"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda number: f"class {number % 2}", None),
        (lambda number: fo.Classification(label=f"class {number % 2}"), None),
        (lambda number: fo.Classifications(classifications=[fo.Classification(label=f"class {number % 2}")]), None),
        (box, "is a Detections; make a picture of each box in Python: import fiftyone"),
        (lambda number: number % 2, "is a IntField; make one in Python: import fiftyone"),
        (lambda number: [f"class {number % 2}"], "is a ListField; make one in Python: import fiftyone"),
        (lambda number: fo.Regression(value=number), "is a Regression"),
        (lambda number: f"a picture of its own: {number}", "of which fewer than two have 3 samples"),
        (
            lambda number: fo.Classifications(classifications=[fo.Classification(label=text) for text in "ab"]),
            "6 samples have several labels in field 'mark'",
        ),
    ],
    ids=["text", "classification", "classifications", "boxes", "number", "list", "regression", "captions", "several"],
)
def test_labels_of_every_kind_are_offered_or_explained(
    dataset_name: Names, value: Callable[[int], Any], message: str | None
) -> None:
    dataset = without_labels(dataset_name("labels of a kind"), mark=value)
    found = form(dataset)
    if message is None:
        assert found["label_field"]["default"] == "mark"
        assert "problem" not in said(found)
        return
    assert message in said(found)
    problems = [one for one in found.values() if one["invalid"]]
    assert problems
    assert all("\n" not in one["error_message"] for one in problems)


def test_what_is_not_offered_beside_other_labels_is_said(dataset_name: Names) -> None:
    dataset = without_labels(
        dataset_name("labels and boxes"),
        mark=lambda number: fo.Classification(label=f"class {number % 2}"),
        boxes=box,
        width=lambda number: number,
    )
    about = said(form(dataset)["label_field"])
    assert "'boxes' (Detections)" in about
    assert "width" not in about


def test_a_dataset_of_nothing_is_explained(dataset_name: Names) -> None:
    assert "label some images first" in said(form(without_labels(dataset_name("no labels"))))
