"""Why the audit suspects a sample: the training samples that speak for its label and those that speak against it, the
validation samples that it harms, and where in its image that comes from."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

import fiftyone as fo

from audit.errors import InputError
from audit.progress import ProgressCallback, silent
from audit.result import SUMMARY_FILE
from integrations.fiftyone.appearance import show_fields
from integrations.fiftyone.fields import HEAT_MAP, declare
from integrations.fiftyone.runs import audit_config

if TYPE_CHECKING:
    import pandas as pd

    from audit.explain.samples import ResultExplainer

_Judgement: TypeAlias = tuple[str, str | None, float | None]
SIDES = ("helpful", "harmful", "helpful_in_class", "harmful_in_class", "harmed")


@dataclass(frozen=True, kw_only=True)
class AppExplanationSettings:
    """How explanations are made while the App is open."""

    # Most samples of each kind in an explanation.
    neighbours: int = 6
    # Audits whose training features stay in memory.
    audits_kept: int = 2
    # Explanations made in the background that stay in memory.
    explanations_kept: int = 200
    # Seconds to wait for an explanation that may be ready at once.
    wait_seconds: float = 0.1


SETTINGS = AppExplanationSettings()
_explainers: OrderedDict[tuple[str, int], ResultExplainer] = OrderedDict()
_preparing = Lock()
_background = ThreadPoolExecutor(1, "label-audit-explanation")
_asked: OrderedDict[tuple[tuple[str, int], str], Future[tuple[pd.DataFrame, _Judgement]]] = OrderedDict()
_asked_of: set[tuple[str, int]] = set()  # the audits of which samples were asked for in the background


@dataclass(frozen=True)
class Neighbour:
    """A training sample that helps or harms the prediction of the explained sample's label."""

    id: str
    filepath: str
    label: str
    influence: float


@dataclass(frozen=True)
class Explanation:
    """What the audit saw in a sample.

    Attributes:
        sample: its id.
        label: the label that was audited.
        suggested: the label that the audit would give.
        probability: of the suggested label, 0 to 1.
        helpful: training samples that speak for the label, the strongest first.
        harmful: training samples that speak against it, the strongest first.
        helpful_in_class, harmful_in_class: the same among the training samples of its own label.
        harmed: validation samples that are predicted worse for its being trained on, with the label that they should
            be predicted as, the one that suffers most first.
    """

    sample: str
    label: str
    suggested: str | None
    probability: float | None
    helpful: list[Neighbour]
    harmful: list[Neighbour]
    helpful_in_class: list[Neighbour]
    harmful_in_class: list[Neighbour]
    harmed: list[Neighbour]


def result_folder(dataset: fo.Dataset, audit_key: str) -> Path:
    """The folder with the saved result of an audit.

    Raises:
        InputError: if there is no such audit, it was not saved, or the folder is gone.
    """
    folder = audit_config(dataset, audit_key).result_folder
    if folder is None:
        raise InputError(f"the result of audit {audit_key!r} was not saved with the run; run the audit again")
    if not (Path(folder) / SUMMARY_FILE).is_file():
        raise InputError(f"the result of audit {audit_key!r} is not in {folder!r} any more; run the audit again")
    return Path(folder)


def is_being_explained(dataset: fo.Dataset, audit_key: str) -> bool:
    """Whether this process was asked to explain a sample of the audit: another needs no preparation of its own."""
    try:
        identity = _identity(result_folder(dataset, audit_key))
    except InputError:
        return False
    return identity in _explainers or identity in _asked_of


def explain_sample(
    dataset: fo.Dataset, audit_key: str, sample_id: str, progress: ProgressCallback = silent
) -> Explanation:
    """Explain a sample. The first one of an audit takes as long as reading its training images, the next ones do not.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        sample_id: the sample.
        progress: told while the explanation is prepared.

    Raises:
        InputError: if there is no such audit, its result is gone, or the sample was not scored.
    """
    return _in_words(dataset, sample_id, *_explain(result_folder(dataset, audit_key), sample_id, progress))


