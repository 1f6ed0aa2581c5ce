"""Tasks for Label Studio: JSON to import, and the labelling configuration that belongs to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from integrations.annotation.flagged import FlaggedPicture, flagged_pictures

if TYPE_CHECKING:
    from audit.result import AuditResult

CONTROL, PICTURE = "label", "image"
"""Names of the tags in the labelling configuration."""


def label_studio_tasks(result: AuditResult) -> list[dict[str, Any]]:
    """A task for each flagged sample, with the suggested label as its prediction.

    Label Studio serves the pictures from the files of its machine, with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true
    and LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=/. The format: https://labelstud.io/guide/tasks and /guide/predictions.

    Raises:
        InputError: if nothing is flagged, or the pictures are no files that are there.
    """
    return [_task(picture) for picture in flagged_pictures(result)]


def label_studio_configuration(classes: Sequence[object]) -> str:
    """The labelling configuration: the picture, the given label, and a choice of one class."""
    choices = "\n".join(f"    <Choice value={quoteattr(str(name))}/>" for name in classes)
    return (
        "<View>\n"
        f'  <Image name="{PICTURE}" value="$image"/>\n'
        '  <Header value="given label: $given_label"/>\n'
        f'  <Choices name="{CONTROL}" toName="{PICTURE}" choice="single" required="true">\n{choices}\n  </Choices>\n'
        "</View>\n"
    )


def as_json(tasks: Sequence[dict[str, Any]]) -> bytes:
    """The tasks as a file."""
    return json.dumps(list(tasks), indent=2, ensure_ascii=False).encode("utf-8", errors="replace") + b"\n"


def _task(picture: FlaggedPicture) -> dict[str, Any]:
    chosen = {
        "from_name": CONTROL,
        "to_name": PICTURE,
        "type": "choices",
        "value": {"choices": [picture.suggested]},
    }
    return {
        "data": {
            "image": f"/data/local-files/?d={quote(picture.file.lstrip('/'))}",
            "key": picture.key,
            "given_label": picture.given,
            "suspicion": round(picture.suspicion, 6),
        },
        "predictions": [
            {"model_version": "influence-audit", "score": round(picture.probability, 6), "result": [chosen]}
        ],
    }
