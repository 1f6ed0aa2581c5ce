"""Checks a summary against its JSON Schema."""

from __future__ import annotations

from audit.summary.parts import JsonObject
from audit.summary.schema import summary_schema

SCHEMA = summary_schema()


def check_summary(summary: JsonObject) -> None:
    """Raise jsonschema.ValidationError where the summary is not what the schema says."""
    import jsonschema

    jsonschema.validate(summary, SCHEMA, format_checker=jsonschema.FormatChecker())
