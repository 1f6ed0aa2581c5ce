"""Write the report's figures as SVG or PNG files, for a paper or a slide."""

from __future__ import annotations

import tempfile
from pathlib import Path

from audit.errors import InputError
from audit.extras import require
from audit.files.storage import replace_file
from audit.result import AuditResult
from reports.plots import fitting_plots

FORMATS = ("svg", "png")
WIDTH = 900  # pixels of the page
SCALE = 2  # pixels of a PNG for each of the page


def write_figures(result: AuditResult, folder: Path, kind: str) -> list[Path]:
    """Write all figures of the result's report to files; existing files are replaced.

    Kaleido draws them in Chrome or Chromium, so they look as in the report.

    Args:
        result: what was found.
        folder: the folder for the files, which are named after the figures.
        kind: 'svg' or 'png'.

    Raises:
        InputError: if the kind is unknown, the extra `figures` is not installed, no browser starts, or the folder
            cannot be written.
    """
    if kind not in FORMATS:
        raise InputError(f"figures cannot be written as {kind!r}; it takes {' or '.join(FORMATS)}")
    require("figures", "writing figures")
    import plotly.io

    plots = fitting_plots(result)
    drawings = [plot.draw(result, theme="light").update_layout(paper_bgcolor="white") for plot in plots]
    with tempfile.TemporaryDirectory() as drawn:
        try:
            plotly.io.write_images(
                drawings,
                [Path(drawn, f"{plot.name}.{kind}") for plot in plots],
                height=[drawing.layout.height for drawing in drawings],
                width=WIDTH,
                scale=SCALE,
            )
        except Exception as error:  # kaleido's errors for a missing browser and for a browser that does not start
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise InputError(f"figures need a Chrome or Chromium to draw them ({reason}); install chromium") from None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return [replace_file(folder / path.name, path.read_bytes()) for path in sorted(Path(drawn).iterdir())]
        except OSError as error:
            raise InputError(f"figures cannot be written to {str(folder)!r} ({error.strerror})") from None
