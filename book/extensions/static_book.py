"""A Sphinx extension: pages that work from a folder, with no network, and results that follow the library."""

import hashlib
import os
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config

from rclrec_mini.experiments.shared import library_key
from rclrec_mini.files import whole_file

LIVE = re.compile(r'<script type="application/json" data-live="([\w-]+)">(.*?)</script>', re.S)  # views/live/page.py


def results_key(root: Path) -> str:
    """A hash of what a notebook's results depend on besides its own cells."""
    digest = hashlib.sha256((os.environ.get("RCLREC_FAST", "") + library_key(())).encode())
    results = sorted((root / "benchmarks" / "results").rglob("*.json"))
    views = sorted(path for kind in ("js", "css") for path in (root / "rclrec_mini").rglob(f"*.{kind}"))
    for source in [*results, *views, root / "constraints.txt"]:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def key_execution_cache(app: Sphinx, config: Config) -> None:
    """Run the notebooks again when the library changed, which the cache by itself does not notice."""
    config.nb_execution_cache_path = str(Path(app.outdir).parent / ".jupyter_cache" / results_key(Path(app.srcdir)))


def add_buttons(app: Sphinx, config: Config) -> None:
    """Pages have buttons that lead to the repository if _config.yml says where it is."""
    options = config.html_theme_options
    if options["repository_url"]:
        options |= {"use_repository_button": True, "use_issues_button": True}
        options["launch_buttons"] = {"colab_url": "https://colab.research.google.com"}


def drop_repeated_scripts(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Two extensions add their inline scripts twice; the second declaration is an error in the browser's console."""
    unique = {(str(file.filename or ""), file.attributes.get("body")): file for file in context["script_files"][::-1]}
    context["script_files"][:] = list(unique.values())[::-1]


def move_live_parts(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """What live views run on becomes scripts beside the pages, which a page opened from a file may read."""
    folder = Path(app.outdir) / "_static" / "live"

    def moved(part: re.Match[str]) -> str:
        name, json = part.groups()
        script = folder / f"{name}.js"
        if not script.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with whole_file(script) as partial:
                partial.write_text(f'(globalThis.rclrecLive ??= {{}})["{name}"] = {json};\n', encoding="utf-8")
        return f'<script defer src="{"../" * page.count("/")}_static/live/{name}.js"></script>'

    if "body" in context:
        context["body"] = LIVE.sub(moved, context["body"])


def drop_widget_state(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """No page shows widgets that would need a kernel, so none carries their state."""
    state = "application/vnd.jupyter.widget-state+json"
    context["script_files"][:] = [s for s in context["script_files"] if s.attributes.get("type") != state]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", key_execution_cache)
    app.connect("config-inited", add_buttons)
    app.connect("html-page-context", move_live_parts, priority=100)
    app.connect("html-page-context", drop_repeated_scripts, priority=950)
    app.connect("html-page-context", drop_widget_state, priority=950)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
