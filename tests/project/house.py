"""Marks of the house: sizes of files and functions, rooms, layers, lengths of texts, for `make house`.

They are read from the source with `ast`, so that an import inside a function or for type checking counts.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "noethers_razor"
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in FILES]
LAYERS = {
    "_types": 0,
    "_deprecated": 0,
    "errors": 0,
    "_optional": 1,
    "config": 1,
    "numerics": 2,
    "storage": 2,
    "plot": 2,
    "mechanics": 3,
    "learning_dynamics": 3,
    "manifold_embedding": 3,
    "data": 4,
    "systems": 5,
    "evidence": 5,
    "conserved": 6,
    "model": 7,
    "symmetry": 7,
    "inference": 8,
    "cli": 9,
    "__init__": 10,
}
"""Room (a folder, whose files may import each other, or a file) -> layer. Imports go strictly down."""
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
MOST = {
    "modules in the root": 8,
    "lines of the largest file": 400,
    "lines of the longest function": 80,
    "arguments and results without annotation": 0,
    "rooms": 14,
    "layers that are not whole numbers": 0,
    "imports that do not go down": 0,
    "lines of the README": 130,
    "words of the longest sentence of README and docs/index": 30,
}


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def room_of(relative):
    """The room of a file inside the package: its folder, or its own name."""
    return Path(relative).parts[0].removesuffix(".py")


def functions_of(path):
    return [node for node in ast.walk(tree_of(path)) if isinstance(node, FUNCTIONS)]


def length_of(function):
    return function.end_lineno - function.lineno + 1


def bare_arguments(function):
    """Names of arguments without annotation, and `return`."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
    bare = [a.arg for a in every if a.annotation is None and a.arg not in ("self", "cls")]
    return bare + ["return"] * (function.returns is None)


def imported_rooms(path):
    """(room, line) of every import from this package."""
    found = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: relative import"
            module = node.module or ""
            # `from package import room` names the room behind the import.
            modules = [f"{module}.{a.name}" for a in node.names] if module == PACKAGE.name else [module]
        else:
            continue
        for module in modules:
            head, _, rest = module.partition(".")
            if head == PACKAGE.name:
                found.append((rest.partition(".")[0] or "__init__", node.lineno))
    return found


def wrong_imports(name):
    """Imports of a file that do not go to a lower layer."""
    room = room_of(name)
    own, folder = LAYERS.get(room, -1), (PACKAGE / room).is_dir()
    return [
        f"{name}:{line} imports {other} (layer {LAYERS.get(other)}) from layer {own}"
        for other, line in imported_rooms(PACKAGE / name)
        if not (folder and other == room) and not LAYERS.get(other, 99) < own
    ]


def sentences_of(text):
    """Sentences of Markdown, without code, tables, pictures and addresses."""
    text = re.sub(r"```.*?```|\$\$.*?\$\$|<!--.*?-->", "", text, flags=re.DOTALL)
    kept = []
    for line in text.splitlines():
        if line.startswith(("    ", "#", "|", "!", ":::")):
            line = ""
        kept.append("\n" + line if re.match(r" *([*-]|\d+\.) ", line) else line)
    text = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", "\n".join(kept))
    text = re.sub(r"`[^`]*`|\$[^$]*\$", "code", text)
    parts = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]
    return [one for part in parts for one in re.split(r"(?<=[.!?])[*)\"]*\s+(?=[A-Z*(]|code\b)", part)]


def longest_sentence(*pages):
    return max(len(one.split()) for page in pages for one in sentences_of(page.read_text("utf-8")))


def marks():
    """Name -> measured value."""
    functions = [function for path in FILES for function in functions_of(path)]
    readme = ROOT / "README.md"
    return {
        "modules in the root": len(list(PACKAGE.glob("*.py"))),
        "lines of the largest file": max(len(path.read_text("utf-8").splitlines()) for path in FILES),
        "lines of the longest function": max(map(length_of, functions)),
        "arguments and results without annotation": sum(len(bare_arguments(one)) for one in functions),
        "rooms": sum(path.is_dir() and path.name != "__pycache__" for path in PACKAGE.iterdir()),
        "layers that are not whole numbers": sum(not isinstance(layer, int) for layer in LAYERS.values()),
        "imports that do not go down": sum(len(wrong_imports(name)) for name in NAMES),
        "lines of the README": len(readme.read_text("utf-8").splitlines()),
        "words of the longest sentence of README and docs/index": longest_sentence(
            readme, ROOT / "docs" / "index.md"
        ),
    }


def main():
    found = marks()
    for name, value in found.items():
        print(f"{name:<56} {value:>4}  (at most {MOST[name]}){'' if value <= MOST[name] else '  TOO MANY'}")
    if any(value > MOST[name] for name, value in found.items()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
