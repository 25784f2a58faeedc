"""Create S3 buckets that are not there yet: `python buckets.py NAME…`; address and keys as boto3 finds them."""

from __future__ import annotations

import sys


def main(names: list[str]) -> None:
    """Create each bucket unless it exists."""
    import boto3
    from botocore.exceptions import ClientError

    store = boto3.client("s3")
    for name in names:
        try:
            store.create_bucket(Bucket=name)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise
        print(f"bucket {name} is there")


if __name__ == "__main__":
    main(sys.argv[1:])
