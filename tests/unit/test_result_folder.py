"""A result is written into a new, an empty or its own folder, and never over files of somebody else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import audit
from audit.errors import InputError
from audit.files.result_folder import MARKER, is_result_folder, refuse_others_folder
from integrations.cli.outputs import check_figures, check_file, check_page, is_export, is_heat_map, is_page


@pytest.fixture(scope="module")
def result() -> audit.AuditResult:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 90)
    return audit.audit_embeddings(generator.normal(size=(90, 5)) + 3 * np.eye(3, 5)[labels], labels)


@pytest.mark.parametrize("name", ["scores.csv", "summary.json", "manifest.json", "scores.parquet", "heads.safetensors"])
def test_a_file_of_somebody_elses_stays(name: str, result: audit.AuditResult, tmp_path: Path) -> None:
    (tmp_path / name).write_text("my own")
    with pytest.raises(InputError, match=f"has a {name} that no audit wrote.*give a new folder") as error:
        result.save(tmp_path)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "my own"


def test_a_result_is_replaced_and_other_files_beside_it_stay(result: audit.AuditResult, tmp_path: Path) -> None:
    result.save(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "scores.csv").write_text("edited")
    refuse_others_folder(tmp_path)
    result.save(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "scores.csv").read_text() != "edited"


def test_what_an_interrupted_audit_left_is_gone_on_with(result: audit.AuditResult, tmp_path: Path) -> None:
    result.save(tmp_path)
    for name in ("summary.json", "manifest.json", MARKER):
        copy = tmp_path / name
        content = copy.read_bytes()
        copy.unlink()
        refuse_others_folder(tmp_path)  # any of the others tells
        if name == "summary.json":
            result.save(tmp_path)
        else:
            copy.write_bytes(content)
    for name in ("summary.json", "manifest.json"):
        (tmp_path / name).unlink()
    assert is_result_folder(tmp_path)
    assert audit.AuditResult.load(result.save(tmp_path)).summary == result.summary


def test_new_and_empty_folders_are_taken_and_others_are_not(tmp_path: Path) -> None:
    refuse_others_folder(tmp_path / "new")
    for name in (".gitkeep", ".DS_Store", ".influence-audit-a1b2", f".{MARKER}.123.tmp"):
        (tmp_path / name).touch()
    refuse_others_folder(tmp_path)
    (tmp_path / "cats").mkdir()
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"holds other files \(cats and 1 more\) and no result .* folder with -o"):
        refuse_others_folder(tmp_path, " with -o")
    (tmp_path / "manifest.json").write_text('{"name": "an app of somebody else"}')
    with pytest.raises(InputError, match="no result"):
        refuse_others_folder(tmp_path)


# --- single files ---------------------------------------------------------------------------------------------------


def test_pages_replace_pages_only(result: audit.AuditResult, tmp_path: Path) -> None:
    from reports.html import write_report

    page = tmp_path / "page.html"
    check_page(page)
    page.touch()
    check_page(page)  # an empty file, as `mktemp` makes it
    page.write_text("<html>my thesis</html>")
    with pytest.raises(InputError, match=r"page.html' exists and is no page of influence-audit; give another"):
        check_page(page)
    write_report(result, page)
    check_page(page)
    assert is_page(page.read_bytes())
    with pytest.raises(InputError, match="is a folder"):
        check_page(tmp_path)
    (result.save(tmp_path / "r") / "report.html").write_text("of an older version")
    check_page(tmp_path / "r" / "report.html")


def test_a_device_is_never_replaced() -> None:
    with pytest.raises(InputError, match="'/dev/null' is no regular file"):
        check_file(Path("/dev/null"), lambda start: True, "export")


def test_figures_go_beside_a_report_only(result: audit.AuditResult, tmp_path: Path) -> None:
    from reports.html import write_report

    figures = tmp_path / "figures"
    check_figures(figures, tmp_path / "report.html")
    figures.mkdir()
    (figures / "drawing.svg").touch()
    with pytest.raises(InputError, match="figures' holds other files"):
        check_figures(figures, tmp_path / "report.html")
    check_figures(figures, write_report(result, tmp_path / "report.html"))


@pytest.mark.parametrize("kind", ["csv", "json", "parquet", "cleanlab"])
@pytest.mark.parametrize("every", [True, False])
def test_exports_know_their_own_kind(kind: str, every: bool, result: audit.AuditResult, tmp_path: Path) -> None:
    from integrations.cli.export import _of_result, _writer

    path = tmp_path / "table"
    path.write_bytes(_writer(kind)(_of_result(result, every, kind == "cleanlab")))
    assert is_export(path.read_bytes()[:4096], path)


@pytest.mark.parametrize("content", [b"name,age\n1,2\n", b'[{"name": 1}]', b"[1]", b"PAR1 cut", b"\x00\x01", b"id\n"])
def test_other_tables_are_no_exports(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "table").write_bytes(content)
    assert not is_export(content, tmp_path / "table")


def test_an_export_without_rows_is_an_export(tmp_path: Path) -> None:
    assert is_export(b"[]\n", tmp_path)


def test_heat_maps_are_small_webp_pictures() -> None:
    import io

    from PIL import Image

    from audit.images.heat_map import overlay

    assert is_heat_map(overlay(Image.new("RGB", (300, 200)), np.zeros((20, 30))))
    large = io.BytesIO()
    Image.new("RGB", (800, 600)).save(large, "WEBP")
    assert not is_heat_map(large.getvalue())
    assert not is_heat_map(b"\x89PNG")
