"""The pieces that the panel's layouts are made of: rows, columns, buttons, pictures, and text as it is."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from fiftyone.operators import types

FIT = {"item": {"sx": {"width": "auto"}}}  # otherwise everything in a row is as wide as the panel


def row(box: types.Object, name: str, gap: float = 1) -> types.Object:
    """A row that wraps where the panel is narrow; what is in it says `componentsProps=FIT`."""
    return box.grid(name, orientation="2d", gap=gap, align_y="center")


def cards_row(box: types.Object, name: str, count: int) -> types.Object:
    """Side by side, each as wide as its number, fewer in a row where the panel is narrow: numbers are never broken."""
    columns = {
        "display": "flex",
        "flexWrap": "wrap",
        "& > *": {"flex": "1 1 90px", "minWidth": "min-content"},
        "& h5": {"whiteSpace": "nowrap", "my": 0},
    }
    return box.grid(name, orientation="horizontal", columns=count, gap=2, componentsProps={"grid": {"sx": columns}})


def even(count: int) -> dict[str, Any]:
    """Columns that long words in them do not widen: the panel would be wider than its place."""
    return {"grid": {"sx": {"gridTemplateColumns": f"repeat({count}, minmax(0, 1fr))", "overflowWrap": "anywhere"}}}


def button(
    box: types.Object,
    name: str,
    label: str,
    icon: str,
    action: Any,
    variant: str = "outlined",
    disabled: bool = False,
    params: dict[str, Any] | None = None,
) -> None:
    """A button that calls a method of the panel."""
    box.btn(
        name,
        label=label,
        icon=icon,
        variant=variant,
        on_click=action,
        disabled=disabled,
        params=params,
        componentsProps=FIT,
    )


def picture(
    box: types.Object, name: str, filepath: str, alt: str, height: str, action: Any, params: dict[str, Any]
) -> None:
    """An image of the dataset that calls a method of the panel when it is clicked."""
    view = types.ImageView(height=height, alt=alt, operator=action, params=params, cursor=True, componentsProps=FIT)
    box.str(name, default=f"/media?filepath={quote(filepath)}", view=view)


def plain(text: str | None) -> str:
    """Text that Markdown is to show as it is: `<unknown>` and `*` are names of classes, too."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text or "–")
