"""The subcommand `verify`: a few pictures are drawn by chance, and decisions on them say how far to trust the audit."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audit.errors import InputError
from integrations.cli.exit_codes import print_json, say, standard_output_for_json
from integrations.cli.first_line import FirstLine, Quiet
from integrations.cli.result_place import RESULT_HELP, RESULT_NAME, result_folder
from integrations.cli.root import cli, quieten_fiftyone

if TYPE_CHECKING:
    import pandas as pd

    from audit.result import AuditResult

DECISIONS_FILE = "verification.csv"
SHEET_FILE = "verification.html"
SIZE = 40
FIFTYONE_PREFIX = "fiftyone:"


Given = Annotated[
    str | None,
    typer.Option(
        help="The filled-in CSV file, or fiftyone:NAME for the decisions that were made on a FiftyOne dataset. "
        f"Default: {DECISIONS_FILE} in the result's folder, where it is filled in."
    ),
]
FromFiftyOne = Annotated[
    bool, typer.Option("--fiftyone", help="Take the decisions from the FiftyOne dataset that the result names.")
]
Size = Annotated[
    int | None,
    typer.Option(
        help=f"Draw this many pictures; default: {SIZE}. A larger sample begins with the smaller one, and "
        "decisions are kept.",
        min=1,
        show_default=False,
    ),
]
Seed = Annotated[int | None, typer.Option(help="Seed of the draw; default: 0.", min=0, show_default=False)]
Classes = Annotated[
    bool, typer.Option("--classes", help="Print the verified number of wrong labels of each class, too.")
]
Reset = Annotated[
    bool, typer.Option("--reset", help="Restore what the audit said before the decisions; these are kept.")
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print the verified numbers as JSON on standard output, all else on standard error."),
]


@cli.command()
def verify(
    what: Annotated[str, typer.Argument(help=RESULT_HELP, metavar=RESULT_NAME)],
    decisions: Given = None,
    fiftyone: FromFiftyOne = False,
    size: Size = None,
    seed: Seed = None,
    classes: Classes = False,
    reset: Reset = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Check an audit with a few decisions: write a sheet of drawn pictures, and read back what a person decided."""
    given = [
        name for name, value in (("--decisions", decisions), ("--fiftyone", fiftyone), ("--reset", reset)) if value
    ]
    if len(given) > 1:
        raise InputError(f"{given[0]} and {given[1]} exclude each other; give one of them")
    if given and (size is not None or seed is not None):
        raise InputError(f"--size and --seed draw a sample, and {given[0]} needs none; leave them out")
    begin = FirstLine(f"checking the audit of {what!r}", quiet)
    folder = result_folder(what, begin)
    begin()
    from audit.result import AuditResult

    result = AuditResult.load(folder)
    with standard_output_for_json(as_json):
        if reset:
            result = _reset(result, folder)
        elif decisions is not None or fiftyone:
            result = _apply(result, folder, _given_decisions(result, decisions), classes, given=True)
        else:
            own = _own_decisions(result, folder)
            if size is None and seed is None and own is not None and _has_decision(own).any():
                result = _apply(result, folder, own, classes)
            else:
                _draw(result, folder, size, seed, own)
    if as_json:
        from audit.summary.parts import to_json

        print_json(to_json(result.summary.verified))


