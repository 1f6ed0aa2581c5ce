"""summary.json is what its schema says: every key is there, every key is documented."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import numpy as np
import pytest

import audit
from audit.result import CHANGING, SCHEMA_VERSION
from reports.index import IndexEntry
from tests.summary_schema import SCHEMA, check_summary


def test_the_schema_is_one_and_describes_every_key() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["schema"]["const"] == SCHEMA_VERSION
    assert set(CHANGING) <= set(SCHEMA["properties"])

    def described(schema: dict[str, Any], path: str) -> None:
        for name, part in schema.get("properties", {}).items():
            assert "$ref" in part or name in ("true", "given") or part.get("description"), f"{path}.{name}"
            described(part, f"{path}.{name}")
        if "items" in schema:
            described(schema["items"], f"{path}[]")

    for name, part in SCHEMA["$defs"].items():
        described(part, name)
    described(SCHEMA, "summary")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"inject": 0.1},
        {"inject": 0.1, "trainer": "adam", "damping": 1e-3, "epochs": 3, "inject_strategy": "most-influential"},
        {"engine": "pydvl-direct", "max_review": 3, "validation_trusted": True},
        {"threshold": 1.0},
    ],
)
def test_the_summary_of_an_audit_of_arrays_fits(settings: dict[str, Any]) -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 150)
    x = generator.normal(size=(150, 6)) + np.eye(3, 6)[labels] * 4
    result = audit.audit_embeddings(x.astype(np.float32), labels, config=audit.AuditConfig(**settings))
    check_summary(result.summary)
    entry = IndexEntry("source", None, "audit", 0, result.summary)
    assert entry.to_dict()["summary"] == json.loads(json.dumps(result.summary))
