"""What the product keeps is listed and deleted; what others put beside it stays, and so does what links lead to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import audit
from audit.data.samples import Samples
from audit.errors import InputError
from audit.images.embedding import embed
from audit.images.load_backbone import load_backbone
from integrations.kept import CACHE, COPIES, RESULTS, chosen, delete, in_words, kept_things


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of the test's own: `cache`, `home`, and the current one, `work`."""
    monkeypatch.setenv("INFLUENCE_AUDIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("INFLUENCE_AUDIT_HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


@pytest.fixture
def filled(places: Path) -> Path:
    """The same with embeddings, a copy of an image and two results, and files of somebody else in each folder."""
    samples = Samples(["a", "b"], [Image.new("RGB", (9, 9), color) for color in ("red", "blue")], ["x", "y"])
    embed(samples, load_backbone(weights="bundled", image_size=32, device="cpu"))
    copy = places / "home" / "images" / "pictures" / "ab" / "1-0123456789abcdef.png"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"0" * 2048)
    rng = np.random.default_rng(0)
    result = audit.audit_embeddings(rng.normal(size=(60, 4)) + np.arange(60)[:, None] % 2 * 5, np.arange(60) % 2)
    result.save(places / "home" / "results" / "pictures" / "audit")
    result.save(Path("audit-results/other/audit"))
    for folder in (copy.parent, places / "cache" / "embeddings", Path("audit-results")):
        (folder / "mine.txt").write_text("mine")
    (places / "outside").mkdir()
    (places / "outside" / "0123456789abcdef0123456789abcdef.safetensors").write_text("mine")
    (outside,) = (places / "outside").iterdir()
    (next((places / "cache" / "embeddings").glob("*/")) / outside.name).symlink_to(outside)
    (places / "cache" / "embeddings" / "linked").symlink_to(places / "outside")
    return places


def mine(places: Path) -> list[str]:
    return sorted(str(path.relative_to(places)) for path in places.rglob("mine.txt"))


def test_all_that_is_kept_is_listed_with_its_size(filled: Path) -> None:
    things = kept_things()
    assert [thing.kind for thing in things] == [CACHE, COPIES, RESULTS, RESULTS]
    assert [thing.name for thing in things][1:] == ["pictures", "pictures/audit", "other/audit"]
    assert things[0].name.startswith("embeddings/resnet18-")
    assert (things[0].others, things[1].others, things[1].size) == (1, 1, 2048)
    assert all(thing.size == sum(path.stat().st_size for path in thing.files) for thing in things)
    assert in_words(things[1].size) == "2.0 KiB"


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        ([CACHE], [COPIES, RESULTS, RESULTS]),
        ([COPIES], [CACHE, RESULTS, RESULTS]),
        ([RESULTS], [CACHE, COPIES]),
        (["pictures"], [CACHE, RESULTS]),
        (["other/audit", "embeddings"], [COPIES, RESULTS]),
        ([CACHE, COPIES, RESULTS], []),
    ],
)
def test_what_is_named_is_deleted_and_nothing_else(filled: Path, wanted: list[str], left: list[str]) -> None:
    before, others = kept_things(), mine(filled)
    meant = chosen(before, wanted)
    assert delete(meant) == sum(thing.size for thing in meant)
    assert [thing.kind for thing in kept_things()] == left
    assert not any(path.exists() for thing in meant for path in thing.files)
    assert mine(filled) == others, "somebody else's files stay"
    assert list((filled / "outside").iterdir()), "what a link leads to stays"


def test_a_name_that_means_nothing_is_refused_with_those_that_do(filled: Path) -> None:
    with pytest.raises(
        InputError, match=r"--delete 'audit' is nothing that is kept; it takes cache, .* pictures/audit"
    ):
        chosen(kept_things(), ["audit"])
    with pytest.raises(InputError, match="nothing that is kept"):
        chosen(kept_things(), ["../outside"])


def test_a_folder_that_is_no_result_is_never_listed(places: Path) -> None:
    foreign = Path("audit-results/pictures/audit")
    foreign.mkdir(parents=True)
    (foreign / "report.html").write_text("mine")
    (places / "home" / "images" / "pictures").mkdir(parents=True)
    (places / "home" / "images" / "pictures" / "cat.png").write_bytes(b"mine")
    (places / "cache" / "embeddings" / "clip").mkdir(parents=True)
    (places / "cache" / "embeddings" / "clip" / "model.safetensors").write_bytes(b"mine")
    assert kept_things() == []
    assert chosen(kept_things(), [CACHE, COPIES, RESULTS]) == []
