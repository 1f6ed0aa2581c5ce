"""The contact sheet of a verification sample: a page on which a reviewer decides picture after picture, blind."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from audit.errors import first_line
from audit.files.spreadsheet import safe_cell
from audit.images.decoding import decode_image
from audit.result import AuditResult
from audit.summary.parts import JsonObject
from audit.verification.decision_file import COLUMNS
from reports.page import asset, environment, policy, write_page


@dataclass(frozen=True, kw_only=True)
class SheetSettings:
    """How large the pictures of the sheet are."""

    # Pixels, of the longest side of a picture: enough to judge it.
    side: int = 512
    # Pictures, from which on they are embedded smaller, so that a browser can hold the page.
    many: int = 200
    side_of_many: int = 320
    # Of WebP.
    quality: int = 85
    # Pixels, up to which enlarging a picture would blur what there is to see.
    small: int = 40


SETTINGS = SheetSettings()


@dataclass(frozen=True)
class SheetPicture:
    """A picture to be decided.

    Attributes:
        id: of the sample.
        number: its place in the sheet, from 1.
        label: the given label.
        file: the name of its file; empty where there is none.
        image: a data URL; None where there is no picture.
        small: whether the picture is so small that its pixels are shown as squares.
        problem: why there is no picture, or only a small one, in a sentence; empty where all is well.
    """

    id: str
    number: int
    label: str
    file: str
    image: str | None
    small: bool
    problem: str


def write_verification_sheet(result: AuditResult, decisions: pd.DataFrame, path: str | Path, command: str) -> Path:
    """Write the sheet. It is one self-contained file that works offline.

    Args:
        result: of the audit.
        decisions: the table of `audit.verification.decision_file.decision_table`.
        path: the HTML file.
        command: that reads the decisions back, to be shown on the page.

    Raises:
        InputError: if the file cannot be written.
    """
    return write_page(render_verification_sheet(result, decisions, command), path)


def render_verification_sheet(result: AuditResult, decisions: pd.DataFrame, command: str) -> str:
    """The sheet as HTML text; its arguments are those of `write_verification_sheet`."""
    drawn = decisions[decisions["order"].notna()]
    pictures = sheet_pictures(result, drawn)
    style = asset("report.css") + "\n" + asset("verify.css")
    source = result.summary.source
    return (
        environment()
        .get_template("verify.html.j2")
        .render(
            title="Check the audit",
            pictures=pictures,
            without_picture=sum(picture.image is None for picture in pictures),
            dataset=source.dataset if source else None,
            samples=result.summary.counts.samples,
            command=command,
            page=_page_values(result, decisions, drawn),
            style=style,
            theme_script=asset("theme.js"),
            verify_script=asset("verify.js"),
            policy=policy([asset("theme.js"), asset("verify.js")], style),
        )
    )


def sheet_pictures(result: AuditResult, drawn: pd.DataFrame) -> list[SheetPicture]:
    """The pictures in the order to decide them."""
    thumbnails = result.thumbnails["image"].to_dict() if len(result.thumbnails) else {}
    thumbnails = {str(name): image for name, image in thumbnails.items()}
    side = SETTINGS.side if len(drawn) <= SETTINGS.many else SETTINGS.side_of_many
    return [
        _picture(str(name), number, row["label"], row["file"], thumbnails.get(str(name)), side)
        for number, (name, row) in enumerate(drawn.iterrows(), 1)
    ]


def _picture(name: str, number: int, label: str, file: str, thumbnail: object, side: int) -> SheetPicture:
    problem = "The audit was given no picture of this sample."
    if file:
        try:
            url, small = _embedded(file, side)
        except (OSError, ValueError, SyntaxError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
            problem = f"The picture cannot be read ({reason})."
        else:
            return SheetPicture(name, number, label, Path(file).name, url, small, "")
    if isinstance(thumbnail, bytes):
        problem = f"{problem} This is the small picture that the audit kept."
        return SheetPicture(name, number, label, Path(file).name, _url(thumbnail), False, problem)
    return SheetPicture(name, number, label, file, None, False, problem)


def _embedded(file: str, side: int) -> tuple[str, bool]:
    """The picture of a file as a data URL, and whether it is very small."""
    from PIL.Image import Resampling

    picture = decode_image(file)
    small = max(picture.size) <= SETTINGS.small
    picture.thumbnail((side, side), Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=SETTINGS.quality, lossless=small)
    return _url(buffer.getvalue()), small


def _url(webp: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(webp).decode('ascii')}"


def _page_values(result: AuditResult, decisions: pd.DataFrame, drawn: pd.DataFrame) -> JsonObject:
    """What the script needs: the rows of the file to fill in, and the classes. Nothing that the audit thinks of them.

    The cells are safe for a spreadsheet already; the script only puts decisions in between.
    """
    cells = [
        [str(safe_cell("" if pd.isna(value) else str(value))) for value in (name, *row)]
        for name, row in zip(decisions.index, decisions[list(COLUMNS)].itertuples(index=False), strict=True)
    ]
    return {
        "header": ["id", *COLUMNS],
        "rows": cells,
        "drawn": len(drawn),
        "classes": [_named(label) for label in result.summary.classes],
        "class_cells": [str(safe_cell(str(label))) for label in result.summary.classes],
        "key": f"{decisions['audit'].iloc[0]}-{decisions['seed'].iloc[0]}" if len(decisions) else "",
    }


def _named(label: object) -> str:
    return str(label) if str(label).strip() else "(empty)"
