"""Write the pages of the API reference, one a folder of the library: `python book/api_pages.py`."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "rclrec_mini"


def folders() -> dict[str, list[str]]:
    """The modules of each folder of the library, and of its root under `files`."""
    found: dict[str, list[str]] = {}
    for path in sorted(LIBRARY.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] != "__init__":
            found.setdefault(parts[1] if len(parts) > 2 else "files", []).append(".".join(parts))
    return found


def page(folder: str, modules: list[str]) -> str:
    short = {name: name.split(".", 2 if folder != "files" else 1)[-1] for name in modules}
    sections = (f"## {short[name]}\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n```\n" for name in modules)
    return f"# {folder if folder != 'files' else ', '.join(short.values())}\n\n" + "\n".join(sections)


def main() -> None:
    for folder, modules in folders().items():
        (ROOT / "book" / "api" / f"{folder}.md").write_text(page(folder, modules), encoding="utf-8")


if __name__ == "__main__":
    main()
