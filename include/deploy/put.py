"""Put standard input, or every file of a folder, into a bucket; address and keys as boto3 finds them.

`python put.py s3://input/churn.parquet < churn.parquet`, or `python put.py s3://lake/evermodel /old/lake`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlsplit


def main(target: str, folder: str = "") -> None:
    """Upload."""
    import boto3

    store, place = boto3.client("s3"), urlsplit(target)
    bucket, prefix = place.netloc, place.path.strip("/")
    if not folder:
        store.upload_fileobj(sys.stdin.buffer, bucket, prefix)
        print(f"{target} is there")
        return
    files = [file for file in Path(folder).rglob("*") if file.is_file() and not file.name.endswith(".tmp")]
    for file in files:
        store.upload_file(str(file), bucket, f"{prefix}/{file.relative_to(folder).as_posix()}".lstrip("/"))
    print(f"{len(files)} files are in {target}")


if __name__ == "__main__":
    main(*sys.argv[1:])
