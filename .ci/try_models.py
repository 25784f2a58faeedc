"""What would the gates say? Trains each changed model as its spec was and as it is, on the same days, and writes Markdown.

`python .ci/try_models.py --base origin/main --as-of 2013-03-18 --out report.md`; without names, the specs that differ from
the base. Everything happens in a scratch registry: nothing that serves is touched. Ends with 1 if a gate keeps a model.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path
from typing import Any

MODELS = Path("include/models")
SHIPPED, KEPT = 0, 3  # exit codes of `evermodel train`
MARKS = {"pass": "✓", "fail": "✗", "skip": "·"}


def changed_models(base: str) -> list[str]:
    """Return the models whose spec differs from the base, or whose pipeline code does."""
    names = _git("diff", "--name-only", "--diff-filter=d", f"{base}...HEAD", "--", str(MODELS)).split()
    return sorted(Path(name).stem for name in names if Path(name).suffix == ".yaml" and ".schema" not in name)


def try_model(model: str, base: str, as_of: date, scratch: Path) -> tuple[bool, str]:
    """Train the base's spec a week before and today's on the day, and say what the gates decide.

    Returns
    -------
    Whether the model would ship, and the section of the report.
    """
    home = scratch / model
    before = _spec_of(base, model, home / "base")
    lines = [f"## {model}", ""]
    if before is not None:
        champion, result = _train(model, before, as_of - timedelta(days=7), home)
        if result is None:
            lines += [f"The spec of `{base}` could not be trained:", "", f"```\n{champion}\n```", ""]
    told, result = _train(model, MODELS, as_of, home)
    if result is None:
        return False, "\n".join([*lines, "**The training failed.**", "", f"```\n{told}\n```", ""])
    return result["outcome"] == "deployed", "\n".join([*lines, *_section(model, result), ""])


def _train(model: str, specs: Path, as_of: date, home: Path) -> tuple[str, dict[str, Any] | None]:
    env = {
        **os.environ,
        "EVERMODEL_MODELS": str(specs.absolute()),
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


def _spec_of(base: str, model: str, folder: Path) -> Path | None:
    """Write the base's specs of a model into a folder; None if the model is new."""
    try:
        text = _git("show", f"{base}:{MODELS / f'{model}.yaml'}")
    except subprocess.CalledProcessError:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{model}.yaml").write_text(text, encoding="utf-8")
    return folder


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout


def _shipped_example(models: list[str], scratch: Path) -> None:
    """Prepare the flights' data, which the shipped example reads; a model of your own brings its own source."""
    if "flights" in models and "EVERMODEL_DATA" not in os.environ:
        from evermodel.examples.flights import prepare_flights

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
        tried = [try_model(model, given.base, given.as_of, scratch) for model in models]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    heading = f"# Models as of {given.as_of}\n\n" + ("" if models else "No spec has changed.\n")
    given.out.write_text(heading + "\n".join(section for _, section in tried), encoding="utf-8")
    print(given.out.read_text(encoding="utf-8"))
    return 0 if all(ships for ships, _ in tried) else 1


if __name__ == "__main__":
    sys.exit(main())
