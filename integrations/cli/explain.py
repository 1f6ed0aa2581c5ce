"""The subcommand `explain`: why an audit flagged a sample, or did not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audit.errors import InputError
from audit.explain.matrix_path import checked_path, ids_path
from integrations.cli.exit_codes import print_json, standard_output_for_json
from integrations.cli.first_line import FirstLine, Quiet
from integrations.cli.outputs import check_file, check_page, is_heat_map, open_page
from integrations.cli.result_place import RESULT_HELP, RESULT_NAME, result_folder
from integrations.cli.root import cli
from integrations.corrections.output import write_file

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from audit.explain.samples import ResultExplainer
    from audit.result import AuditResult
    from reports.explained import ExplainedSample, NeighbourGroup

PAGE_FILE = "explanation.html"


@cli.command()
def explain(
    what: Annotated[str, typer.Argument(help=RESULT_HELP, metavar=RESULT_NAME)],
    sample: Annotated[
        str | None,
        typer.Argument(
            help="The sample's id, or the end of its file's path. Not needed with --matrix.", metavar="SAMPLE"
        ),
    ] = None,
    count: Annotated[int, typer.Option(help="Largest number of samples of each kind.", min=1)] = 6,
    page: Annotated[
        Path | None,
        typer.Option(help="An HTML file to write with the pictures of these samples.", dir_okay=False),
    ] = None,
    open: Annotated[
        bool, typer.Option("--open", help="Open the page in a browser; without --page it is written beside the result.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print these samples as JSON on standard output, all else on standard error.")
    ] = False,
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
    quiet: Quiet = False,
) -> None:
    """Show which training samples speak for and against a sample's label, and which validation samples it harms."""
    for option, wanted in (("--heat-map", heat_map), ("--page", page), ("--open", open), ("--json", as_json)):
        if sample is None and wanted:
            raise InputError(f"{option} is of one sample; give its id, too")
    if sample is None and matrix is None:
        raise InputError("no sample was given; give its id, or --matrix FILE.npy")
    begin = FirstLine(f"explaining {what!r}" if sample is None else f"explaining {sample!r} of {what!r}", quiet)
    folder = result_folder(what, begin)
    page = page or (folder / PAGE_FILE if open else None)
    _check_outputs(heat_map, page, matrix)
    begin()
    from audit.result import AuditResult

    result = AuditResult.load(folder)
    with standard_output_for_json(as_json):
        if sample is not None:
            _explain_sample(
                result, _identified(result.scores, sample), count, Outputs(heat_map, page, open, as_json, quiet)
            )
        if matrix is not None:
            _write_matrix(result, matrix, quiet)


def _check_outputs(heat_map: Path | None, page: Path | None, matrix: Path | None) -> None:
    """Refuse files that cannot be written, before anything slow."""
    if heat_map is not None:
        check_file(heat_map, is_heat_map, "heat map", "--heat-map")
    if page is not None:
        check_page(page, "--page")
    if matrix is not None:
        checked_path(matrix)


@dataclass(frozen=True)
class Outputs:
    """Where the explanation of a sample goes, beside the terminal.

    Attributes:
        heat_map: a WebP file; None for none.
        page: an HTML file; None for none.
        open: whether the page is opened.
        json: whether it is printed as JSON.
        quiet: whether progress is not shown.
    """

    heat_map: Path | None
    page: Path | None
    open: bool
    json: bool
    quiet: bool = False


def _write_matrix(result: AuditResult, path: Path, quiet: bool) -> None:
    from rich.console import Console

    from audit.explain.matrix import influence_matrix
    from integrations.cli.terminal import StageDisplay, Verbosity

    with StageDisplay(Console(stderr=True), Verbosity(quiet)) as display:
        values = influence_matrix(result, to=path, progress=display)
    rows, columns = values.shape
    print(f"matrix: {path.resolve()}: {rows} validation samples (rows) × {columns} training samples (columns)")
    print(f"ids of rows and columns: {ids_path(path).resolve()}")


def _explain_sample(result: AuditResult, sample_id: str, count: int, outputs: Outputs) -> None:
    """Print the explanation of a sample, and write what was asked for."""
    from rich.console import Console

    from audit.explain.samples import ResultExplainer
    from audit.summary.parts import to_json
    from integrations.cli.terminal import StageDisplay, Verbosity
    from reports.explained import explained_sample, write_explanation

    with StageDisplay(Console(stderr=True), Verbosity(outputs.quiet)) as display:
        explainer = ResultExplainer(result, display)
    explained = explained_sample(result, sample_id, list(_groups(explainer, sample_id, count, result.scores)))
    _print(Console(stderr=outputs.json), explained)
    map_of_influence = explainer.drawn_heat_map(sample_id) if outputs.heat_map is not None else None
    written: dict[str, str] = {}
    if outputs.heat_map is not None and map_of_influence is not None:
        write_file(outputs.heat_map, map_of_influence, "--heat-map")
        written["heat_map"] = str(outputs.heat_map.resolve())
    if outputs.page is not None:
        written["page"] = str(write_explanation(result, explained, outputs.page, map_of_influence).resolve())
    for name, path in written.items():
        print(f"{name.replace('_', ' ')}: {path}")
    if outputs.json:
        print_json(to_json(explained) | written)
    if outputs.open and outputs.page is not None:
        open_page(outputs.page)


def _groups(explainer: ResultExplainer, sample_id: str, count: int, scores: pd.DataFrame) -> Iterator[NeighbourGroup]:
    """The samples that speak for and against the label, and those that are harmed."""
    from reports.explained import AMONG_ALL, AMONG_LABEL, HARMED, group_of

    label = scores.at[sample_id, "label"]
    for among, name in ((AMONG_ALL, "all training samples"), (AMONG_LABEL, f"training samples of {label!r}")):
        table = explainer.explain(sample_id, count, among == AMONG_LABEL)
        for kind, meaning in (("helpful", "speak for"), ("harmful", "speak against")):
            title = f"Of {name}, these {meaning} the label"
            yield group_of(among, kind, title, table[table["kind"] == kind], scores)
    title = "Validation samples that it harms"
    yield group_of(HARMED, "harmed", title, explainer.harms(sample_id, count), scores)


def _identified(scores: pd.DataFrame, sample: str) -> str:
    """The id of the sample that the user means, by its id or the end of its path.

    Raises:
        InputError: if there is none or there are several.
    """
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


def _print(console: Console, explained: ExplainedSample) -> None:
    """Show an explanation in the terminal."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    console.print(
        f"{explained.id} is labelled {explained.label!r}, suspicion {explained.suspicion:.3f}; "
        f"the audit suggests {explained.suggested_label!r} ({explained.suggested_probability:.3f})",
        highlight=False,
        markup=False,
    )
    for group in explained.groups:
        console.print(f"{group.title}:{'' if group.samples else ' none'}", highlight=False, markup=False)
        shown = Table(box=box.SIMPLE)
        for name in ("sample", "label", "influence", "file"):
            shown.add_column(name, justify="right" if name == "influence" else "left")
        for one in group.samples:
            name = escape(Path(one.filepath).name) if one.filepath else ""
            shown.add_row(escape(one.id), escape(one.label), f"{one.influence:+.3f}", name)
        if group.samples:
            console.print(shown)