def _draw(result: AuditResult, folder: Path, size: int | None, seed: int | None, before: pd.DataFrame | None) -> None:
    """Write the sheet and the file to fill in, with the decisions that there are."""
    import pandas as pd

    from audit.verification.decision_file import decision_table, write_decision_file
    from audit.verification.draw import draw_scores
    from integrations.cli.outputs import check_page
    from reports.verification_sheet import write_verification_sheet

    earlier = pd.Series(dtype=float) if before is None or "order" not in before else before["order"].dropna()
    if before is not None and not _has_decision(before).any():
        size, before = size or len(earlier), None
    if before is not None:
        size = max([size or SIZE, *(int(place) + 1 for place in earlier)])
        seed = _seed_of(before) if seed is None else seed
    sample = draw_scores(result.scores, size or SIZE, seed or 0)
    order = sample.table["order"].astype(float)
    if before is not None and not order.reindex(earlier.index).equals(earlier):
        raise InputError(
            f"{DECISIONS_FILE} in {str(folder)!r} has decisions on pictures that were drawn with another seed; leave "
            "--seed out, or move that file away"
        )
    table = decision_table(result.scores, order, sample.seed, before)
    page = folder / SHEET_FILE
    check_page(page)
    path = write_decision_file(table, folder / DECISIONS_FILE)
    command = f"influence-audit verify {shlex.quote(str(folder.resolve()))} --decisions verification.csv"
    write_verification_sheet(result, table, page, command)
    decided = int((table["decision"] != "").sum())
    done = f", {decided} of them decided" if decided else ""
    drawn = int(table["order"].notna().sum())
    print(f"{drawn} pictures are drawn{done}. Decide them on the page, or in the CSV file (right, wrong or unsure).")
    print(f"page: {page.resolve()}")
    print(f"csv: {path.resolve()}")
    print(f"then: {command}")


def _apply(
    result: AuditResult, folder: Path, decisions: pd.DataFrame, classes: bool, given: bool = False
) -> AuditResult:
    """Apply the decisions, write the result again, and print what they say.

    Args:
        result: of the audit.
        folder: of the result.
        decisions: by id.
        classes: whether to print numbers of each class.
        given: whether the decisions are from elsewhere, and are to be kept in the result's folder.
    """
    from rich.console import Console

    from audit.verification.apply import apply_verification
    from integrations.cli.verified_table import show_verified

    if not _has_decision(decisions).any():
        raise InputError("no sample is decided yet; write right, wrong or unsure into the column decision")
    verified = apply_verification(result, decisions)
    _write(verified, folder)
    if given:
        _keep(result, folder, decisions)
    show_verified(Console(), verified.summary, classes)
    for line in _remarks(result, decisions):
        print(line)
    drawn = int(decisions["order"].notna().sum())
    print(f"result: {folder.resolve()}")
    print(f"for narrower intervals: influence-audit verify {shlex.quote(str(folder))} --size {drawn + SIZE}")
    return verified


def _keep(result: AuditResult, folder: Path, decisions: pd.DataFrame) -> None:
    """Keep decisions from elsewhere in the result's folder, and set other decisions aside that were there."""
    from audit.verification.decision_file import decision_table, read_decision_file, write_decision_file

    order = decisions["order"].astype(float)
    table = decision_table(result.scores, order, _seed_of(decisions), decisions)
    path = folder / DECISIONS_FILE
    if path.is_file():
        try:
            own = read_decision_file(path)
            lost = set(own.index[_has_decision(own)]) - set(table.index[_has_decision(table)])
        except InputError:
            lost = {"all"}
        if lost:
            _set_aside(path)
    write_decision_file(table, path)


def _remarks(result: AuditResult, decisions: pd.DataFrame) -> Iterator[str]:
    """What the reviewer should know of the decisions, a line each."""
    from audit.verification.decision_file import count_skipped
    from audit.verification.decisions import read_decisions

    drawn = decisions["order"].notna()
    if left := int((drawn & ~_has_decision(decisions)).sum()):
        yield f"Of {int(drawn.sum())} drawn pictures, {left} are open."
    if skipped := count_skipped(decisions):
        yield (
            f"Of the open pictures, {skipped} come before decided ones. Decide these, or mark them as unsure: leaving "
            "out hard pictures makes the numbers wrong."
        )
    known = {str(label) for label in result.summary.classes}
    true_labels = read_decisions(result.scores, decisions).true_labels.values()
    if strange := sorted(set(true_labels) - known):
        yield f"{len(strange)} of the true labels are no class of this dataset, the first is {strange[0]!r}."


