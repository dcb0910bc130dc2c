"""The address of the repository: `repository` in _config.yml names it, or nothing does, and every other place follows.

`make repository URL=https://github.com/OWNER/NAME` writes it everywhere; `make repository URL=` takes it out again.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOTHING_OR_GITHUB = r"(https://github\.com/[\w.-]+/[\w.-]+)?"
LINES = {  # file: the line before, and the line that follows it where there is an address
    "pyproject.toml": ("[project.urls]", 'Source = "{url}"'),
    "CITATION.cff": ("license: MIT", "repository-code: {url}"),
    "book/intro.md": (
        "`make lab` opens all of them in JupyterLab.",
        "The rocket at the top of a chapter opens it in Colab, and copies come from [its home]({url}).",
    ),
}


def configured(root: Path = ROOT) -> str:
    """The address in _config.yml, empty if there is none."""
    return re.search(r'^repository:\n  url: "(.*)"$', (root / "_config.yml").read_text(), re.M)[1]


def following(url: str, root: Path = ROOT) -> dict[Path, str]:
    """{file: its text} of every file that names the address, as the file should be."""
    texts = {root / "_config.yml": put(root / "_config.yml", r'(?<=^repository:\n  url: ").*(?="$)', url)}
    for name, (before, line) in LINES.items():
        start, end = line.split("{url}")
        old = rf"(?<=^{re.escape(before)}\n)(?:{re.escape(start)}.*{re.escape(end)}\n)?"
        texts[root / name] = put(root / name, old, line.format(url=url) + "\n" if url else "")
    for notebook in (path for path in (root / "notebooks").iterdir() if path.suffix in (".py", ".ipynb")):
        texts[notebook] = put(notebook, r'(?<=REPOSITORY = \\")[^"\\]*|(?<=REPOSITORY = ")[^"\\]*', url)
    return texts


def put(path: Path, pattern: str, text: str) -> str:
    """The file's text with the only match of a pattern replaced."""
    new, number = re.subn(pattern, lambda _: text, path.read_text(encoding="utf-8"), flags=re.M)
    assert number == 1, f"{path}: found {number} places for the address, expected one"
    return new


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else configured()
    if not re.fullmatch(NOTHING_OR_GITHUB, url):
        sys.exit(f"URL: found {url!r}, expected nothing or https://github.com/OWNER/NAME")
    for path, text in following(url).items():
        path.write_text(text, encoding="utf-8")
