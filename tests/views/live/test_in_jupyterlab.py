"""The inspector as a widget of a live JupyterLab: what is done in it is known to Python and to other widgets."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import jupytext
import pytest
import torch

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
LAB = Path(sys.executable).with_name("jupyter-lab")

pytestmark = pytest.mark.slow

NOTEBOOK = """# %%
import torch
from ipywidgets import IntSlider, Label, VBox, link
from rclrec_mini import views
from rclrec_mini.experiments.materials import Materials

torch.set_num_threads(1)
models = torch.load("models.pt", weights_only=False)
inspector = views.Inspector(models, Materials.load("data", "ids"), users=20, engine=ENGINE)
told = Label()

def tell(change):
    told.value = f"user {inspector.user}, k {inspector.k}, {len(inspector.history)} events, {inspector.selected}"

inspector.observe(tell, ["user", "k", "history", "selected"])
tell(None)
slider = IntSlider(min=0, max=5, description="other k")
link((inspector, "k"), (slider, "value"))
VBox([inspector, slider, told])
"""


@pytest.fixture(scope="module")
def lab(models, materials, tmp_path_factory) -> Iterator[str]:
    """The address of a JupyterLab over a folder with one notebook for each engine."""
    root = tmp_path_factory.mktemp("lab")
    torch.save(models, root / "models.pt")
    for name in ("data", "ids"):
        shutil.copytree(materials.folder.parent / name, root / name)
    for engine in ("page", "kernel"):
        text = NOTEBOOK.replace("ENGINE", f'"{engine}"')
        cells = jupytext.reads(text, "py:percent")
        cells.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        jupytext.write(cells, root / f"{engine}.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"JUPYTER_CONFIG_DIR": "config", "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "spaces"}
    variables = os.environ | {name: str(root / folder) for name, folder in own.items()}
    options = ["--no-browser", "--allow-root", "--IdentityProvider.token=", f"--port={port}", "--LabApp.news_url=None"]
    quiet = "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"
    server = subprocess.Popen(
        [LAB, *options, quiet, f"--ServerApp.root_dir={root}"],
        env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=root,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    for _ in range(240):
        try:
            urlopen(f"{address}/api/status").close()
            break
        except URLError:
            time.sleep(0.5)
    yield address
    server.terminate()
    server.wait(30)


@pytest.fixture
def notebook(lab, browser):
    """Opens a notebook of the Lab and runs it; nothing but the Lab itself is asked for anything."""
    asked, errors = [], []
    context = browser.new_context(viewport={"width": 1300, "height": 2200})
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))

    def refuse(route) -> None:
        asked.append(route.request.url)
        route.abort()

    def run(name: str):
        page.goto(f"{lab}/lab/tree/{name}.ipynb?reset")
        page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for(timeout=90_000)
        page.locator(".jp-Cell .cm-content").click()
        page.wait_for_timeout(3000)  # a kernel is called idle before the notebook has its ear
        page.keyboard.press("Control+Enter")
        page.locator(".rl-inspector[data-shown]").wait_for(timeout=90_000)
        return page

    page.route(re.compile(r"^https?://(?!127\.0\.0\.1)"), refuse)
    yield run
    context.close()
    assert (asked, errors) == ([], [])


@pytest.mark.parametrize("engine", ["page", "kernel"])
def test_view_and_python_follow_each_other(notebook, engine):
    page = notebook(engine)
    expect, told = playwright.expect, page.locator(".widget-label", has_text="events,")
    expect(told).to_contain_text("k 3,")
    page.get_by_label("k, events").fill("1")  # in the view
    expect(told).to_contain_text(re.compile(r"k 1, \d+ events, \[\d+\]"), timeout=20_000)
    expect(page.locator(".widget-readout")).to_have_text("1")
    shown = page.locator(".rl-curriculum li[data-column]")
    expect(shown).to_have_count(1)
    handle = page.locator(".noUi-handle")
    handle.focus()
    handle.press("ArrowRight")  # in the other widget
    expect(shown).to_have_count(2, timeout=20_000)
    expect(page.locator(".rl-live")).to_contain_text("Set from Python")
    columns = shown.evaluate_all("all => all.map((e) => Number(e.dataset.column))")
    expect(told).to_contain_text(str(columns))
    events = page.locator(".rl-event")
    n = events.count()
    page.locator(".rl-event[tabindex='0']").focus()
    page.keyboard.press("Delete")  # the event, not the cell
    expect(told).to_contain_text(f"{n - 1} events")
    assert page.locator(".jp-Notebook .jp-Cell").count() == 1
    before = told.inner_text().split(",")[0]
    page.get_by_label("next user").click()
    expect(told).not_to_contain_text(f"{before},", timeout=20_000)
    expect(page.locator(".rl-user")).to_have_text(told.inner_text().split(",")[0], timeout=20_000)
