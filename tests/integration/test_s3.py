"""Sources, markers and DVC's remote on S3: a server on loopback speaks its language; the environment says where it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.object_stores import s3_environment

pytest.importorskip("moto", reason="the S3 server of the tests is not installed: moto[s3]")
s3fs = pytest.importorskip("s3fs", reason="the extra s3 is not installed")
pytest.importorskip("dvc_s3", reason="the extra s3 is not installed")
pytestmark = pytest.mark.integration

# In a process of its own: clients keep what the environment said when they were made.
CLIENT = """
import shutil, subprocess, sys
from pathlib import Path
import s3fs
from evermodel.data.sources.readiness import source_ready
from evermodel.data.snapshots.snapshot import take_snapshot
from evermodel.data.sources import read_window
from evermodel.data.snapshots.dvc import SnapshotStore
from support.small_model import between, moment, settings_in, small_spec, write_rows

folder = Path(sys.argv[1])
store = s3fs.S3FileSystem()
store.mkdir("house")
file = write_rows(folder / "rows.parquet")
for day in ("a", "b"):
    store.put(str(file), f"house/rows/part={day}/rows.parquet")
spec = small_spec("s3://house/rows/part=a/*.parquet")
assert read_window(spec, between(2, 3), with_label=True)["id"][0].as_py() == "r00016"
assert read_window(small_spec("s3://house/rows/*/*.parquet"), between(2, 3), with_label=True).num_rows == 16

marker = "s3://house/rows/{day:%Y-%m-%d}/_SUCCESS"
waiting = small_spec("", source={"path": spec.source.path, "complete": {"marker": marker}})
assert source_ready(waiting, between(3, 10)).missing == "the marker s3://house/rows/2024-01-10/_SUCCESS"
subprocess.run([sys.executable, "-c", "import s3fs; s3fs.S3FileSystem().touch('house/rows/2024-01-10/_SUCCESS')"], check=True)
assert source_ready(waiting, between(3, 10)).ready

settings = settings_in(folder).model_copy(update={"dvc_remote": "s3://house/versions"})
taken = take_snapshot(spec, moment(8), settings)
content = (settings.lake / taken.path).read_bytes()
shutil.rmtree(settings.lake)
SnapshotStore(settings.lake, settings.dvc_remote).bring(taken.path, taken.md5)
assert (settings.lake / taken.path).read_bytes() == content
store.invalidate_cache()
assert store.find("house/versions") == [f"house/versions/files/md5/{taken.md5[:2]}/{taken.md5[2:]}"]
print("done")
"""


def test_source_marker_and_remote_on_s3_by_configuration(s3_endpoint: str, tmp_path: Path) -> None:
    env = {**os.environ, **s3_environment(s3_endpoint), "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, str(tmp_path)], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.rstrip().endswith("done"), done.stderr[-3000:]
