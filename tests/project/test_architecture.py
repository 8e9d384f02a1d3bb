"""The house: who may import whom, how long files and functions are, and what is never used.

Read from the source with `ast`, so that an import inside a function or for type checking counts too.
"""

import ast
from pathlib import Path

import pytest

import noethers_razor

ROOT = Path(noethers_razor.__file__).parent
PACKAGE = ROOT.name
LAYERS = {
    "_types": 0,
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
    "conserved": 5,
    "model": 6,
    "symmetry": 6,
    "inference": 7,
    "cli": 8,
    "__init__": 9,
}
"""Room (a file, or a folder of files that may import each other) -> layer; imports go strictly down."""

UNSAFE_MODULES = {"pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
UNSAFE_FUNCTIONS = {"eval", "exec", "compile", "__import__"}
ARCHIVERS = {"np.load", "np.save", "np.savez", "np.savez_compressed"}
MOST_LINES, MOST_FUNCTION_LINES = 400, 80
FILES = sorted(path for path in ROOT.rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in FILES]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def room_of(relative):
    """The room of a file or module path inside the package: its folder, or its own name."""
    return Path(relative).parts[0].removesuffix(".py")


def functions_of(path):
    return [node for node in ast.walk(tree_of(path)) if isinstance(node, FUNCTIONS)]


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
            modules = [f"{module}.{a.name}" for a in node.names] if module == PACKAGE else [module]
        else:
            continue
        for module in modules:
            head, _, rest = module.partition(".")
            if head == PACKAGE:
                found.append((rest.partition(".")[0] or "__init__", node.lineno))
    return found


def test_there_is_something_to_read():
    assert len(FILES) > 20
    # One of each kind of import: of a room from the package, from a room, from a file in a folder.
    assert {room for room, _ in imported_rooms(ROOT / "model" / "elbo.py")} >= {
        "mechanics",
        "conserved",
        "config",
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_file_has_a_layer(name):
    assert room_of(name) in LAYERS, f"{name}: give it a layer in this table, and say so in the documents"


@pytest.mark.parametrize("name", NAMES)
def test_imports_go_down(name):
    room = room_of(name)
    own = LAYERS.get(room, float("inf"))
    folder = (ROOT / room).is_dir()
    wrong = [
        f"{name}:{line} imports {other} (layer {LAYERS.get(other)}) from layer {own}"
        for other, line in imported_rooms(ROOT / name)
        if not (folder and other == room) and not LAYERS.get(other, float("inf")) < own
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", NAMES)
def test_files_and_functions_are_short(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_LINES
    for function in functions_of(ROOT / name):
        length = function.end_lineno - function.lineno + 1
        assert length <= MOST_FUNCTION_LINES, f"{name}:{function.lineno} {function.name} has {length} lines"


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_and_result_is_annotated(name):
    for function in functions_of(ROOT / name):
        where = f"{name}:{function.lineno} {function.name}"
        arguments = function.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        every += [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
        bare = [a.arg for a in every if a.annotation is None and a.arg not in ("self", "cls")]
        assert not bare, f"{where}: {', '.join(bare)} without annotation"
        assert function.returns is not None, f"{where}: result without annotation"


def forbidden_uses(tree):
    """Lines that could run code out of data."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            names = []
        if {name.partition(".")[0] for name in names} & UNSAFE_MODULES:
            found.append(f"line {node.lineno}: imports {', '.join(names)}")
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in UNSAFE_FUNCTIONS:
            found.append(f"line {node.lineno}: calls {node.func.id}")
        for keyword in node.keywords:
            refused = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            if keyword.arg == "allow_pickle" and not refused:
                found.append(f"line {node.lineno}: allow_pickle is not False")
        # numpy pickles objects unless told not to, when it writes as well as when it reads.
        name = ast.unparse(node.func)
        if name in ARCHIVERS and "allow_pickle" not in {keyword.arg for keyword in node.keywords}:
            found.append(f"line {node.lineno}: {name} without allow_pickle=False")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_nothing_runs_code_out_of_data(name):
    found = forbidden_uses(tree_of(ROOT / name))
    assert not found, f"{name}: " + "; ".join(found)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from cloudpickle import loads",
        "def f():\n    import marshal as m",
        "eval('1')",
        "exec(text)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.savez(path, **arrays)",
        "np.load(path, allow_pickle=flag)",
    ],
)
def test_the_check_for_code_out_of_data_finds_it(source):
    assert forbidden_uses(ast.parse(source))


def test_no_room_is_called_utils():
    assert not [name for name in NAMES if Path(name).stem in ("utils", "util", "helpers", "misc", "common")]


@pytest.mark.parametrize("name", NAMES)
def test_every_file_says_what_it_is_for(name):
    text = ast.get_docstring(tree_of(ROOT / name))
    assert text
    assert text.splitlines()[0].endswith((".", ":", "?"))
