"""Any source that a text names opens as a FiftyOne dataset, the same one each time."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import datasets
import fiftyone as fo
import pytest
from PIL import Image

from audit.errors import InputError
from audit.progress import Step
from integrations.fiftyone.importing import LEFT_SOURCE, image_home, import_images
from integrations.sources import FiftyOneSource, resolve_source
from integrations.sources.digits import digits
from integrations.sources.huggingface import parquet_files
from integrations.sources.labelled_images import LabelledImage, LabelledImages
from tests.one_line import one_line

Names = Callable[[str], str]


def jpeg(shade: int = 100) -> bytes:
    encoded = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(encoded, "JPEG")
    return encoded.getvalue()


def write(path: Path, content: bytes | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg() if content is None else content)
    return path


def images(*rows: tuple[str, bytes | None, str | None], name: str = "rows") -> LabelledImages:
    listed = [LabelledImage(source_id, image, label, None) for source_id, image, label in rows]
    return LabelledImages(name, f"test:{name}", len(listed), lambda: iter(listed))


# --- hugging face ---------------------------------------------------------------------------------------------------


def test_missing_labels_are_none_and_rows_without_image_are_told(tmp_path: Path, dataset_name: Names) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    rows = {"image": [{"bytes": jpeg(), "path": None}] * 3 + [None], "label": [0, -1, None, 1]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "train.parquet")
    source = parquet_files(tmp_path / "train.parquet")
    assert [row.label for row in source] == ["a", None, None, "b"]
    notes: list[Step] = []
    opened = import_images(source, dataset_name("nulls"), notes.append)
    assert opened.values("ground_truth.label") == ["a", None, None]
    assert any("hold no image" in step.note for step in notes)


# --- names ----------------------------------------------------------------------------------------------------------


def test_a_text_is_taken_as_path_then_as_dataset_then_as_hub_name(
    parquet_folder: Path, tmp_path: Path, dataset_name: Names
) -> None:
    write(tmp_path / "cat" / "a.jpg")
    fo.Dataset(dataset_name("house pets"))
    assert resolve_source("digits").description == "digits"
    assert resolve_source(str(tmp_path)).description == f"folder:{tmp_path}"
    assert resolve_source(f"folder:{tmp_path}").description == f"folder:{tmp_path}"
    assert resolve_source(str(parquet_folder)).description.startswith("parquet:")
    assert resolve_source("house pets") == FiftyOneSource("house pets")
    assert resolve_source("fiftyone:house pets", view="x", label_field="y") == FiftyOneSource("house pets", "x", "y")


def test_an_unknown_source_says_what_was_tried_and_what_is_near(dataset_name: Names, tmp_path: Path) -> None:
    fo.Dataset(dataset_name("my-pets"))
    with pytest.raises(InputError, match=r"'my-pet' is no path .* \(did you mean 'my-pets'\?\)") as error:
        resolve_source("my-pet")
    one_line(error.value)
    with pytest.raises(InputError, match="names nothing after hf:"):
        resolve_source("hf:")
    with pytest.raises(InputError, match=r"is a file but no .parquet file"):
        resolve_source(str(write(tmp_path / "x.zip")))
    with pytest.raises(InputError, match="is no path that exists"):
        resolve_source("")


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("digits", {"view": "flagged"}),
        ("digits", {"image_column": "image"}),
        ("fiftyone:pets", {"dataset": "other"}),
        ("fiftyone:pets", {"label_column": "label"}),
    ],
)
def test_an_option_that_does_not_go_with_the_source_is_refused(text: str, options: dict[str, str]) -> None:
    with pytest.raises(InputError, match="does not apply to"):
        resolve_source(text, **options)  # type: ignore[arg-type]


def test_opening_an_existing_dataset_checks_view_field_and_classes(dataset_name: Names) -> None:
    dataset = fo.Dataset(dataset_name("existing"))
    dataset.add_samples(
        [
            fo.Sample(f"/tmp/{number}.jpg", ground_truth=fo.Classification(label=label))
            for number, label in enumerate(["a", "a", "b", "b", "c", "tench, Tinca tinca"])
        ]
    )
    dataset.save_view("first", dataset.limit(3))
    assert len(resolve_source("existing", view="first").open()) == 3
    for keep in (["a", "c"], ["a, c"], ["a", "tench, Tinca tinca"]):
        assert len(resolve_source("existing", keep_labels=keep).open()) == 3
    with pytest.raises(InputError, match="has no saved view 'frist'; it has: first"):
        resolve_source("existing", view="frist").open()
    with pytest.raises(InputError, match="no class 'd' to keep; it has: a, b, c, tench"):
        resolve_source("existing", keep_labels=["d"]).open()
    with pytest.raises(InputError, match="there is no FiftyOne dataset 'exisitng'"):
        resolve_source("fiftyone:exisitng").open()


# --- import ---------------------------------------------------------------------------------------------------------


def test_importing_twice_adds_nothing_and_writes_nothing_again(dataset_name: Names) -> None:
    steps: list[Step] = []
    source = resolve_source("digits", dataset=dataset_name("digits-twice"), keep_labels=["0", "1"])
    first = source.open(steps.append)
    before = {path: Path(path).stat().st_mtime_ns for path in first.values("filepath")}
    ids = first.values("id")
    second = source.open()
    assert second.values("id") == ids
    assert {path: Path(path).stat().st_mtime_ns for path in second.values("filepath")} == before
    assert all(image_home() in Path(path).parents for path in before)
    assert steps[-1] == Step("import", len(ids), len(ids), "images")
    dataset = fo.load_dataset("digits-twice")
    assert dataset.persistent
    assert dataset.media_type == "image"
    assert dataset.info["influence_audit"]["source"] == "digits"


def test_a_correction_in_fiftyone_outlives_imports_and_a_change_of_the_source_arrives(dataset_name: Names) -> None:
    name = dataset_name("corrections")
    import_images(images(("1", jpeg(1), "cat"), ("2", jpeg(2), "cat"), ("3", jpeg(3), "cat")), name)
    dataset = fo.load_dataset(name)
    dataset.match({"source_id": {"$in": ["1", "3"]}}).set_values(
        "ground_truth", [fo.Classification(label="lynx"), fo.Classification(label="lynx")]
    )
    steps: list[Step] = []
    import_images(images(("1", jpeg(1), "cat"), ("2", jpeg(2), "dog"), ("3", jpeg(3), "dog")), name, steps.append)
    labels = dict(zip(*dataset.values(["source_id", "ground_truth.label"]), strict=True))
    assert labels == {"1": "lynx", "2": "dog", "3": "lynx"}
    assert dataset.values("source_label") == ["cat", "dog", "dog"]
    assert [step.note for step in steps if step.note] == [
        "1 label(s) updated, as they changed in test:rows",
        "1 label(s) changed in test:rows but were corrected in FiftyOne; corrections stay",
    ]


def test_what_left_the_source_stays_outside_the_audited_view_until_it_comes_back(dataset_name: Names) -> None:
    name = dataset_name("leaving")
    both = images(("1", jpeg(1), "a"), ("2", jpeg(2), "b"))
    import_images(both, name)
    view = import_images(images(("1", jpeg(1), "a")), name)
    assert view.values("source_id") == ["1"]
    assert fo.load_dataset(name).count_sample_tags() == {LEFT_SOURCE: 1}
    assert import_images(both, name).values("source_id") == ["1", "2"]
    assert fo.load_dataset(name).count_sample_tags() == {}


def test_keeping_some_labels_is_no_leaving(dataset_name: Names) -> None:
    name = dataset_name("keeping")
    import_images(digits(["0", "1", "2"]), name)
    view = import_images(digits(["1"]), name)
    assert view.distinct("ground_truth.label") == ["1"]
    assert fo.load_dataset(name).count_sample_tags() == {}
    assert fo.load_dataset(name).distinct("ground_truth.label") == ["0", "1", "2"]


def test_a_changed_image_replaces_its_file(dataset_name: Names) -> None:
    name = dataset_name("changing")
    (old,) = import_images(images(("1", jpeg(1), "a")), name).values("filepath")
    (new,) = import_images(images(("1", jpeg(200), "a")), name).values("filepath")
    assert not Path(old).exists()
    assert Path(new).read_bytes() == jpeg(200)


def test_file_names_stay_in_the_folder_of_their_dataset_whatever_the_source_calls_them(dataset_name: Names) -> None:
    ids = ["../../../etc/passwd", "/abs", "a\0b", "..", "x" * 500, "\N{CAT FACE}", "\N{DOG FACE}"]
    rows = [(source_id, jpeg(number), "a") for number, source_id in enumerate(ids)]
    view = import_images(images(*rows), dataset_name("hostile names"))
    folder = image_home() / "hostile-names"
    paths = [Path(path) for path in view.values("filepath")]
    assert len(set(paths)) == len(ids)
    assert all(path.resolve().is_relative_to(folder) and path.is_file() for path in paths)


def test_files_are_named_after_their_content(dataset_name: Names) -> None:
    encoded = {}
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"):
        buffer = io.BytesIO()
        Image.new("RGB", (4, 4)).save(buffer, kind)
        encoded[kind] = buffer.getvalue()
    rows = [(kind, content, "a") for kind, content in encoded.items()]
    view = import_images(images(*rows, ("broken", b"nothing", "a")), dataset_name("kinds"))
    suffixes = Counter(Path(path).suffix for path in view.values("filepath"))
    assert suffixes == {".jpg": 2, ".png": 1, ".gif": 1, ".bmp": 1, ".tif": 1, ".webp": 1}


def test_a_dataset_that_someone_else_made_is_never_written_into(dataset_name: Names) -> None:
    fo.Dataset(dataset_name("theirs"))
    with pytest.raises(InputError, match=r"not made by influence-audit; .*--dataset NAME.* fiftyone:theirs"):
        import_images(images(), "theirs")
    import_images(images(("1", jpeg(), "a"), name="one"), dataset_name("ours"))
    with pytest.raises(InputError, match="was made from test:one, not from test:two"):
        import_images(images(name="two"), "ours")
    with pytest.raises(InputError, match="cannot be the name"):
        import_images(images(), "???")
    with pytest.raises(InputError, match=r"cannot be made .*in use by dataset 'theirs'"):
        import_images(images(), "Theirs")


def test_parquet_becomes_a_dataset_with_splits_as_tags(parquet_folder: Path, dataset_name: Names) -> None:
    view = resolve_source(str(parquet_folder), dataset=dataset_name("boats")).open()
    tags = view.count_sample_tags()
    assert set(tags) == {"train", "validation"}
    assert sum(tags.values()) == len(view)
    stored = dict(zip(*view.values(["source_id", "filepath"]), strict=True))
    for row in list(parquet_files(parquet_folder))[:5]:
        assert Path(stored[row.source_id]).read_bytes() == row.image