def explain_in_background(dataset: fo.Dataset, audit_key: str, sample_id: str) -> Explanation | None:
    """Explain a sample without keeping the caller waiting: None until it is made, then what `explain_sample` returns.

    Raises:
        InputError: as `explain_sample` does.
    """
    folder = result_folder(dataset, audit_key)
    wanted = (_identity(folder), sample_id)
    if wanted not in _asked:
        _asked_of.add(wanted[0])
        _asked[wanted] = _background.submit(_explain, folder, sample_id)
        while len(_asked) > SETTINGS.explanations_kept:
            _asked.popitem(last=False)
    try:
        return _in_words(dataset, sample_id, *_asked[wanted].result(timeout=SETTINGS.wait_seconds))
    except TimeoutError:
        return None
    except InputError:
        _asked.pop(wanted, None)
        raise


def _explain(folder: Path, sample_id: str, progress: ProgressCallback = silent) -> tuple[pd.DataFrame, _Judgement]:
    import pandas as pd

    explainer = _explainer(folder, progress)
    parts = {
        "": explainer.explain(sample_id, SETTINGS.neighbours),
        "_in_class": explainer.explain(sample_id, SETTINGS.neighbours, same_class=True),
        "harmed": explainer.harms(sample_id, SETTINGS.neighbours).assign(kind=""),
    }
    table = pd.concat([part.assign(side=part["kind"] + suffix) for suffix, part in parts.items()], ignore_index=True)
    return table, explainer.judgement(sample_id)


def add_heat_map(dataset: fo.Dataset, audit_key: str, sample_id: str) -> None:
    """Write where in the image the sample's influence comes from into its field `<key>_heatmap`, which the App draws.

    Raises:
        InputError: if there is no such audit, its result or the image is gone, or its engine was not 'exact'.
    """
    import numpy as np

    values = _explainer(result_folder(dataset, audit_key), silent).heat_map(sample_id)
    declare(dataset, audit_key, (HEAT_MAP,))
    show_fields(dataset, audit_key, audit_config(dataset, audit_key).label_field)
    sample = dataset[sample_id]
    sample[HEAT_MAP.name(audit_key)] = fo.Heatmap(map=np.round(255 * values).astype(np.uint8), range=[0, 255])
    sample.save()


def _in_words(dataset: fo.Dataset, sample_id: str, table: pd.DataFrame, judgement: _Judgement) -> Explanation:
    """What was found, with the files of those training samples that the dataset still has."""
    ids, filepaths = dataset.select(list(table["neighbour"].unique())).values(["id", "filepath"])
    present = dict(zip(ids, filepaths, strict=True))
    sides: dict[str, list[Neighbour]] = {name: [] for name in SIDES}
    columns = ("side", "neighbour", "label", "influence")
    for side, neighbour, label, influence in zip(*(table[column] for column in columns), strict=True):
        if neighbour in present:
            sides[side].append(Neighbour(neighbour, present[neighbour], label, float(influence)))
    return Explanation(sample_id, *judgement, *(sides[name] for name in SIDES))


def _explainer(folder: Path, progress: ProgressCallback) -> ResultExplainer:
    from audit.explain.samples import ResultExplainer
    from audit.result import AuditResult

    identity = _identity(folder)
    with _preparing:  # the App's server answers several windows at once; one preparation is enough
        if identity not in _explainers:
            _explainers[identity] = ResultExplainer(AuditResult.load(folder), progress)
            while len(_explainers) > SETTINGS.audits_kept:
                _explainers.popitem(last=False)
        _explainers.move_to_end(identity)
        return _explainers[identity]


def _identity(folder: Path) -> tuple[str, int]:
    """The saved result, told from one that replaces it in the same folder."""
    return str(folder), (folder / SUMMARY_FILE).stat().st_mtime_ns
