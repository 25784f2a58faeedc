"""What would the gates say? Trains each changed model as it was and as it is, on the same days, and writes Markdown.

`python .ci/try_models.py --base origin/main --as-of 2013-03-18 --out report.md`; without names, the models whose spec differs
from the base, or all of them where the code or the requirements do. The base is trained with its own spec and its own code, but
with the libraries that are installed now. Everything happens in a scratch registry: nothing that serves is touched. Ends with 1
if a gate keeps a model.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

MODELS = Path("include/models")
# What a model is made by, as .github/workflows/models.yml has it.
PIPELINE = ("include/evermodel", "requirements*.txt")
SHIPPED, KEPT = 0, 3  # exit codes of `evermodel train`
_HOW = "The base was trained with its own spec and code, but with today's libraries.\n\n"
MARKS = {"pass": "✓", "fail": "✗", "skip": "·"}


def changed_models(base: str) -> list[str]:
    """Return the models whose spec or schema differs from the base; all, if what trains them does."""
    there = {file.stem for file in MODELS.glob("*.yaml") if not file.stem.endswith(".schema")}
    if _changes(base, *PIPELINE):
        return sorted(there)
    files = (Path(name) for name in _changes(base, str(MODELS)))
    return sorted({file.name.partition(".")[0] for file in files if file.suffix == ".yaml"} & there)


def _changes(base: str, *paths: str) -> list[str]:
    return _git("diff", "--name-only", f"{base}...HEAD", "--", *paths).splitlines()


def try_model(model: str, base: str, tree: Path, as_of: date, scratch: Path) -> tuple[bool, str]:
    """Train the base's model a week before and today's on the day, and say what the gates decide.

    Parameters
    ----------
    tree
        The base's files.

    Returns
    -------
    Whether the model would ship, and the section of the report.
    """
    home = scratch / model
    lines = [f"## {model}", ""]
    if (tree / MODELS / f"{model}.yaml").exists():
        champion, result = _train(model, tree, as_of - timedelta(days=7), home)
        if result is None:
            lines += [f"`{base}` could not be trained:", "", f"```\n{champion}\n```", ""]
    told, result = _train(model, Path(), as_of, home)
    if result is None:
        return False, "\n".join([*lines, "**The training failed.**", "", f"```\n{told}\n```", ""])
    return result["outcome"] == "deployed", "\n".join([*lines, *_section(model, result), ""])


def _train(model: str, tree: Path, as_of: date, home: Path) -> tuple[str, dict[str, Any] | None]:
    """Train with the specs and the code of a tree."""
    code = [str((tree / folder).absolute()) for folder in ("include", "plugins")]
    env = {
        **os.environ,
        "EVERMODEL_MODELS": str((tree / MODELS).absolute()),
        "PYTHONPATH": os.pathsep.join([*code, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "EVERMODEL_HOME": str(home / "home"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{(home / 'mlflow.db').absolute()}",
        "MLFLOW_ARTIFACT_ROOT": str(home / "artifacts"),
    }
    command = ["evermodel", "train", model, "--as-of", as_of.isoformat(), "--approve", "--json"]
    command += ["--reason", "pull request"]
    home.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode not in (SHIPPED, KEPT):
        return done.stderr.strip()[-3000:], None
    return done.stderr, json.loads(done.stdout)


def _section(model: str, result: dict[str, Any]) -> list[str]:
    decision = result["decision"]
    verdict = decision["verdict"].replace("_", " ")
    ships = "would ship" if result["outcome"] == "deployed" else "would **not** ship"
    against = f", against {decision['champion'][0]:.4f} of the base" if decision["champion"] else ""
    return [
        f"**{decision['candidate']}: {verdict}; it {ships}.** {decision['reason']}",
        "",
        f"{decision['metric']} {decision['challenger'][0]:.4f}{against} on {decision['rows']:,} test rows.",
        "",
        "| | gate | evidence | threshold |",
        "|---|---|---|---|",
        *(
            f"| {MARKS.get(gate['verdict'], gate['verdict'])} | {gate['name']} | {gate['detail']} | {gate['threshold']} |"
            for gate in decision["gates"]
        ),
    ]


@contextmanager
def _files_of(base: str, scratch: Path) -> Iterator[Path]:
    """Check the base out beside this checkout."""
    tree = scratch / "tree"
    _git("worktree", "add", "--detach", str(tree), base)
    try:
        yield tree
    finally:
        _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout


def _shipped_example(models: list[str], scratch: Path) -> None:
    """Prepare the flights' data, which the shipped example reads; a model of your own brings its own source."""
    if "flights" in models and "EVERMODEL_DATA" not in os.environ:
        from evermodel.data.examples.flights import prepare_flights

        os.environ["EVERMODEL_DATA"] = str(prepare_flights(scratch / "data").parent)


def main() -> int:
    """Try the models and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--base", default="origin/main")
    parser.add_argument("--as-of", type=date.fromisoformat, default=date.today())
    parser.add_argument("--out", type=Path, default=Path("report.md"))
    given = parser.parse_args()
    models = given.models or changed_models(given.base)
    scratch = Path(tempfile.mkdtemp(prefix="evermodel-try-"))
    try:
        _shipped_example(models, scratch)
        with _files_of(given.base, scratch) as tree:
            tried = [try_model(model, given.base, tree, given.as_of, scratch) for model in models]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    heading = f"# Models as of {given.as_of}\n\n" + (
        _HOW if models else "Nothing that makes a model has changed.\n"
    )
    given.out.write_text(heading + "\n".join(section for _, section in tried), encoding="utf-8")
    print(given.out.read_text(encoding="utf-8"))
    return 0 if all(ships for ships, _ in tried) else 1


if __name__ == "__main__":
    sys.exit(main())
