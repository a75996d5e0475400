"""JupyterLab and Chromium for the tests of this folder, which refuse to run where one of them is missing."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NO_PLAYWRIGHT = 'playwright is missing: pip install -e ".[browser]"'
NO_CHROMIUM = """Chromium is missing: python -m playwright install chromium
(or, on Debian, apt-get install chromium; or name yours in the environment variable COURSE_CHROMIUM)"""
SETTINGS = {
    # No request to the internet, and no message over the page.
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    # All cells are in the page, so that a test finds those, too, that are out of sight.
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
}
START_SECONDS = 120
CHROMIUM = pytest.StashKey[str]()
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def pytest_configure(config: pytest.Config) -> None:
    """Say what to install, and end with an error: skipped tests would look like passed ones."""
    config.stash[CHROMIUM] = find_chromium()


def find_chromium() -> str:
    """Return the program: the one that is named, or Playwright's own, or the system's."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise pytest.UsageError(NO_PLAYWRIGHT) from error
    if named := os.environ.get("COURSE_CHROMIUM"):
        if not shutil.which(named):
            raise pytest.UsageError(f"COURSE_CHROMIUM names no program: {named}")
        return named
    with sync_playwright() as playwright:
        names = (playwright.chromium.executable_path, "chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if not found:
        raise pytest.UsageError(NO_CHROMIUM)
    return found


@dataclass(frozen=True)
class Lab:
    """A JupyterLab that runs, with settings, workspaces and notebooks of its own."""

    address: str
    token: str
    root: Path

    def end_kernels(self, page: Page) -> None:
        headers = {"Authorization": f"token {self.token}"}
        for session in page.request.get(f"{self.address}/api/sessions", headers=headers).json():
            page.request.delete(f"{self.address}/api/sessions/{session['id']}", headers=headers)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def surroundings(folder: Path) -> dict[str, str]:
    """The user's environment, with the course's cache, which takes time to make; but nobody's settings of Jupyter."""
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    places = {name: str(folder / name) for name in (*names, "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")}
    for name, values in SETTINGS.items():
        file = Path(places["JUPYTERLAB_SETTINGS_DIR"], f"{name}.jupyterlab-settings")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values), encoding="utf-8")
    return {**os.environ, **places}


def wait_for(server: subprocess.Popen, address: str, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            urlopen(f"{address}/api", timeout=5).close()  # the one page that asks for no token
            return
        except (URLError, TimeoutError):
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text(encoding='utf-8')[-3000:]}", pytrace=False)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab over an empty folder; it is ended with its kernels.

    It starts before `own_cache` changes the environment: fixtures of a session come before those of a test.
    """
    folder, port = tmp_path_factory.mktemp("lab"), free_port()
    lab = Lab(f"http://127.0.0.1:{port}", secrets.token_hex(), folder / "notebooks")
    lab.root.mkdir()
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={lab.root}"]
    command += [f"--IdentityProvider.token={lab.token}", "--LabApp.expose_app_in_browser=True"]
    command += ["--allow-root"] if IS_ROOT else []
    log = folder / "log.txt"
    with log.open("w", encoding="utf-8") as output:
        server = subprocess.Popen(command, env=surroundings(folder), stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_for(server, lab.address, log)
            yield lab
        finally:
            server.terminate()  # which ends its kernels
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:
                server.kill()  # a kernel ends itself when its server is gone


@pytest.fixture(scope="session")
def chromium(pytestconfig: pytest.Config) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    program, arguments = pytestconfig.stash[CHROMIUM], ["--no-sandbox"] if IS_ROOT else []
    with sync_playwright() as playwright:
        launch = playwright.chromium.launch
        browser = launch(executable_path=program, args=arguments, ignore_default_args=["--hide-scrollbars"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser, lab: Lab) -> Iterator[Page]:
    """An empty page; the kernels of what is opened in it end with it."""
    context = chromium.new_context()
    page = context.new_page()
    yield page
    lab.end_kernels(page)
    context.close()
