"""Checks a summary against its JSON Schema."""

from __future__ import annotations

import json
from typing import Any

import jsonschema

from audit.result import SUMMARY_SCHEMA

SCHEMA = json.loads(SUMMARY_SCHEMA.read_text(encoding="utf-8"))


def check_summary(summary: dict[str, Any]) -> None:
    """Raise jsonschema.ValidationError where the summary is not what the schema says."""
    jsonschema.validate(summary, SCHEMA, format_checker=jsonschema.FormatChecker())
