"""Which dataset a source becomes: folders with one last name, moved folders, refused audits, and what was left out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import fiftyone as fo
import pytest

from audit.config import AuditConfig
from audit.errors import InputError
from audit.progress import Step
from audit.result import AuditResult
from integrations.cli.batch import audit_one
from integrations.cli.job import AuditJob
from integrations.cli.terminal import Verbosity
from integrations.fiftyone import audit_dataset
from integrations.fiftyone.review import apply_corrections, relabel, undo_last
from integrations.fiftyone.source_datasets import image_home, source_of
from integrations.sources import resolve_source
from integrations.sources.digits import digits
from integrations.sources.folder import image_folder
from integrations.sources.resolve import Source
from tests.new_datasets import deleted_afterwards

Names = Callable[[str], str]
SETTINGS = {"weights": "bundled", "device": "cpu"}
CHOICES = dict.fromkeys(("dataset", "view", "label_field", "image_column", "label_column", "keep_labels", "layout"))


@pytest.fixture(autouse=True)
def no_dataset_stays() -> Iterator[None]:
    with deleted_afterwards():
        yield


def digits_folder(root: Path, per_class: int = 4, classes: tuple[str, ...] = ("0", "1")) -> Path:
    """Digits as ROOT/CLASS/number.png."""
    for label in classes:
        (root / label).mkdir(parents=True)
        for number, image in enumerate(list(digits([label]))[:per_class]):
            assert isinstance(image.image, bytes)
            (root / label / f"{number:03d}.png").write_bytes(image.image)
    return root


def job(source: Path | str, root: Path, **given: object) -> AuditJob:
    settings = {name: value for name, value in given.items() if name not in CHOICES}
    choices = CHOICES | {name: value for name, value in given.items() if name in CHOICES}
    return AuditJob(str(source), "audit", AuditConfig(**(SETTINGS | settings)), choices, root)  # type: ignore[arg-type]


# --- names ----------------------------------------------------------------------------------------------------------


def test_folders_with_one_last_name_become_datasets_of_their_own(tmp_path: Path) -> None:
    first, second = (digits_folder(tmp_path / above / "pictures") for above in ("A", "B"))
    names = [resolve_source(str(folder)).open()._root_dataset.name for folder in (first, second)]
    assert names == ["pictures", "b-pictures"]
    fo.delete_dataset("pictures")
    assert resolve_source(str(second)).open()._root_dataset.name == "b-pictures"


def test_a_dataset_of_the_users_own_is_not_passed_by(tmp_path: Path) -> None:
    fo.Dataset("pictures")
    with pytest.raises(InputError, match=r"not made by influence-audit; .* fiftyone:pictures"):
        resolve_source(str(digits_folder(tmp_path / "pictures"))).open()


# --- moved folders --------------------------------------------------------------------------------------------------


def test_a_moved_folder_keeps_its_dataset_and_decisions(tmp_path: Path) -> None:
    view = resolve_source(str(digits_folder(tmp_path / "before"))).open()
    ids, first = view.values("id"), view.first()
    first["ground_truth"] = fo.Classification(label="1")
    first.save()
    (tmp_path / "before").rename(tmp_path / "after")
    steps: list[Step] = []
    moved = resolve_source(str(tmp_path / "after"), dataset="before").open(steps.append)
    assert moved.values("id") == ids
    assert moved.first()["ground_truth"].label == "1"
    assert all(
        Path(path).is_relative_to(tmp_path / "after") and Path(path).is_file() for path in moved.values("filepath")
    )
    assert source_of(fo.load_dataset("before")) == f"folder:{tmp_path / 'after'}"
    assert any("now follows" in step.note and str(tmp_path / "before") in step.note for step in steps)


def test_a_folder_moved_under_its_name_is_asked_about(tmp_path: Path) -> None:
    resolve_source(str(digits_folder(tmp_path / "pets"))).open()
    (tmp_path / "disk").mkdir()
    (tmp_path / "pets").rename(tmp_path / "disk" / "pets")
    with pytest.raises(InputError, match=r"which is gone; if it was moved .* give --dataset pets to keep"):
        resolve_source(str(tmp_path / "disk" / "pets")).open()
    assert len(resolve_source(str(tmp_path / "disk" / "pets"), dataset="pets").open()) == 8


def test_a_folder_that_is_plainly_another_is_refused(tmp_path: Path) -> None:
    resolve_source(str(digits_folder(tmp_path / "old"))).open()
    other = digits_folder(tmp_path / "other", classes=("7", "8"))
    with pytest.raises(InputError, match=r"was made from .*old, not from .*other"):
        resolve_source(str(other), dataset="old").open()
    (tmp_path / "old").rename(tmp_path / "away")
    with pytest.raises(InputError, match="is something else: 0 of the 8 images looked at are in the dataset"):
        resolve_source(str(other), dataset="old").open()
    assert source_of(fo.load_dataset("old")) == f"folder:{tmp_path / 'old'}"


# --- refused audits -------------------------------------------------------------------------------------------------


def test_labels_that_cannot_be_audited_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"was read as 1 class folder, and the labels hold fewer than two classes"):
        resolve_source(str(digits_folder(tmp_path / "lonely", classes=("0",)))).open()
    assert not fo.dataset_exists("lonely")


def test_a_refused_audit_leaves_no_dataset_and_no_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cuda:99"):
        audit_one(job("digits", tmp_path, device="cuda:99", dataset="refused", keep_labels=["0", "1"]), Verbosity(True))
    assert not fo.dataset_exists("refused")
    assert not (image_home() / "refused").exists()
    kept = resolve_source("digits", dataset="refused", keep_labels=["0", "1"]).open()._root_dataset
    with pytest.raises(InputError, match="cuda:99"):
        audit_one(job("digits", tmp_path, device="cuda:99", dataset="refused"), Verbosity(True))
    kept.reload()
    assert all(map(Path.is_file, map(Path, kept.values("filepath"))))


# --- left out -------------------------------------------------------------------------------------------------------


def test_what_the_source_leaves_out_reaches_the_result_and_a_strict_audit_refuses_it(tmp_path: Path) -> None:
    folder = digits_folder(tmp_path / "photos", 30)
    (folder / "raw").mkdir()
    for number in range(3):
        (folder / "raw" / f"{number}.cr2").write_bytes(b"II*\0")
    (folder / "1" / "broken.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"3 \.cr2 files left out \(class 'raw': 3\)"):
        audit_one(job(folder, tmp_path, strict=True), Verbosity(True))
    assert not fo.dataset_exists("photos")
    summary = audit_one(job(folder, tmp_path), Verbosity(True)).summary
    assert (summary.counts.samples, summary.counts.unreadable) == (60, 4)
    assert any("3 .cr2 files left out (class 'raw': 3)" in note for note in summary.notes)
    result = AuditResult.load(tmp_path / "photos" / "audit")
    reasons = result.skipped.set_index("filepath")["reason"].to_dict()
    assert {Path(path).name for path in reasons} == {"0.cr2", "1.cr2", "2.cr2", "broken.png"}
    assert ".cr2 file left out" in reasons[str(folder / "raw" / "0.cr2")]
    page = (tmp_path / "photos" / "audit" / "report.html").read_text()
    assert "0.cr2" in page


# --- label fields of other types ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        lambda label: int(label),
        lambda label: [label],
    ],
    ids=["number", "list"],
)
def test_a_field_of_another_type_is_refused_with_code_that_converts_it(
    tmp_path: Path, dataset_name: Names, value: Callable[[str], object]
) -> None:
    folder = digits_folder(tmp_path / "plain")
    dataset = fo.Dataset(dataset_name("plain labels"))
    samples = [fo.Sample(str(path), digit=value(path.parent.name)) for path in sorted(folder.glob("*/*.png"))]
    dataset.add_samples([*samples, fo.Sample(str(tmp_path / "none.png"))], progress=False)
    with pytest.raises(InputError) as error:
        audit_dataset(dataset, "digit")
    message = str(error.value)
    assert "\n" not in message
    code, field = re.fullmatch(r".*make one in Python: (import .*); then use --label-field (\w+)", message).groups()  # type: ignore[union-attr]
    exec(code, {})
    dataset.reload()
    assert dataset.values(f"{field}.label") == [*["0"] * 4, *["1"] * 4, None]
    assert len(resolve_source(f"fiftyone:{dataset.name}", label_field=field, keep_labels=["1"]).open()) == 4


def listed(*labels: str) -> fo.Classifications:
    return fo.Classifications(classifications=[fo.Classification(label=label) for label in labels])


@pytest.mark.parametrize(
    ("value", "path"),
    [(lambda label: label, "digit"), (listed, "digit.classifications.label")],
    ids=["text", "classifications"],
)
def test_text_and_lists_of_one_are_audited_and_get_their_corrections(
    tmp_path: Path, dataset_name: Names, value: Callable[[str], object], path: str
) -> None:
    folder = digits_folder(tmp_path / "plain", 12)
    dataset = fo.Dataset(dataset_name("plain labels"))
    files = sorted(folder.glob("*/*.png"))
    dataset.add_samples([fo.Sample(str(file), digit=value(file.parent.name)) for file in files], progress=False)
    dataset.add_sample(fo.Sample(str(tmp_path / "none.png")))
    config = AuditConfig(**SETTINGS)  # type: ignore[arg-type]
    result = audit_dataset(dataset, "digit", config=config)
    assert result.summary.source is not None
    assert result.summary.source.label_field == "digit"
    assert dataset.values("digit_class.label") == [*["0"] * 12, *["1"] * 12, None]
    assert len(resolve_source(f"fiftyone:{dataset.name}", label_field="digit", keep_labels=["1"]).open()) == 12

    sample = dataset.first().id
    before = dataset.values(path)
    relabel(dataset, "audit", [sample], "1")
    assert dataset.values(path) == before
    apply_corrections(dataset, "audit")
    after = dataset.values(path)
    assert after[0] in ("1", ["1"])
    assert after[1:] == before[1:]
    undo_last(dataset, "audit")
    assert dataset.values(path) == before

    dataset.set_values("digit", {sample: value("1")}, key_field="id")
    audit_dataset(dataset, "digit", config=config)
    assert dataset.values("digit_class.label")[0] == "1"


def test_samples_with_several_labels_are_refused_and_a_field_in_the_way_is_left(
    tmp_path: Path, dataset_name: Names
) -> None:
    files = sorted(digits_folder(tmp_path / "plain").glob("*/*.png"))
    dataset = fo.Dataset(dataset_name("several labels"))
    dataset.add_samples([fo.Sample(str(file), tags_of=listed(file.parent.name)) for file in files], progress=False)
    dataset.set_values("tags_of", {dataset.first().id: listed("0", "1")}, key_field="id")
    with pytest.raises(InputError, match="1 samples have several labels in field 'tags_of'"):
        audit_dataset(dataset, "tags_of")
    assert not dataset.has_field("tags_of_class")
    dataset.set_values("tags_of_class", ["mine"] * len(dataset))
    with pytest.raises(InputError, match="needs the name 'tags_of_class'"):
        audit_dataset(dataset.skip(1), "tags_of")
    assert set(dataset.values("tags_of_class")) == {"mine"}


def test_pictures_are_made_of_detections_by_the_line_that_refuses_them(
    tmp_path: Path, dataset_name: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = sorted(digits_folder(tmp_path / "plain").glob("*/*.png"))
    dataset = fo.Dataset(dataset_name("boxed"))
    boxes = [[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 0.5, 1.0]]
    for file in files:
        found = [fo.Detection(label=file.parent.name, bounding_box=box) for box in boxes]
        dataset.add_sample(fo.Sample(str(file), boxes=fo.Detections(detections=found)))
    with pytest.raises(InputError) as error:
        audit_dataset(dataset, "boxes")
    code, folder = re.fullmatch(r".* in Python: (import .*); then audit (\S+)", str(error.value)).groups()  # type: ignore[union-attr]
    exec(code, {})
    images = image_folder(tmp_path / folder)
    assert len(images) == 2 * len(files)
    assert {image.label for image in images} == {"0", "1"}


def refuse_after(source: Source, change: Callable[[fo.Dataset], object]) -> None:
    """Open a source that is not in FiftyOne yet, let another run change something, and refuse the audit."""
    with source.removed_if_refused():
        change(source.open()._root_dataset)
        raise InputError("refused")


def test_a_refused_audit_leaves_the_files_that_another_run_is_writing() -> None:
    other = image_home() / "refused-too" / "ab" / "of another run.png"

    def write(dataset: fo.Dataset) -> None:
        other.parent.mkdir(exist_ok=True)
        other.write_bytes(b"being written")

    with pytest.raises(InputError, match="refused"):
        refuse_after(resolve_source("digits", dataset="refused too", keep_labels=["0", "1"]), write)
    assert not fo.dataset_exists("refused too")
    assert [path for path in (image_home() / "refused-too").rglob("*") if path.is_file()] == [other]


def test_a_refused_audit_leaves_the_dataset_that_another_run_made() -> None:
    def take_over(dataset: fo.Dataset) -> None:
        dataset.info["influence_audit"] = dataset.info["influence_audit"] | {"made_by": "another process"}
        dataset.save()

    with pytest.raises(InputError, match="refused"):
        refuse_after(resolve_source("digits", dataset="made by another", keep_labels=["0", "1"]), take_over)
    assert fo.dataset_exists("made by another")