def _reset(result: AuditResult, folder: Path) -> AuditResult:
    from audit.verification.apply import reset_verification

    restored = reset_verification(result)
    _write(restored, folder)
    print(f"restored what the audit said before the decisions: {folder.resolve()}")
    if (folder / DECISIONS_FILE).is_file():
        print(f"the decisions are still in {DECISIONS_FILE}; without --reset the command applies them again")
    return restored


def _write(result: AuditResult, folder: Path) -> None:
    """The result, its conditions, its report and its Markdown."""
    import pandas as pd

    from audit.images.thumbnails import missing_thumbnails
    from integrations.cli.judged_again import judge_again
    from integrations.pipeline import write_reports

    if len(more := missing_thumbnails(result.scores, result.explanations, result.thumbnails)):
        result.thumbnails = pd.concat([result.thumbnails, more])
    result.save(folder)
    for line in judge_again(result, folder):
        print(line)
    _, problem = write_reports(result, folder)
    if problem is not None:
        raise problem


def _own_decisions(result: AuditResult, folder: Path) -> pd.DataFrame | None:
    """The file of the result's folder; None where there is none. A file of another audit is set aside."""
    from audit.verification.decision_file import is_of_audit, read_decision_file

    path = folder / DECISIONS_FILE
    if not path.is_file():
        return None
    table = read_decision_file(path)
    if is_of_audit(table, result.scores):
        return table
    _set_aside(path)
    return None


def _set_aside(path: Path) -> None:
    """Give a file of earlier decisions another name."""
    names = (f"{path.stem}.earlier{number}{path.suffix}" for number in ("", *(f"-{n}" for n in range(2, 1000))))
    to = next(path.with_name(name) for name in names if not path.with_name(name).exists())
    path.replace(to)
    say(f"{path.name} held other decisions; they are kept in {to.name}")


def _given_decisions(result: AuditResult, where: str | None) -> pd.DataFrame:
    """The decisions of a file, or of a FiftyOne dataset: of the one that the result names where `where` is None."""
    from audit.verification.decision_file import check_of_audit, read_decision_file

    if where is not None and not where.startswith(FIFTYONE_PREFIX):
        table = read_decision_file(Path(where))
        check_of_audit(table, result.scores, where)
        return table
    source = result.summary.source
    if where is None and source is None:
        raise InputError("this result names no FiftyOne dataset; name one with --decisions fiftyone:NAME")
    name = source.dataset if where is None and source is not None else str(where).removeprefix(FIFTYONE_PREFIX)
    return _decided_in_fiftyone(name, source.audit_key if source is not None else "audit")


def _decided_in_fiftyone(name: str, audit_key: str) -> pd.DataFrame:
    from integrations.fiftyone.database import connect

    quieten_fiftyone()
    connect()
    from integrations.fiftyone.read import load_dataset
    from integrations.fiftyone.review.check import decisions_to_verify

    decisions = decisions_to_verify(load_dataset(name), audit_key)
    if not decisions["order"].notna().any():
        raise InputError(
            f"dataset {name!r} has no decisions on drawn pictures under {audit_key!r}; check the audit in the App's "
            "panel first"
        )
    return decisions


def _seed_of(decisions: pd.DataFrame) -> int | None:
    """The seed that a file was drawn with; None where it does not say."""
    texts = {str(text).strip() for text in decisions["seed"]} - {""} if "seed" in decisions else set()
    return int(texts.pop()) if len(texts) == 1 and next(iter(texts)).isdigit() else None


def _has_decision(decisions: pd.DataFrame) -> pd.Series[bool]:
    """Which rows have a decision, bool by id."""
    import pandas as pd

    words = ("" if pd.isna(word) else str(word).strip() for word in decisions["decision"])
    return pd.Series([word != "" for word in words], index=decisions.index, dtype=bool)
