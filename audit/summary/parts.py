"""What the parts of a summary have in common: types of numbers with their ranges, and how a part becomes JSON."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar, TypeAlias

from annotated_types import Ge, Le

Count = Annotated[int, Ge(0)]
"""How many of something there are."""

Share = Annotated[float, Ge(0.0), Le(1.0)]
"""A share or a probability."""

Positive = Annotated[float, Ge(0.0)]
"""A number that is never negative."""

ClassLabel: TypeAlias = str | int | bool
"""A class: its name, or its number where integers were audited."""

JsonObject: TypeAlias = dict[str, Any]
"""A JSON object at the edge: of a file, of standard output, of the database."""


class Part:
    """A part of a summary.

    Its fields are the keys of the JSON object, and the text below each field says what the key means. A field whose
    name Python reserves ends in an underscore, which the key does not have.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {
        "strict": True,
        "extra": "forbid",
        "allow_inf_nan": False,
        "use_attribute_docstrings": True,
        "alias_generator": lambda name: name.rstrip("_"),
    }


def to_json(value: Any) -> Any:
    """A part of a summary, or a dataclass like it, as JSON values."""
    if dataclasses.is_dataclass(value):
        return {field.name.rstrip("_"): to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {name: to_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return value
