"""The subcommand `explain`: why an audit flagged a sample, or did not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from integrations.cli.outputs import check_file, is_heat_map
from integrations.cli.root import cli
from integrations.corrections.output import write_file

if TYPE_CHECKING:
    import pandas as pd

    from audit.result import AuditResult


@cli.command()
def explain(
    result_folder: Annotated[Path, typer.Argument(help="The result folder that `influence-audit run` printed.")],
    sample: Annotated[
        str | None, typer.Argument(help="The sample's id, or the end of its file's path. Not needed with --matrix.")
    ] = None,
    count: Annotated[int, typer.Option(help="Largest number of samples of each kind.", min=1)] = 6,
    heat_map: Annotated[
        Path | None,
        typer.Option(
            help="A .webp file to write a heat map to: where in the image its influence comes from.", dir_okay=False
        ),
    ] = None,
    matrix: Annotated[
        Path | None,
        typer.Option(
            help="A .npy file for the influence of every training sample (columns) on every validation sample (rows). "
            "Their ids are written beside it, as .parquet.",
            dir_okay=False,
        ),
    ] = None,
) -> None:
    """Show which training samples speak for and against a sample's label, and which validation samples it harms."""
    from audit.errors import InputError
    from audit.result import AuditResult

    if sample is None and heat_map is not None:
        raise InputError("--heat-map draws the image of one sample; give its id, too")
    if sample is None and matrix is None:
        raise InputError("no sample was given; give its id, or --matrix FILE.npy")
    if heat_map is not None:
        check_file(heat_map, is_heat_map, "heat map", "--heat-map")
    result = AuditResult.load(result_folder)
    if sample is not None:
        _explain_sample(result, _identified(result.scores, sample), count, heat_map)
    if matrix is not None:
        _write_matrix(result, matrix)


def _write_matrix(result: AuditResult, path: Path) -> None:
    from rich.console import Console

    from audit.explain.matrix import influence_matrix
    from audit.explain.matrix_file import ids_path
    from integrations.cli.terminal import StageDisplay

    with StageDisplay(Console(stderr=True)) as display:
        values = influence_matrix(result, to=path, progress=display)
    rows, columns = values.shape
    print(f"matrix: {path.resolve()}: {rows} validation samples (rows) × {columns} training samples (columns)")
    print(f"ids of rows and columns: {ids_path(path).resolve()}")


def _explain_sample(result: AuditResult, sample_id: str, count: int, heat_map: Path | None) -> None:
    from rich.console import Console

    from audit.explain.samples import ResultExplainer
    from integrations.cli.terminal import StageDisplay

    with StageDisplay(Console(stderr=True)) as display:
        explainer = ResultExplainer(result, display)
    row = result.scores.loc[sample_id]
    console = Console()
    console.print(
        f"{sample_id} is labelled {row['label']!r}, suspicion {row['suspicion']:.3f}; "
        f"the audit suggests {row['suggested_label']!r} ({row['suggested_probability']:.3f})",
        highlight=False,
        markup=False,
    )
    for name, same_class in (("all training samples", False), (f"training samples of {row['label']!r}", True)):
        table = explainer.explain(sample_id, count, same_class)
        for kind, meaning in (("helpful", "speak for"), ("harmful", "speak against")):
            _print(console, f"Of {name}, these {meaning} the label", table[table["kind"] == kind], result.scores)
    _print(console, "Validation samples that it harms", explainer.harms(sample_id, count), result.scores)
    if heat_map is not None:
        write_file(heat_map, explainer.drawn_heat_map(sample_id), "--heat-map")
        print(f"heat map: {heat_map.resolve()}")


def _identified(scores: pd.DataFrame, sample: str) -> str:
    """The id of the sample that the user means, by its id or the end of its path.

    Raises:
        InputError: if there is none or there are several.
    """
    from audit.errors import InputError

    if sample in scores.index:
        return sample
    ends = [isinstance(path, str) and path.endswith(sample) for path in scores["filepath"]]
    found = scores.index[ends]
    if len(found) != 1:
        problem = (
            f"is ambiguous: the paths of {len(found)} files end with it"
            if len(found)
            else "is not in this result: it is no sample's id, and no file's path ends with it"
        )
        raise InputError(f"sample {sample!r} {problem}; give an id of scores.csv")
    return str(found[0])


def _print(console: object, title: str, table: pd.DataFrame, scores: pd.DataFrame) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    assert isinstance(console, Console)
    console.print(f"{title}:{'' if len(table) else ' none'}", highlight=False, markup=False)
    shown = Table(box=box.SIMPLE)
    for name in ("sample", "label", "influence", "file"):
        shown.add_column(name, justify="right" if name == "influence" else "left")
    for row in table.itertuples():
        path = scores["filepath"].get(row.neighbour)
        shown.add_row(
            escape(str(row.neighbour)),
            escape(str(row.label)),
            f"{row.influence:+.3f}",
            escape(Path(path).name if isinstance(path, str) else ""),
        )
    if len(table):
        console.print(shown)
