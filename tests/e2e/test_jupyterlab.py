"""JupyterLab as a person meets it: started, opened in a browser, run, and moved by the keyboard.

Screenshots are kept in ``test-artefacts/``.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

import pytest

from ifr.common import paths
from ifr.experiment.batch import reproduce
from ifr.profiles import get_profile

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
ARTEFACTS = paths.PACKAGE.parent / "test-artefacts"
TOKEN = "a-token-for-tests"
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
]
SECONDS = 240
pytestmark = [
    pytest.mark.notebooks,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install your system's package"),
]


@pytest.fixture(scope="module")
def results(smoke_home):
    """The results of the whole batch at profile smoke, with the networks behind them."""
    return reproduce("smoke")


@pytest.fixture(scope="module")
def lab(results, smoke_home, tmp_path_factory):
    """A running JupyterLab over the notebooks, which are set to profile smoke; its address."""
    home = tmp_path_factory.mktemp("lab")
    for folder in ("data", "models"):
        (home / folder).symlink_to(smoke_home / folder)
    (home / "notebooks").mkdir()
    for path in paths.notebooks().glob("*.ipynb"):
        text = path.read_text(encoding="utf-8")
        text = text.replace('profile = \\"classroom\\"', 'profile = \\"smoke\\"')
        (home / "notebooks" / path.name).write_text(text, encoding="utf-8")
    settings = home / "settings" / "@jupyterlab"
    for name, values in (
        ("notebook-extension/tracker", {"windowingMode": "none"}),  # every cell is on the page
        ("apputils-extension/notification", {"fetchNews": "false", "checkForUpdates": False}),
    ):
        file = settings / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = dict(
        os.environ,
        IFR_HOME=str(home),
        JUPYTERLAB_SETTINGS_DIR=str(home / "settings"),
        JUPYTER_CONFIG_DIR=str(home / "config"),
        JUPYTER_DATA_DIR=str(home / "share"),
        JUPYTER_RUNTIME_DIR=str(home / "runtime"),
        JUPYTER_PREFER_ENV_PATH="1",
        IFR_PROGRESS="0",
    )
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={TOKEN}",
        f"--ServerApp.root_dir={home / 'notebooks'}",
    ]
    with open(home / "lab.log", "w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        address = f"http://127.0.0.1:{port}"
        try:
            _wait_for(f"{address}/api/status?token={TOKEN}", server, home / "lab.log")
            yield address
        finally:
            server.terminate()
            server.wait(30)


def _wait_for(address, server, log):
    for _ in range(240):
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            assert server.poll() is None, log.read_text()[-2000:]
            time.sleep(0.5)
    raise AssertionError(f"JupyterLab did not start: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    ARTEFACTS.mkdir(exist_ok=True)
    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield found
        found.close()


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1500, "height": 1000})
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


def open_and_run(page, lab, name):
    """Open a notebook as a person would and run all its cells; return the notebook on the page."""
    from playwright.sync_api import TimeoutError as PlaywrightTimeout

    page.goto(f"{lab}/lab/tree/{name}?token={TOKEN}&reset")
    notebook = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook")
    notebook.wait_for()
    page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for(state="attached")
    begun = notebook.locator(".jp-CodeCell .jp-InputPrompt").filter(has_text=re.compile(r"[*\d]"))
    for _ in range(5):  # a kernel that is still connecting may miss the first call
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        with suppress(PlaywrightTimeout):
            begun.first.wait_for(timeout=20_000)
            break
    page.wait_for_function(  # a folded cell has no number
        """() => {
            const shown = '.jp-CodeCell .jp-InputPrompt:not(.jp-Placeholder-prompt)';
            const prompts = [...document.querySelectorAll(shown)];
            return prompts.length && prompts.every(p => /^\\[\\d+\\]:$/.test(p.textContent.trim()));
        }""",
        timeout=1000 * SECONDS,
    )
    assert "Traceback" not in notebook.inner_text()
    return notebook


def texts_of_pictures(where):
    return where.locator(".jp-OutputArea img").evaluate_all("all => all.map(one => one.alt)")


def test_00_runs_and_leads_on(page, lab):
    notebook = open_and_run(page, lab, "00_start_here.ipynb")
    assert notebook.locator("h1").all_inner_texts() == ["00 Start here"]
    tables = notebook.locator(".jp-OutputArea table").all_inner_texts()
    assert len(tables) == 2 and "filters K" in tables[0] and "templates" in tables[1]
    page.keyboard.press("Control+Shift+K")
    contents = page.locator(".jp-TableOfContents-content").filter(visible=True)
    contents.get_by_text("The notebooks", exact=True).wait_for()
    page.screenshot(path=ARTEFACTS / "00_start_here.png")
    notebook.locator(".jp-RenderedMarkdown table a").filter(has_text="01").first.click()
    page.locator(".lm-TabBar-tabLabel").filter(has_text="01_faces_and_data.ipynb").wait_for()
    page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) h1").filter(has_text="01 Faces").wait_for()


def test_the_explorer_answers_the_keyboard(page, lab):
    notebook = open_and_run(page, lab, "13_explorer.ipynb")
    sliders = notebook.locator(".widget-slider").filter(visible=True)
    sliders.first.wait_for()
    assert sliders.count() == 5
    assert notebook.locator(".widget-dropdown").filter(visible=True).count() == 3
    left = sliders.filter(has_text="left (px)").locator(".noUi-handle")
    shown = notebook.locator(".widget-html figure").filter(visible=True)
    faces = shown.locator("figcaption").filter(has_text="Person 1")
    answers = shown.filter(has_text="of the features change")
    assert "at 16, 36" in faces.inner_text() and answers.count() == 2
    before = answers.locator("img").evaluate_all("all => all.map(one => one.src)")
    page.screenshot(path=ARTEFACTS / "13_explorer_before.png")
    left.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    notebook.locator(".widget-html figcaption").filter(has_text="at 22, 36").wait_for()
    page.wait_for_function(
        """before => [...document.querySelectorAll('.widget-html figure img')]
            .filter(one => one.offsetParent).slice(-2).every((one, k) => one.src !== before[k])""",
        arg=before,
    )
    sliders.filter(has_text="turn").locator(".noUi-handle").focus()
    page.keyboard.press("ArrowLeft")
    notebook.locator(".widget-html figcaption").filter(has_text="turned by -5°").wait_for()
    left.scroll_into_view_if_needed()
    page.screenshot(path=ARTEFACTS / "13_explorer_after.png")
    notebook.get_by_role("tab", name="Two faces").click()
    sliders.filter(has_text="top (px)").locator(".noUi-handle").focus()
    page.keyboard.press("ArrowRight")
    shown.filter(has_text="at 16, 38. Beside it: another picture of person 1").wait_for()
    assert shown.filter(has_text="Without the cover the score is").count() == 2
    page.screenshot(path=ARTEFACTS / "13_explorer_pair.png")
    made = notebook.locator(".jp-RenderedHTMLCommon figcaption").filter(visible=True)
    notebook.locator("input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    made.filter(has_text="48 × 14 pixels at 24, 16").wait_for()
    assert not made.filter(has_text="pixels at 24, 8.").count()
    page.screenshot(path=ARTEFACTS / "13_explorer_slider.png")
    alts = texts_of_pictures(notebook)
    assert len(alts) >= 4 and all(len(alt) > 20 for alt in alts)


def test_every_picture_of_a_notebook_has_a_text_alternative(page, lab):
    notebook = open_and_run(page, lab, "02_barycentric_occlusion.ipynb")
    alts = texts_of_pictures(notebook)
    assert len(alts) >= 4 and all(len(alt) > 20 for alt in alts)


def test_the_index_shows_the_whole_run_without_a_network(page, results):
    page.context.set_offline(True)
    page.goto((results / "index.html").as_uri())
    for heading in ("Claims of the paper", "Figures", "Tables", "Executed notebooks", "Manifest"):
        page.get_by_role("heading", name=heading, exact=True).wait_for()
    page.evaluate("document.querySelectorAll('img').forEach(one => one.loading = 'eager')")
    page.wait_for_function("[...document.images].every(one => one.complete)")
    pictures = page.locator("img").evaluate_all(
        "all => all.map(one => [one.alt, one.naturalWidth])"
    )
    assert len(pictures) == len(list((results / "figures").glob("*.png")))
    assert all(len(alt) > 20 and width > 100 for alt, width in pictures)
    links = page.locator("a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    missing = [link for link in links if link[0] != "#" and not (results / link).exists()]
    assert not missing and len(links) > len(get_profile("smoke").notebooks)
    page.get_by_text("packages", exact=True).click()
    page.get_by_text("torchvision").first.wait_for()
    page.screenshot(path=ARTEFACTS / "index.png")


def test_the_slider_of_the_explorer_moves_in_the_page_of_its_notebook(page, results):
    page.context.set_offline(True)
    page.goto((results / "13_explorer.html").as_uri())
    slider = page.locator("input[type=range]").first
    steps = slider.locator("xpath=ancestor::div[1]/div")
    assert steps.count() > 2 and steps.nth(0).is_visible() and not steps.nth(1).is_visible()
    slider.press("ArrowRight")
    assert steps.nth(1).is_visible() and not steps.nth(0).is_visible()
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"]
