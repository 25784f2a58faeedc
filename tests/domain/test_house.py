"""Rules of the code that no tool checks: each test reads the sources, and names what breaks its rule."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from evermodel.registry import tags

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    file for part in ("include/evermodel", "plugins", "dags") for file in (ROOT / part).rglob("*.py")
)
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PACKAGES = {
    ".".join(file.parent.relative_to(ROOT / "include").parts)
    for file in (ROOT / "include/evermodel").glob("*/**/__init__.py")
}


def test_only_registry_tags_spells_a_tag() -> None:
    known = {tag for tag in vars(tags).values() if isinstance(tag, str) and tag.startswith(tags.OURS)}
    families = tuple(tag for tag in known - {tags.OURS} if tag.endswith((".", "_")))
    found = [
        f"{file.relative_to(ROOT)}:{constant.lineno} {word}"
        for file in SOURCES
        if file != Path(tags.__file__) and file.name != "metrics.py"  # StatsD's names begin like tags
        for constant in _texts(ast.parse(file.read_text(encoding="utf-8")))
        for word in re.findall(r"(?<![\w.])evermodel\.[\w.]*", constant.value)
        if word in known or word.startswith(families)
    ]
    assert not found


def _texts(tree: ast.Module) -> Iterator[ast.Constant]:
    """Return the texts of a module, also those in f-strings; docstrings are left out."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node


# What starts a process, or changes the environment of the one that it has started, as ``file:function``.
PROCESS_STARTS = {
    "include/evermodel/__init__.py:",  # Arrow reads its allocator when it is loaded, and offers no other way
    "include/evermodel/cli/root.py:main",
    "include/evermodel/core/environment.py:start_worker_of_one_thread",  # the first call in a worker of the backtest
    "plugins/evermodel_provider/notifications/delivery.py:ask_airflow_database",  # commands, as Airflow's own do
    "include/evermodel/registry/tracking.py:configure_mlflow_process",  # called by the starts of processes
    "include/evermodel/serving/run.py:_serve_together",  # the first process, for the workers that it starts
}
_MLFLOW_GLOBALS = {"set_tracking_uri", "set_registry_uri", "set_experiment", "start_run"}
_ENVIRON_WRITES = {"setdefault", "update", "pop", "popitem", "clear"}


