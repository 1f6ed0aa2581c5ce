"""Every test session has a FiftyOne, a cache and a home of its own, and leaves no process behind.

Nothing is started here: the database by the folders that need one (tests/mongod.py), the browser by its first test.
"""

from __future__ import annotations

import atexit
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import psutil
import pytest

from tests.browsers import BROWSER_OPTIONS, BROWSERS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

    from tests.mongod import Mongod

pytest_plugins = ["tests.made_reports"]

PATIENCE_MILLISECONDS = 120_000

# A shell's background jobs ignore SIGINT, and so would all that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples each time: what passed once does not fail where nothing changed.
hypothesis.settings.register_profile("repeatable", derandomize=True)
hypothesis.settings.load_profile("repeatable")

SESSION = Path(tempfile.mkdtemp(prefix="influence-audit-tests-"))

# Set while this file is imported: FiftyOne reads them once, when it is first imported.
os.environ.update(
    {
        "FIFTYONE_DATABASE_DIR": str(SESSION / "database"),
        "FIFTYONE_DATABASE_NAME": f"influence_audit_tests_{os.getpid()}",
        "FIFTYONE_DEFAULT_DATASET_DIR": str(SESSION / "datasets"),
        "FIFTYONE_PLUGINS_DIR": str(SESSION / "plugins"),
        "FIFTYONE_DO_NOT_TRACK": "true",
        "HF_DATASETS_CACHE": str(SESSION / "huggingface"),
        "INFLUENCE_AUDIT_CACHE": str(SESSION / "cache"),
        "INFLUENCE_AUDIT_HOME": str(SESSION / "home"),
        "OMP_WAIT_POLICY": "PASSIVE",  # as `import audit` sets it, for tests that import torch first
    }
)

# Several sessions side by side (`pytest -n 2`) share the processors.
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // int(workers))))


@atexit.register
def _leave_nothing() -> None:
    """Stop what this process started and is still there (mongod's keeper waits for us to be gone), and clean up."""
    # On a server of the user's own, only our database goes: FiftyOne has the user's where it was imported before this.
    fiftyone = sys.modules.get("fiftyone")
    if (
        fiftyone
        and not (SESSION / "mongod").exists()
        and fiftyone.config.database_name == os.environ["FIFTYONE_DATABASE_NAME"]
    ):
        fiftyone.core.odm.drop_database()
    started = psutil.Process().children(recursive=True)
    for process in started:
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(started, timeout=10)
    for process in alive:
        process.kill()
    shutil.rmtree(SESSION, ignore_errors=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, and count as deselected, what needs development data where nobody names their folder."""
    if os.environ.get("INFLUENCE_AUDIT_DATA"):
        return
    left_out = [item for item in items if item.get_closest_marker("development_data")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_report_header() -> str:
    """Say whether the tests on development data are run."""
    named = os.environ.get("INFLUENCE_AUDIT_DATA")
    if named:
        return f"development data: {named} (INFLUENCE_AUDIT_DATA)"
    return "development data: not named by INFLUENCE_AUDIT_DATA, so the tests on them are deselected"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """With a browser test's failure, tell what its windows showed."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    opened = getattr(item, "funcargs", {}).get("browser")
    if not report.failed or opened is None:
        return
    from playwright.sync_api import Error

    for number, page in enumerate(page for context in opened.contexts for page in context.pages):
        picture = SESSION.parent / f"{item.name}-{number}.png"
        try:
            page.screenshot(path=picture)
            shown = page.inner_text("body")[:4000]
        except Error as error:  # it crashed, say: the test's own failure is what matters
            shown = f"cannot be shown ({error.message})"
        report.sections.append((f"window at {page.url}, {picture}", shown))


@pytest.fixture
def dataset_name() -> Iterator[Callable[[str], str]]:
    """Makes names of FiftyOne datasets that are deleted after the test."""
    import fiftyone as fo

    given: list[str] = []

    def name(text: str) -> str:
        given.append(text)
        return text

    yield name
    for text in given:
        if fo.dataset_exists(text):
            fo.delete_dataset(text)


class PatientBrowser:
    """A browser whose pages wait as long for what they are asked for as a busy machine takes.

    Args:
        opened: the browser itself.
    """

    def __init__(self, opened: Browser) -> None:
        self._opened = opened

    @property
    def contexts(self) -> list[BrowserContext]:
        """What is open in it."""
        return self._opened.contexts

    def new_context(self, **options: Any) -> BrowserContext:
        """As Playwright's method of this name."""
        context = self._opened.new_context(**options)
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        return context

    def new_page(self, **options: Any) -> Page:
        """As Playwright's method of this name."""
        page = self._opened.new_page(**options)
        page.set_default_timeout(PATIENCE_MILLISECONDS)
        return page


# Of a module, not of the session: while Playwright is open its event loop runs, in which FiftyOne's operators of a
# later test in the same process would return tasks in place of results.
@pytest.fixture(scope="module")
def _opened_browser() -> Iterator[PatientBrowser]:
    from playwright.sync_api import sync_playwright

    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"browser test not made: none of {', '.join(BROWSERS)} is on this machine")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=BROWSER_OPTIONS)
        yield PatientBrowser(opened)
        opened.close()


@pytest.fixture
def browser(_opened_browser: PatientBrowser) -> Iterator[PatientBrowser]:
    """A headless Chromium or Chrome; where there is none, the tests that ask for it are reported as not made."""
    yield _opened_browser
    for context in _opened_browser.contexts:  # those that a test which failed has left
        context.close()


@pytest.fixture
def mongod(tmp_path: Path) -> Iterator[Mongod]:
    """A MongoDB server of the test's own, that it may kill and start again."""
    from tests.mongod import MONGOD, Mongod

    if not MONGOD.is_file():
        pytest.skip("restart of the database not tested: FiftyOne has no mongod of its own here")
    server = Mongod(tmp_path / "mongod")
    yield server
    server.kill()


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs with room for 16 KiB; where mounting is not permitted, files of this process may grow to 4 KiB only."""
    folder = tmp_path / "full"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode == 0:
        yield folder
        subprocess.run(["umount", str(folder)], check=True)  # which fails where a file of it is still open
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield folder
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def closed_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that does not answer."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    # What urllib made before knows no proxy, and what it makes now would stay for later tests.
    monkeypatch.setattr(urllib.request, "_opener", None)


@pytest.fixture(scope="session")
def parquet_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.parquet and valid.parquet, as Hugging Face has them: digits that are named tables and boats.

    They hold 320 and 40 images of 64 px, as pictures of two classes.
    """
    from datasets import ClassLabel, Dataset, Features, Image

    from integrations.sources.digits import digits

    folder = tmp_path_factory.mktemp("parquet")
    images = list(digits(["0", "1"]))
    features = Features({"image": Image(), "label": ClassLabel(names=["dining table", "gondola"])})
    for split, part in {"train": images[:320], "valid": images[320:]}.items():
        rows = {
            "image": [{"bytes": image.image, "path": None} for image in part],
            "label": [int(image.label == "1") for image in part],
        }
        Dataset.from_dict(rows, features=features).to_parquet(folder / f"{split}.parquet")
    return folder
