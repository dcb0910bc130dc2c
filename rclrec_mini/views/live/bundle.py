"""One JavaScript text out of modules that import each other: for a widget, and for a page opened from a file.

A module that others import becomes a function that is called once and returns what the module exports; the one that
is bundled stays as it is and exports what it did.

    import { add } from "./layers.js";      const { add } = _layers;
    export function add(a, b) {...}         const _layers = (() => { function add(a, b) {...} return { add }; })();
"""

import re
from pathlib import Path

from rclrec_mini.files import InputError

JS = Path(__file__).parent / "js"
IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w-]+)\.js";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|class|const|let) (\w+))", re.MULTILINE)


def bundle(name: str, *, folder: Path | str = JS) -> str:
    """The module `folder`/`name`.js with all that it imports, each once, as one module.

    They must import as `import { a, b } from "./x.js";`, and those that are imported must export functions, classes or
    constants where they are declared.

    Raises:
        InputError: a module is missing, imports itself by way of others, or imports or exports in another way.
    """
    texts: dict[str, str] = {}
    _collect(name, Path(folder), texts, ())
    own = texts.pop(name)
    return "\n".join([*(_called_once(module, text) for module, text in texts.items()), own])


def style(name: str) -> str:
    """The style of a view: `name`.css, after what all views share."""
    return "\n".join((JS / f"{one}.css").read_text(encoding="utf-8") for one in ("view", name))


def _collect(name: str, folder: Path, texts: dict[str, str], within: tuple[str, ...]) -> None:
    """Add a module to `texts`, after those that it imports."""
    path = folder / f"{name}.js"
    if name in texts:
        return
    if name in within:
        raise InputError(f"{path}: imports itself, found {' -> '.join((*within, name))}")
    if not path.is_file():
        raise InputError(f"{path}: file not found")
    text = path.read_text(encoding="utf-8")
    for _, imported in IMPORT.findall(text):
        _collect(imported, folder, texts, (*within, name))
    text = IMPORT.sub(lambda found: f"const {{{found[1].replace(' as ', ': ')}}} = _{_word(found[2])};", text)
    left = re.search(r"^(?:import\b|export\b).*" if within else r"^import\b.*", EXPORT.sub("", text), re.MULTILINE)
    if left:
        raise InputError(f'{path}: found {left[0][:60]}, expected import {{ a }} from "./x.js"; or export function a')
    texts[name] = text


def _called_once(name: str, text: str) -> str:
    names = ", ".join(EXPORT.findall(text))
    return f"const _{_word(name)} = (() => {{\n{EXPORT.sub('', text)}\nreturn {{ {names} }};\n}})();\n"


def _word(name: str) -> str:
    return name.replace("-", "_")
