"""The house: who may import whom, how long files and functions are, and what is never used."""

import ast
from pathlib import Path

import pytest

from tests.project.house import (
    FILES,
    LAYERS,
    MOST,
    NAMES,
    PACKAGE,
    bare_arguments,
    functions_of,
    imported_rooms,
    length_of,
    marks,
    room_of,
    tree_of,
    wrong_imports,
)

UNSAFE_MODULES = {"pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
UNSAFE_FUNCTIONS = {"eval", "exec", "compile", "__import__"}
ARCHIVERS = {"np.load", "np.save", "np.savez", "np.savez_compressed"}


def test_there_is_something_to_read():
    assert len(FILES) > 100
    # One of each kind of import: of a room from the package, from a room, from a file in a folder.
    rooms = {room for room, _ in imported_rooms(PACKAGE / "model" / "elbo.py")}
    assert rooms >= {"mechanics", "conserved", "config"}


def test_every_room_has_a_layer_and_no_layer_is_without_a_room():
    assert {room_of(name) for name in NAMES} == set(LAYERS)


def test_imports_go_down():
    wrong = [line for name in NAMES for line in wrong_imports(name)]
    assert not wrong, "\n".join(wrong)


def test_marks_of_the_house():
    found = marks()
    assert set(found) == set(MOST)
    assert not {name: value for name, value in found.items() if value > MOST[name]}


def test_files_and_functions_are_short():
    long = [
        f"{name}:{one.lineno} {one.name} has {length_of(one)} lines"
        for name in NAMES
        for one in functions_of(PACKAGE / name)
        if length_of(one) > MOST["lines of the longest function"]
    ]
    counts = {name: len((PACKAGE / name).read_text(encoding="utf-8").splitlines()) for name in NAMES}
    most = MOST["lines of the largest file"]
    long += [f"{name} has {count} lines" for name, count in counts.items() if count > most]
    assert not long, "\n".join(long)


def test_every_argument_and_result_is_annotated():
    bare = [
        f"{name}:{one.lineno} {one.name}: {', '.join(bare_arguments(one))} without annotation"
        for name in NAMES
        for one in functions_of(PACKAGE / name)
        if bare_arguments(one)
    ]
    assert not bare, "\n".join(bare)


def test_the_checks_find_what_they_look_for():
    (function,) = (
        node
        for node in ast.walk(ast.parse("def f(a, b: int, *c):\n    return a"))
        if isinstance(node, ast.FunctionDef)
    )
    assert bare_arguments(function) == ["a", "c", "return"]
    assert length_of(function) == 2


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


def test_nothing_runs_code_out_of_data():
    found = [f"{name}: {use}" for name in NAMES for use in forbidden_uses(tree_of(PACKAGE / name))]
    assert not found, "\n".join(found)


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


def test_every_file_says_what_it_is_for():
    for name in NAMES:
        text = ast.get_docstring(tree_of(PACKAGE / name))
        assert text, name
        assert text.splitlines()[0].endswith((".", ":", "?")), name
