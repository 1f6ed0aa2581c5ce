"""The folder of a saved result, by the folder itself or by the name of the dataset that was audited."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from audit.errors import InputError
from audit.extras import problem_of
from audit.files.result_folder import is_result_folder
from integrations.cli.job import SUMMARY_FILE, folder_name
from integrations.kept import RESULTS_FOLDER

FIFTYONE_PREFIX = "fiftyone:"
RESULT_HELP = (
    "A result folder, as `influence-audit run` printed it, or a dataset's name: NAME, or NAME/AUDIT_KEY where it has "
    "several audits."
)
RESULT_NAME = "RESULT"
_MOST_NAMED = 6


def result_folder(text: str, before_search: Callable[[], None] | None = None) -> Path:
    """The result folder that a user means.

    Args:
        text: a folder with a result, a folder above exactly one, or a dataset's name: results are looked for in
            `audit-results`, among those that the App made, and where FiftyOne says that an audit was saved.
        before_search: called before FiftyOne is asked, which takes seconds; None for nothing.

    Raises:
        InputError: if there is none, or there are several.
    """
    path = Path(text)
    is_folder = path.is_dir() and not text.startswith(FIFTYONE_PREFIX)
    if is_folder and (within := _results_in(path)):
        return _only(text, within)
    if is_folder and path.name != text:
        return path  # reading it says what it lacks
    name = text.removeprefix(FIFTYONE_PREFIX)
    found = list(_of_dataset(name))
    if not found and problem_of("fiftyone") is None:
        if before_search is not None:
            before_search()
        found = list(_in_fiftyone(name))
    if not found and is_folder:
        return path  # reading it says what it lacks
    if not found:
        raise InputError(
            f"{text!r} holds no complete audit result: it is no folder, and no dataset of this name has one; give the "
            "folder that `influence-audit run` named"
        )
    return _only(text, found)


def dataset_of(text: str) -> str:
    """The FiftyOne dataset that a user means: by its name, or by a result folder that names it.

    Raises:
        InputError: if the folder's audit did not write into FiftyOne.
    """
    if text.startswith(FIFTYONE_PREFIX) or not _results_in(Path(text)):
        return text.removeprefix(FIFTYONE_PREFIX)  # a folder of images may have the name of its dataset
    folder = result_folder(text)
    with suppress(OSError, ValueError, LookupError, TypeError):
        source = json.loads((folder / SUMMARY_FILE).read_bytes())["source"]
        if source["in_fiftyone"]:
            return str(source["dataset"])
    raise InputError(f"the audit in {text!r} is not in FiftyOne; run it again without --no-fiftyone")


def _only(text: str, found: list[Path]) -> Path:
    """The only one of the folders."""
    if len(found) > 1:
        names = ", ".join(str(folder) for folder in found[:_MOST_NAMED])
        more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
        raise InputError(f"{text!r} has {len(found)} results; give one of {names}{more}")
    return found[0]


def _results_in(folder: Path) -> list[Path]:
    """The folder itself where it holds a result, or else the results below it; none where it is no folder."""
    return [folder] if (folder / SUMMARY_FILE).is_file() else list(_below(folder))


def _below(folder: Path) -> Iterator[Path]:
    """The results in a folder of results, or of one dataset's results."""
    with suppress(OSError):
        for summary in sorted((*folder.glob(f"*/{SUMMARY_FILE}"), *folder.glob(f"*/*/{SUMMARY_FILE}"))):
            if is_result_folder(summary.parent):
                yield summary.parent


def _of_dataset(name: str) -> Iterator[Path]:
    """The results of a dataset, or of one of its audits, in the usual places."""
    from integrations.home import home_folder

    dataset, _, key = name.rpartition("/")
    for root in (Path(RESULTS_FOLDER), home_folder() / "results"):
        whole = root / folder_name(name)
        if whole.is_dir():
            yield from ([whole] if (whole / SUMMARY_FILE).is_file() else _below(whole))
        elif dataset and (root / folder_name(dataset) / key / SUMMARY_FILE).is_file():
            yield root / folder_name(dataset) / key


def _in_fiftyone(name: str) -> Iterator[Path]:
    """The results of a FiftyOne dataset, where FiftyOne says that they were saved."""
    from integrations.cli.root import quieten_fiftyone
    from integrations.fiftyone.database import DatabaseError, connect

    quieten_fiftyone()
    try:
        connect()
    except DatabaseError:  # without a database there is no dataset of this name
        return
    from integrations.fiftyone.read import dataset_names, load_dataset
    from integrations.fiftyone.runs import audit_config

    wanted, _, key = (name, "", "") if name in dataset_names() else name.rpartition("/")
    if wanted not in dataset_names():
        return
    dataset = load_dataset(wanted)
    for run in [key] if key else dataset.list_runs():
        with suppress(InputError):  # a run of something else
            saved = audit_config(dataset, run).result_folder
            if saved and (Path(saved) / SUMMARY_FILE).is_file():
                yield Path(saved)
