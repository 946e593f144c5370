"""Imports only point down: the drawing in docs/design.md, section 2, as a table."""

import ast
from pathlib import Path

import pytest

import allcores

PACKAGE = Path(__file__).parent.parent / "src" / "allcores"

# A part may import parts of a lower rank, and itself.
RANK = {
    "errors": -1,  # know nobody
    "faces": -1,
    "util": 0,
    "_native": 0,
    "chosen": 0,
    "cores": 0,
    "limits": 0,
    "onimport": 0,
    "segment": 1,
    "standard": 1,
    "tracked": 1,
    "usage": 1,
    "byvalue": 1,
    "lastwords": 1,
    "stacks": 1,
    "seeds": 1,
    "failure": 2,
    "installed": 1,
    "kin": 1,
    "family": 1,
    "reducers": 2,
    "queuestate": 2,
    "arrayparts": 3,
    "counting": 3,
    "codec": 3,
    "checks": 4,
    "deaths": 3,
    "logs": 4,
    "base": 4,
    "spawn": 3,
    "imported": 4,
    "start": 4,
    "renewal": 4.5,
    "protocol": 1,
    "lineage": 0,
    "scarce": 1,
    "children": 4,
    "forked": 4.5,
    "sync": 4,
    "synchronize": 5,
    "shared_memory": 5,
    "queues": 4,
    "connection": 4,
    "reduction": 5,
    "several": 5,
    "layouts": 4,
    "guarded": 5,
    "structures": 6,
    "lot": 4,
    "newborn": 4.5,
    "template": 5,
    "shared": 7,
    "arrays": 5,
    "sharing": 5,
    "localqueues": 6,
    "process": 5,
    "warm": 5.5,
    "preload": 5.5,
    "child": 6,
    "methods": 5.7,
    "table": 5.8,
    "context": 6,
    "pool": 7,
    "cluster": 7.5,
    "contexts": 8,
    "managers": 8,
    "sharedctypes": 8,
    "dummy": 9,
    "comparison": 9,
    "integrations": 9,
    "record": 8.5,
    "program": 9,
    "cli": 10,
    "__main__": 11,
}
# The lazy face knows the parts that it re-exports; `context` makes what lies above it, inside its methods.
UPWARD_INSIDE_FUNCTIONS = {"allcores/context.py", "allcores/forked.py", "allcores/newborn.py", "allcores/template.py"}


def part_of(module: str) -> str:
    names = module.split(".")
    return names[1] if len(names) > 1 else ""


def for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(file: Path, top_level_only: bool) -> set[str]:
    tree = ast.parse(file.read_text())
    later = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) or for_types_only(n)]
    inside = {id(n) for f in later for n in ast.walk(f)} if top_level_only else set()
    found = set()
    for node in ast.walk(tree):
        if id(node) in inside:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            deep = node.module == "allcores"
            found |= {f"allcores.{a.name}" for a in node.names} if deep else {node.module}
    return {name for name in found if name.partition(".")[0] == "allcores"}


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=[str(f.relative_to(PACKAGE)) for f in FILES])
def test_imports_point_down(file: Path) -> None:
    relative = file.relative_to(PACKAGE.parent)
    if relative == Path("allcores/__init__.py"):
        assert not imports(file, top_level_only=True), "the public face imports nothing before it is asked"
        return
    own = relative.parts[1].removesuffix(".py")
    wrong = []
    for module in imports(file, top_level_only=str(relative) in UPWARD_INSIDE_FUNCTIONS):
        part = part_of(module)
        if part in RANK and part != own and RANK[part] >= RANK[own]:
            wrong.append(module)
    assert not wrong, f"{relative} (rank {RANK[own]}) imports upward: {wrong}"


def test_every_part_has_a_rank() -> None:
    parts = {f.relative_to(PACKAGE).parts[0].removesuffix(".py") for f in FILES} - {"__init__"}
    assert parts | {"_native"} == set(RANK)


def test_shared_parts_name_no_context() -> None:
    for part in ("pool", "sharing", "codec.py", "shared.py", "sync.py", "queues.py"):
        for file in [PACKAGE / part] if part.endswith(".py") else (PACKAGE / part).glob("*.py"):
            strings = [n.value for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Constant)]
            assert not {"serial", "thread", "process"} & {s for s in strings if isinstance(s, str)}, file


@pytest.mark.parametrize("file", FILES, ids=[str(f.relative_to(PACKAGE)) for f in FILES])
def test_a_room_is_not_too_large(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 400
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            assert node.end_lineno - node.lineno < 40, f"{node.name} in {file.name}"


def test_public_names_exist() -> None:
    for name in allcores.__all__:
        assert getattr(allcores, name) is not None