def test_no_state_of_the_process_is_changed_behind_the_callers_back() -> None:
    found = [
        (f"{file.relative_to(ROOT)}:{function}", what)
        for file in SOURCES
        for function, what in _process_changes(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert not [change for change in found if change[0] not in PROCESS_STARTS]
    assert {place for place, _ in found} == PROCESS_STARTS, "a start of a process that changes nothing"


def _process_changes(node: ast.AST, function: str = "") -> Iterator[tuple[str, str]]:
    """Yield what changes the environment or MLflow's globals, with the function around it."""
    for child in ast.iter_child_nodes(node):
        written = isinstance(child, ast.Subscript) and not isinstance(child.ctx, ast.Load)
        if isinstance(child, ast.Subscript) and written and _is_environ(child.value):
            yield function, ast.unparse(child)
        if isinstance(child, ast.Call):
            called = (
                child.func.attr if isinstance(child.func, ast.Attribute) else getattr(child.func, "id", "")
            )
            on_environ = isinstance(child.func, ast.Attribute) and _is_environ(child.func.value)
            if called in {*_MLFLOW_GLOBALS, "putenv", "unsetenv"} or (
                on_environ and called in _ENVIRON_WRITES
            ):
                yield function, ast.unparse(child)
        named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        yield from _process_changes(child, child.name if named else function)


def _is_environ(node: ast.expr) -> bool:
    return ast.unparse(node) in {"os.environ", "environ"}


# What puts a version into service, and the one function that may do it, as ``file:function``.
PROMOTIONS = {
    "promote": "include/evermodel/deployment/eligibility.py:promote",  # `ModelRegistry.promote`, after its checks
    "set_registered_model_alias": "include/evermodel/registry/registry.py:_point",
    "delete_registered_model_alias": "include/evermodel/registry/registry.py:_move_aliases",
    "registered-models/alias": "",  # the same by REST
}


def test_one_function_promotes_and_only_the_registry_moves_an_alias() -> None:
    found = {
        (name, f"{file.relative_to(ROOT)}:{function}")
        for file in SOURCES
        for function, name in _promotions(ast.parse(file.read_text(encoding="utf-8")))
    }
    assert found == {(name, place) for name, place in PROMOTIONS.items() if place}


def _promotions(node: ast.AST, function: str = "") -> Iterator[tuple[str, str]]:
    """Yield the uses of what `PROMOTIONS` names, called or handed on, with the function around each."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Attribute) and child.attr in PROMOTIONS:
            yield function, child.attr
        elif isinstance(child, ast.Call) and getattr(child.func, "id", "") == "getattr":
            yield from ((function, name) for name in PROMOTIONS if f"'{name}'" in ast.unparse(child))
        elif isinstance(child, ast.Constant) and "registered-models/alias" in str(child.value):
            yield function, "registered-models/alias"
        named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        yield from _promotions(child, child.name if named else function)


def test_the_domain_is_fourteen_packages() -> None:
    domain = ROOT / "include/evermodel"
    layers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    named = next(contract["layers"] for contract in layers if contract.get("containers") == ["evermodel"])
    packages = {name.strip() for layer in named for name in layer.split("|")}
    assert len(packages) == 14
    assert {path.name for path in domain.iterdir()} - {"__pycache__"} == packages | {
        "__init__.py",
        "py.typed",
    }


def test_every_package_has_a_face() -> None:
    for package in PACKAGES:
        face = importlib.import_module(package)
        assert face.__doc__, package
        for name in face.__all__:
            known = hasattr(face, name) or importlib.util.find_spec(f"{package}.{name}")
            assert known, f"{package}.__all__ names {name}, which does not exist"


def test_packages_are_entered_by_their_face() -> None:
    folders = ("include", "plugins", "dags", "benchmarks", "docs")
    found = [
        f"{file.relative_to(ROOT)} imports {package}.{name}, which is not in that package's __all__"
        for folder in folders
        for file in sorted((ROOT / folder).rglob("*.py"))
        for package, name in _entered(file, ".".join(file.relative_to(ROOT / folder).with_suffix("").parts))
        if name not in importlib.import_module(package).__all__
    ]
    assert not found


def test_no_class_name_stands_twice() -> None:
    names = [
        node.name
        for file in SOURCES
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    ]
    assert [name for name, count in Counter(names).items() if count > 1] == []


def test_a_test_imports_neither_benchmarks_nor_another_test() -> None:
    found = [
        f"{file.relative_to(ROOT)} imports {module}"
        for file in TESTS
        for module, _ in _imports(file)
        if module.split(".")[0] == "benchmarks" or module.split(".")[-1].startswith("test_")
    ]
    assert not found


def test_what_tests_share_has_public_names() -> None:
    shared = {file.stem for file in TESTS} | {"support", "tests"}
    found = [
        f"{file.relative_to(ROOT)} imports {module}.{name}"
        for file in TESTS
        for module, name in _imports(file)
        if module.split(".")[0] in shared and name.startswith("_")
    ]
    assert not found


def _imports(file: Path) -> Iterator[tuple[str, str]]:
    """Give each module that a file imports, with the name that it takes from it, or an empty one."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def _entered(file: Path, module: str) -> Iterator[tuple[str, str]]:
    """Give each package that a file imports from without living in it, with the name below that package."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("evermodel."):
            continue
        for alias in node.names:
            parts = [*str(node.module).split("."), alias.name]
            for depth in range(2, len(parts)):
                package = ".".join(parts[:depth])
                if package in PACKAGES and not f"{module}.".startswith(f"{package}."):
                    yield package, parts[depth]


_HTML_TAG = re.compile(
    r"(?<!\?P)</?(!doctype|a|b|body|br|button|code|details|div|em|figure|footer|form|h[1-6]|head|header|hr|html|i|iframe"
    r"|img|input|li|link|main|meta|nav|ol|p|pre|script|section|small|span|strong|style|summary|svg|table|tbody|td|th"
    r"|thead|title|tr|u|ul)(?=[\s/>]|$)",
    re.IGNORECASE,
)
_NOT_HTML = {
    ("specs.py", "table"),  # what to put into a command
    ("report.py", "head"),  # where Evidently's page gets its policy
    ("report.py", "script"),  # what the policy allows
    ("plot_style.py", "svg"),  # where the drawing of Matplotlib begins
}


def test_html_stands_in_templates_only() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{constant.lineno} <{tag}>"
        for file in SOURCES
        for constant in _texts(ast.parse(file.read_text(encoding="utf-8")))
        for tag in _HTML_TAG.findall(constant.value)
        if (file.name, tag) not in _NOT_HTML
    ]
    assert not found


# Private words that were replaced by the field's terms: desk is predict, contender is an evaluated model, and so on.
OLD_NAMES = {
    *("announcer", "contender", "gather", "holder", "office", "seldom", "sheet", "troubled"),
    *("watchbook", "whereabouts", "wording", "workbench"),
}
# Phrases that read as translated. Write what is so: "rejected", "approval", "not configured", "is not a function".
OLD_PHRASES = (
    *("a person's yes", "yes of a person", "says yes", "nobody says", "nobody is told", "is told about"),
    *(
        "in flight",
        "is no function",
        "given away",
        "for want of",
        "stands on",
        "of one's own",
        "what to make of",
    ),
)
# Packages whose texts were edited as a whole, with the documentation, keep these phrases out as well.
EDITED = {
    *("alerts", "cli", "core", "data", "deployment", "evaluation", "modeling", "monitoring", "pipelines"),
    *("registry", "reports", "serving", "spec", "stats"),
    *("doctor", "hooks", "notifications", "operators", "sensors", "triggers", "ui"),
}
OLD_PHRASES_THERE = (
    *(
        "held against",
        "said no",
        "says no",
        "say why",
        "it is kept",
        "is told",
        "are told(?! apart)",
        "unheard",
    ),
    *(
        "looked at",
        "every look",
        "set aside",
        "asks? for a retrain",
        "asked for a retrain",
        "comes? to answer",
    ),
    *("nothing is to be done", "goes back by itself", "somebody says", "mends?"),
)
DOCUMENTATION = [
    ROOT / "README.md",
    *sorted(f for f in (ROOT / "docs").iterdir() if f.suffix in (".md", ".py")),
]


def test_names_are_terms_of_the_field() -> None:
    found = [
        f"{file.relative_to(ROOT)}: {name}"
        for file in SOURCES
        for name in {file.stem, *_names(ast.parse(file.read_text(encoding="utf-8")))}
        if OLD_NAMES & {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
    ]
    assert not found


def _names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        for field in ("name", "id", "attr", "arg"):
            if isinstance(name := getattr(node, field, None), str):
                yield name


def test_texts_are_plain_english() -> None:
    edited = [file for file in SOURCES if EDITED & {*file.relative_to(ROOT).parts[2:3]}]
    found = _phrases([*SOURCES, *DOCUMENTATION], OLD_PHRASES)
    assert not found + _phrases([*edited, *DOCUMENTATION], OLD_PHRASES_THERE)


def _phrases(files: list[Path], phrases: tuple[str, ...]) -> list[str]:
    pattern = re.compile(rf"\b({'|'.join(phrases)})\b", re.IGNORECASE)
    return [
        f"{file.relative_to(ROOT)}: {phrase}"
        for file in files
        for text in [re.sub(r"^\s*#", " ", file.read_text(encoding="utf-8"), flags=re.M)]
        for phrase in pattern.findall(" ".join(text.split()))
    ]
