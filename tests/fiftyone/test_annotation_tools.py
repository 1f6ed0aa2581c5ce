"""The flagged samples as tasks for CVAT and Label Studio, read back by FiftyOne's importers of their formats."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import fiftyone as fo
import pytest
import typer
from fiftyone.utils.labelstudio import import_label_studio_annotation

from audit.errors import InputError
from audit.result import AuditResult
from integrations.annotation.cvat import write_cvat
from integrations.annotation.label_studio import label_studio_configuration, label_studio_tasks
from integrations.cli import add_subcommands
from integrations.cli.root import cli
from integrations.fiftyone.importing import import_images
from integrations.sources.digits import digits
from integrations.sources.keys import with_keys
from integrations.sources.labelled_images import LabelledImages
from tests.fiftyone.made_up import made_up_result

add_subcommands()
NAME = "digits for tools"


@pytest.fixture(scope="module")
def result() -> Iterator[AuditResult]:
    listed = list(digits(["0", "1", "2"]))[:60]
    view = import_images(LabelledImages("digits", "digits", 60, lambda: iter(listed)), NAME)
    keys = dict(zip(*view.values(["id", "source_id"]), strict=True))
    yield with_keys(made_up_result(view, inject=False), keys)
    fo.delete_dataset(NAME)


def test_cvats_format_is_read_back_by_its_importer(
    result: AuditResult, tmp_path: Path, dataset_name: Callable[[str], str]
) -> None:
    count = write_cvat(result, tmp_path)
    assert count == len(result.flagged) > 5
    read = fo.Dataset.from_dir(
        name=dataset_name("from cvat"), dataset_type=fo.types.CVATImageDataset, dataset_dir=str(tmp_path)
    )
    assert len(read) == count
    by_content = {
        Path(path).read_bytes(): key
        for path, key in zip(result.flagged["filepath"], result.flagged["key"], strict=True)
    }
    wanted = result.flagged.set_index("key")
    for sample in read:
        (tag,) = sample["classifications"].classifications
        row = wanted.loc[by_content[Path(sample.filepath).read_bytes()]]
        assert tag.label == row["suggested_label"]
        assert str(tag["given_label"]) == row["label"]
        assert tag["key"] == row.name
        assert tag["suspicion"] == pytest.approx(row["suspicion"], abs=1e-6)
        assert (sample.metadata.width, sample.metadata.height) == (64, 64)


def test_two_files_of_one_name_and_odd_labels_are_kept_apart(
    result: AuditResult, tmp_path: Path, dataset_name: Callable[[str], str]
) -> None:
    scores = result.flagged.iloc[:2].copy()
    for place, path in enumerate(scores["filepath"]):
        (tmp_path / str(place)).mkdir()
        shutil.copy(path, tmp_path / str(place) / "a & b.png")
    scores["filepath"] = [str(tmp_path / str(place) / "a & b.png") for place in range(2)]
    scores["suggested_label"] = ['"cat" <&> dog', "bell\x07"]
    write_cvat(replace(result, scores=scores), tmp_path / "out")
    read = fo.Dataset.from_dir(
        name=dataset_name("odd names"), dataset_type=fo.types.CVATImageDataset, dataset_dir=str(tmp_path / "out")
    )
    labels = {sample["classifications"].classifications[0].label for sample in read}
    assert labels == {'"cat" <&> dog', "bell\ufffd"}
    assert len({Path(path).name for path in read.values("filepath")}) == 2


def test_label_studios_tasks_have_the_documented_form_and_are_read_back(result: AuditResult) -> None:
    tasks = label_studio_tasks(result)
    assert json.loads(json.dumps(tasks)) == tasks
    configuration = ElementTree.fromstring(label_studio_configuration(result.summary.classes))
    choices = configuration.find("Choices")
    image = configuration.find("Image")
    assert choices is not None
    assert image is not None
    known = {choice.attrib["value"] for choice in choices}
    for task, (_, row) in zip(tasks, result.flagged.iterrows(), strict=True):
        (prediction,) = task["predictions"]
        (chosen,) = prediction["result"]
        field, label = import_label_studio_annotation(chosen)
        assert (field, label.label) == ("label", row["suggested_label"])
        assert chosen["value"]["choices"][0] in known
        assert (chosen["from_name"], chosen["to_name"]) == (choices.attrib["name"], choices.attrib["toName"])
        assert chosen["to_name"] == image.attrib["name"]
        assert image.attrib["value"].removeprefix("$") in task["data"]
        assert 0 <= prediction["score"] <= 1
        _, _, path = task["data"]["image"].partition("?d=")
        assert Path("/" + unquote(path)).read_bytes() == Path(row["filepath"]).read_bytes()


def test_the_command_writes_tasks_and_replaces_nothing_of_yours(
    result: AuditResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def export(*arguments: object) -> None:
        words = ["export", str(tmp_path / "result"), *map(str, arguments)]
        typer.main.get_command(cli)(words, standalone_mode=False)

    result.save(tmp_path / "result")
    for _ in range(2):
        export("--to", "label-studio", "-o", tmp_path / "tasks.json")
    assert len(json.loads((tmp_path / "tasks.json").read_text())) == len(result.flagged)
    assert (tmp_path / "tasks-configuration.xml").is_file()
    export("--to", "cvat", "-o", tmp_path / "cvat")
    assert (tmp_path / "cvat" / "labels.xml").is_file()
    assert "CVAT for images 1.1" in capsys.readouterr().err
    (tmp_path / "mine.json").write_text("[1]")
    for arguments, message in (
        (("--to", "cvat", "-o", tmp_path / "cvat"), "exists; give the name of a new folder"),
        (("--to", "label-studio", "-o", tmp_path / "mine.json"), "is no tasks of influence-audit"),
        (("--to", "excel", "-o", tmp_path / "x"), "give --to with one of label-studio, cvat"),
        (("--to", "cvat"), "needs an --output"),
        (("--to", "cvat", "--all", "-o", tmp_path / "x"), "leave --format and --all out"),
    ):
        with pytest.raises(InputError, match=message):
            export(*arguments)


def test_pictures_that_are_no_files_are_refused(result: AuditResult) -> None:
    scores = result.scores.assign(filepath=None)
    with pytest.raises(InputError, match="are no files that are there"):
        label_studio_tasks(replace(result, scores=scores))
    with pytest.raises(InputError, match="flags no sample"):
        label_studio_tasks(replace(result, scores=result.scores.assign(flag=False)))
