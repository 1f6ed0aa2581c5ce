"""Reading a summary, and its JSON Schema: both follow from the dataclasses, by pydantic."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from audit.config import help_of
from audit.summary.parts import JsonObject, Part
from audit.summary.summary import Summary

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@cache
def _adapter() -> TypeAdapter[Summary]:
    from pydantic import TypeAdapter  # takes a tenth of a second, which only readers pay for

    return TypeAdapter(Summary)


def summary_from_json(content: bytes) -> Summary:
    """Read what `to_json` made of a summary.

    Raises:
        ValueError: if it is no JSON, a key is missing or unknown, or a value has another type or range; the message
            is one line, and names the key.
    """
    from pydantic import ValidationError

    try:
        return _adapter().validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, ("summary", *first["loc"])))
        reason = first["msg"].removeprefix("Value error, ")  # before what a setting says of its range
        raise ValueError(f"{place}: {reason}") from None


def summary_schema() -> JsonObject:
    """The JSON Schema (2020-12) of summary.json: each key with its type, its range and what it means."""
    from pydantic.json_schema import GenerateJsonSchema

    class WithoutTitles(GenerateJsonSchema):
        def field_title_should_be_set(self, schema: object) -> bool:
            return False

    schema = _adapter().json_schema(mode="serialization", schema_generator=WithoutTitles)
    for name, setting in schema["$defs"]["AuditConfig"]["properties"].items():
        setting["description"] = help_of(name)
    _inherit_descriptions(schema["$defs"], Part)
    schema["title"] = "summary.json of an influence-audit result"
    return {"$schema": GenerateJsonSchema.schema_dialect, **_in_one_line(schema)}


def _inherit_descriptions(definitions: JsonObject, base: type[Part]) -> None:
    """Give inherited keys the description that they have in the base class, of which pydantic reads the own ones."""
    described = definitions.get(base.__name__, {}).get("properties", {})
    for made in base.__subclasses__():
        for key, value in definitions.get(made.__name__, {}).get("properties", {}).items():
            if key in described:
                value.setdefault("description", described[key]["description"])
        _inherit_descriptions(definitions, made)


def _in_one_line(value: Any) -> Any:
    """A schema whose descriptions are the first paragraph of their docstring, in one line."""
    if isinstance(value, list):
        return [_in_one_line(item) for item in value]
    if not isinstance(value, dict):
        return value
    plain = {name: _in_one_line(item) for name, item in value.items()}
    if isinstance(plain.get("description"), str):
        plain["description"] = " ".join(plain["description"].split("\n\n")[0].split())
    return plain
