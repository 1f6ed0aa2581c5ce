"""summary.json is what its schema says: every key is there, every key is documented."""

from __future__ import annotations

import hashlib
import json
import re
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest

import audit
from audit.result import DIGEST_BYTES
from audit.summary.parts import JsonObject, to_json
from audit.summary.schema import summary_from_json
from audit.summary.summary import CHANGING, SCHEMA_VERSION, Summary
from reports.index import IndexEntry
from tests.made_summary import made_summary
from tests.summary_schema import SCHEMA, check_summary


def as_bytes(summary: Summary) -> bytes:
    return json.dumps(to_json(summary), allow_nan=False).encode()


def test_the_schema_is_one_and_describes_every_key() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["schema"]["const"] == SCHEMA_VERSION
    assert set(CHANGING) <= set(SCHEMA["properties"])
    parts = {"summary": SCHEMA, **SCHEMA["$defs"]}
    assert len(parts) > 20
    for name, part in parts.items():
        assert part["description"], name
        assert part["additionalProperties"] is False, name
        for key, value in part["properties"].items():
            refers_to = SCHEMA["$defs"].get(value.get("$ref", "").removeprefix("#/$defs/"), {})
            text = value.get("description") or refers_to.get("description")
            assert text, f"{name}.{key}"
            assert "\n" not in text, f"{name}.{key}"


def test_the_schema_names_the_keys_of_the_file_and_not_the_attributes() -> None:
    assert set(SCHEMA["properties"]) == set(to_json(made_summary()))
    assert "class" in SCHEMA["$defs"]["ClassInfluence"]["properties"]
    assert SCHEMA["$defs"]["Estimates"]["properties"]["mistakes"]["minimum"] == 0
    assert SCHEMA["$defs"]["AuditConfig"]["properties"]["seed"]["description"].startswith("Seed of")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"inject": 0.1},
        {"inject": 0.1, "trainer": "adam", "damping": 1e-3, "epochs": 3, "inject_strategy": "most-influential"},
        {"engine": "pydvl-direct", "max_review": 3, "validation_trusted": True},
        {"threshold": 1.0},
        {"threshold": 0.0},
    ],
)
def test_the_summary_of_an_audit_of_arrays_fits_and_is_read_back_as_it_was(settings: dict[str, Any]) -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 150)
    x = generator.normal(size=(150, 6)) + np.eye(3, 6)[labels] * 4
    result = audit.audit_embeddings(x.astype(np.float32), labels, config=audit.AuditConfig(**settings))
    check_summary(to_json(result.summary))
    assert summary_from_json(as_bytes(result.summary)) == result.summary
    entry = IndexEntry("source", None, "audit", 0, result.summary)
    assert entry.to_json()["summary"] == json.loads(as_bytes(result.summary))


@pytest.mark.parametrize("classes", [(False, True), (0, 1), ("0", "1"), ("", "true")])
def test_classes_come_back_with_their_type(classes: tuple[Any, ...]) -> None:
    read = summary_from_json(as_bytes(made_summary(classes=classes))).classes
    assert read == classes
    assert [type(label) for label in read] == [type(label) for label in classes]


def without_counts(summary: JsonObject) -> None:
    del summary["counts"]


def without_a_number(summary: JsonObject) -> None:
    del summary["heads"]["given"]["test"]["f1"]


def with_another_key(summary: JsonObject) -> None:
    summary["estimates"]["guess"] = 1


def with_text_for_a_number(summary: JsonObject) -> None:
    summary["counts"]["flagged"] = "3"


def with_half_a_sample(summary: JsonObject) -> None:
    summary["counts"]["samples"] = 10.5


def with_more_than_everything(summary: JsonObject) -> None:
    summary["controls"]["counted_at"] = 1.5


def with_what_is_no_number(summary: JsonObject) -> None:
    summary["threshold"] = float("nan")


def with_an_unknown_setting(summary: JsonObject) -> None:
    summary["config"]["colour"] = "blue"


def with_a_setting_out_of_range(summary: JsonObject) -> None:
    summary["config"]["inject"] = 0.9


def with_null_for_a_part(summary: JsonObject) -> None:
    summary["copies"] = None


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (without_counts, "summary.counts"),
        (without_a_number, "summary.heads.given.test.f1"),
        (with_another_key, "summary.estimates.guess"),
        (with_text_for_a_number, "summary.counts.flagged"),
        (with_half_a_sample, "summary.counts.samples"),
        (with_more_than_everything, "summary.controls.counted_at"),
        (with_what_is_no_number, "summary.threshold"),
        (with_an_unknown_setting, "summary.config.colour"),
        (with_a_setting_out_of_range, "summary.config: inject"),
        (with_null_for_a_part, "summary.copies"),
    ],
)
def test_a_changed_summary_is_refused_in_one_line_that_names_the_key(change: Any, key: str) -> None:
    summary = json.loads(as_bytes(made_summary()))
    change(summary)
    with pytest.raises(ValueError, match=re.escape(key)) as error:
        summary_from_json(json.dumps(summary).encode())
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"summary"', b"\xff"])
def test_what_is_no_summary_is_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(ValueError, match="summary") as error:
        summary_from_json(content)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"schema": 9', '"schema": 7', "has schema 7, this version reads 9; run the audit again"),
        (
            '"flagged": 0',
            '"flagged": "none"',
            "is damaged (ValueError: summary.counts.flagged: ",
        ),
        ('"notes"', '"remarks"', "is damaged (ValueError: summary.notes: "),
    ],
)
def test_a_result_whose_summary_does_not_fit_is_refused_in_one_line(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    empty = pd.DataFrame()
    result = audit.AuditResult(empty, made_summary(), empty, empty, empty, empty)
    folder = result.save(tmp_path / "result")
    assert audit.AuditResult.load(folder).summary == result.summary
    content = (folder / "summary.json").read_bytes()
    assert content.count(old.encode()) >= 1
    changed = content.replace(old.encode(), new.encode(), 1)
    (folder / "summary.json").write_bytes(changed)
    digests = (folder / "manifest.json").read_text()
    was, now = (hashlib.blake2b(text, digest_size=DIGEST_BYTES).hexdigest() for text in (content, changed))
    (folder / "manifest.json").write_text(digests.replace(was, now))
    with pytest.raises(audit.InputError) as error:
        audit.AuditResult.load(folder)
    assert said in str(error.value)
    assert str(error.value).startswith(f"the result in {str(folder)!r} ")
    assert len(str(error.value).splitlines()) == 1


def test_the_module_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_module("audit.summary", run_name="__main__")
    assert json.loads(capsys.readouterr().out) == SCHEMA


def test_a_summary_cannot_be_changed_but_replaced() -> None:
    summary = made_summary()
    with pytest.raises(AttributeError):
        summary.threshold = 0.1  # type: ignore[misc]
    assert replace(summary, threshold=0.1).threshold == 0.1
    assert summary.threshold == 0.5
