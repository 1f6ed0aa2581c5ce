"""Make docs/notebook.ipynb: run its cells, and keep what they show. `make notebook` does so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests import ROOT

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"

CELLS = (
    (
        "markdown",
        "# An audit in a notebook\n\nThe pictures are scikit-learn's digits 3, 5 and 8. Every twelfth label is made "
        "wrong, so that there is something to find. Nothing is downloaded. `make notebook` makes this file again.",
    ),
    (
        "code",
        "import audit\nfrom integrations.sources.digits import digits\n\n"
        'pictures = list(digits(["3", "5", "8"]))\n'
        'wrong = {"3": "5", "5": "8", "8": "3"}\n'
        "labels = [wrong[p.label] if row % 12 == 0 else p.label for row, p in enumerate(pictures)]\n"
        "samples = audit.Samples([p.source_id for p in pictures], [p.image for p in pictures], labels)",
    ),
    (
        "markdown",
        "A result shows itself: the verdict, a short table, and the most suspicious pictures with their suggestions.",
    ),
    (
        "code",
        'result = audit.audit_images(samples, audit.AuditConfig(weights="bundled", findings="none"))\nresult',
    ),
    (
        "markdown",
        "`to_frame` gives a table, the most suspicious sample first. [Scores](scores.md) explains each column.",
    ),
    ("code", "result.to_frame().iloc[:5, :6]"),
    ("markdown", "Here the wrong labels are known, so it can be seen how many of them were flagged."),
    (
        "code",
        "changed = {p.source_id for row, p in enumerate(pictures) if row % 12 == 0}\n"
        "flagged = set(result.to_frame(flagged=True).index)\n"
        "others = len(flagged - changed)\n"
        'print(f"{len(flagged & changed)} of {len(changed)} wrong labels are flagged; other flags: {others}")',
    ),
    ("markdown", "`result.show(4)` shows fewer pictures, and opens a browser where there is no notebook."),
    ("code", "result.show(4)"),
)
"""Kind and text of each cell."""


def code_cells() -> list[str]:
    """The code of the notebook, cell by cell."""
    return [text for kind, text in CELLS if kind == "code"]


def make(path: Path = NOTEBOOK) -> None:
    """Run the cells in a kernel, and write the notebook with what they show."""
    import nbformat
    from nbclient import NotebookClient

    notebook: Any = nbformat.v4.new_notebook()
    for number, (kind, text) in enumerate(CELLS):
        made = nbformat.v4.new_code_cell(text) if kind == "code" else nbformat.v4.new_markdown_cell(text)
        made["id"] = f"cell-{number}"  # the same each time
        notebook.cells.append(made)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when it ran
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.validate(notebook)
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


if __name__ == "__main__":
    make()
