"""Why the audit suspects a sample: training samples that support or contradict its label, validation samples whose
prediction it makes worse, and the image regions that cause its influence."""

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
PARTS = ("", "_in_class", "harmed")  # of an explanation, each of which takes time
SHOWN_IN_PANEL = ("",)
SIDES = ("helpful", "harmful", "helpful_in_class", "harmful_in_class", "harmed")


@dataclass(frozen=True, kw_only=True)
class AppExplanationSettings:
    """Settings of explanations in the App."""

    # Largest number of samples of each kind in an explanation.
    neighbours: int = 6
    # Number of audits whose training features stay in memory.
    audits_kept: int = 2
    # Number of explanations made in the background that stay in memory.
    explanations_kept: int = 200
    # Seconds to wait for an explanation before the caller goes on without it.
    wait_seconds: float = 0.1
    # Relative residual of the solutions; it is enough to rank samples by their influence.
    tolerance: float = 1e-3


SETTINGS = AppExplanationSettings()
_explainers: OrderedDict[tuple[str, int], ResultExplainer] = OrderedDict()
_preparing = Lock()
_background = ThreadPoolExecutor(1, "label-audit-explanation")
_asked: OrderedDict[tuple[tuple[str, int], str], Future[tuple[pd.DataFrame, _Judgement]]] = OrderedDict()
_prepared: dict[tuple[str, int], Future[ResultExplainer]] = {}


@dataclass(frozen=True)
class Neighbour:
    """A training sample that helps or harms the prediction of the explained sample's label, or a harmed sample."""

    id: str
    filepath: str
    label: str
    influence: float


@dataclass(frozen=True)
class Explanation:
    """The explanation of a sample.

    Attributes:
        sample: its id.
        label: the label that was audited.
        suggested: the label that the audit suggests.
        probability: of the suggested label, 0 to 1.
        helpful: training samples that support the label, the strongest first.
        harmful: training samples that contradict the label, the strongest first.
        helpful_in_class, harmful_in_class: the same, only among training samples with this label.
        harmed: validation samples that the head predicts worse because it was trained on this sample, the most harmed
            first, each with the label that it should be predicted as.
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
        InputError: if there is no such audit, it was not saved, or the folder does not exist any more.
    """
    folder = audit_config(dataset, audit_key).result_folder
    if folder is None:
        raise InputError(f"the result of audit {audit_key!r} was not saved with the run; run the audit again")
    if not (Path(folder) / SUMMARY_FILE).is_file():
        raise InputError(f"the result of audit {audit_key!r} is not in {folder!r} any more; run the audit again")
    return Path(folder)


def prepared_explainer(dataset: fo.Dataset, audit_key: str) -> ResultExplainer | None:
    """What explains samples of an audit. The first call begins to prepare it, in the background.

    Returns:
        None while it is being prepared.

    Raises:
        InputError: if there is no such audit, its result no longer exists, or it was made without images.
    """
    folder = result_folder(dataset, audit_key)
    identity = _identity(folder)
    if (known := _explainers.get(identity)) is not None:
        return known
    if identity not in _prepared:
        _prepared[identity] = _background.submit(_explainer, folder, silent)
    return _prepared.pop(identity).result() if _prepared[identity].done() else None


def explain_sample(
    dataset: fo.Dataset, audit_key: str, sample_id: str, progress: ProgressCallback = silent
) -> Explanation:
    """Explain a sample. Only the first explanation of an audit takes as long as reading its training images.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        sample_id: the sample.
        progress: called while the explanation is prepared.

    Raises:
        InputError: if there is no such audit, its result no longer exists, or the sample was not scored.
    """
    return _in_words(dataset, sample_id, *_explain(result_folder(dataset, audit_key), sample_id, progress))


def explain_in_background(
    dataset: fo.Dataset, audit_key: str, sample_id: str, wait_seconds: float = SETTINGS.wait_seconds
) -> Explanation | None:
    """Explain a sample in the background: None until its `helpful` and `harmful` are known.

    Raises:
        InputError: as `explain_sample` does.
    """
    folder = result_folder(dataset, audit_key)
    wanted = (_identity(folder), sample_id)
    if wanted not in _asked:
        _asked[wanted] = _background.submit(_explain, folder, sample_id, sides=SHOWN_IN_PANEL)
        while len(_asked) > SETTINGS.explanations_kept:
            _asked.popitem(last=False)
    try:
        return _in_words(dataset, sample_id, *_asked[wanted].result(timeout=wait_seconds))
    except TimeoutError:
        return None
    except InputError:
        _asked.pop(wanted, None)
        raise


def explainer_of(dataset: fo.Dataset, audit_key: str, progress: ProgressCallback = silent) -> ResultExplainer:
    """What explains samples of an audit, once it is prepared.

    Raises:
        InputError: if there is no such audit, its result no longer exists, or it was made without images.
    """
    return _explainer(result_folder(dataset, audit_key), progress)


def _explain(
    folder: Path, sample_id: str, progress: ProgressCallback = silent, sides: tuple[str, ...] = PARTS
) -> tuple[pd.DataFrame, _Judgement]:
    import pandas as pd

    explainer = _explainer(folder, progress)
    makers = {
        "": lambda: explainer.explain(sample_id, SETTINGS.neighbours),
        "_in_class": lambda: explainer.explain(sample_id, SETTINGS.neighbours, same_class=True),
        "harmed": lambda: explainer.harms(sample_id, SETTINGS.neighbours).assign(kind=""),
    }
    parts = {suffix: makers[suffix]() for suffix in sides}
    table = pd.concat([part.assign(side=part["kind"] + suffix) for suffix, part in parts.items()], ignore_index=True)
    return table, explainer.judgement(sample_id)


def add_heat_map(dataset: fo.Dataset, audit_key: str, sample_id: str) -> None:
    """Write a heat map of what in the image causes the sample's influence into `<key>_heatmap`, for the App to draw.

    Raises:
        InputError: if there is no such audit, its result or the image no longer exists, or its engine was not 'exact'.
    """
    import numpy as np

    values = _explainer(result_folder(dataset, audit_key), silent).heat_map(sample_id)
    declare(dataset, audit_key, (HEAT_MAP,))
    show_fields(dataset, audit_key, audit_config(dataset, audit_key).label_field)
    sample = dataset[sample_id]
    sample[HEAT_MAP.name(audit_key)] = fo.Heatmap(map=np.round(255 * values).astype(np.uint8), range=[0, 255])
    sample.save()


def _in_words(dataset: fo.Dataset, sample_id: str, table: pd.DataFrame, judgement: _Judgement) -> Explanation:
    """The explanation, with the files of those training samples that are still in the dataset."""
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
    with _preparing:  # several windows may ask at the same time; one preparation is enough
        if identity not in _explainers:
            _explainers[identity] = ResultExplainer(AuditResult.load(folder), progress, SETTINGS.tolerance)
            while len(_explainers) > SETTINGS.audits_kept:
                _explainers.popitem(last=False)
        _explainers.move_to_end(identity)
        return _explainers[identity]


def _identity(folder: Path) -> tuple[str, int]:
    """An identity of the saved result, which changes if another result replaces it in the same folder."""
    return str(folder), (folder / SUMMARY_FILE).stat().st_mtime_ns
