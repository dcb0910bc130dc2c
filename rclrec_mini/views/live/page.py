"""A live view as HTML that needs nothing else: no server, no network, no widget manager.

The module and the export are inert JSON in it, each under a key with a hash of its content; a book's extension may move
them to scripts beside the page that set globalThis.rclrecLive[key], see book/extensions/static_book.py. What a page
shows without scripts is there from the start, and the view takes its place.
"""

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from itertools import count
from typing import Any

PART = '<script type="application/json" data-live="{key}">{json}</script>'
_numbers = count(1)

LOADER = """<script type="module">
const mount = document.getElementById("MOUNT");
const part = (key) => globalThis.rclrecLive?.[key]
  ?? JSON.parse(document.querySelector(`script[data-live="${key}"]`).textContent);
try {
  const url = URL.createObjectURL(new Blob([part("MODULE")], { type: "text/javascript" }));
  const { default: view } = await import(url);
  const state = { ...STATE, exported: part("EXPORT") };
  const heard = {};
  const model = {
    get: (name) => state[name],
    set(name, value) { state[name] = value; (heard[`change:${name}`] ?? []).forEach((listener) => listener()); },
    on(name, listener) { (heard[name] ??= []).push(listener); },
    off() {}, save_changes() {}, send() {},
  };
  const still = [...mount.children];
  await view.render({ model, el: mount });
  still.forEach((one) => one.remove());
} catch (error) {
  mount.append(`This view did not start: ${error.message}`);
  throw error;
}
</script>"""


class Page:
    """HTML of a live view.

    Args:
        name: of the view on its page; an address that ends in #NAME?... restores a state.
        module: one ES module with `default.render({model, el})`, see bundle.py.
        css: its style.
        exported: see export.py.
        state: what else the model's `get` tells.
        still: HTML for a page whose scripts are off: a picture.
        missed: a sentence on what is then missed.
    """

    def __init__(
        self, *, name: str, module: str, css: str, exported: Mapping[str, Any], state: Mapping[str, Any], still: str,
        missed: str,
    ):  # fmt: skip
        self.name, self.css, self.still, self.missed = name, css, still, missed
        self.state = {**state, "name": name}
        self.parts = {"module": module, "export": exported}

    def __repr__(self) -> str:
        return f"Page({self.name})"

    def _repr_html_(self) -> str:
        mount = f"live-{next(_numbers)}-{self.name}"
        keys, scripts = {}, []
        for what, value in self.parts.items():
            text = inert(value)
            keys[what] = f"{self.name}-{what}-{sha256(text.encode()).hexdigest()[:12]}"
            scripts.append(PART.format(key=keys[what], json=text))
        loader = LOADER.replace("MOUNT", mount).replace("MODULE", keys["module"]).replace("EXPORT", keys["export"])
        return "\n".join([
            f"<style>{self.css}</style>",
            f'<div id="{mount}">{self.still}<noscript><p class="rl-missed">{self.missed}</p></noscript></div>',
            *scripts,
            loader.replace("STATE", inert(self.state)),
        ])  # fmt: skip

    def html(self, title: str = "") -> str:
        """A whole document."""
        style = "font: 16px/1.5 system-ui, sans-serif; max-width: 54rem; margin: 2rem auto; padding: 0 1rem"
        return "\n".join([
            '<!doctype html>\n<html lang="en" style="color-scheme: light dark">\n<head><meta charset="utf-8">',
            f"<title>{escape(title or self.name)}</title>",
            '<meta name="viewport" content="width=device-width, initial-scale=1"></head>',
            f'<body style="{style}">{self._repr_html_()}</body></html>\n',
        ])  # fmt: skip


def inert(value: Any) -> str:
    """JSON that may stand in a script element: no text in it ends the element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return re.sub("<(?=[/!sS])", r"\\u003c", text)
