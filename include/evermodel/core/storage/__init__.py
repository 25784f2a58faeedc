"""Where the lake is: a folder, or a bucket of an object store, behind the same few operations.

Imports no client of a store until a bucket is used.
"""

from evermodel.core.storage.address import StoragePath, is_url, storage_path
from evermodel.core.storage.bucket import BucketPath, ObjectState
from evermodel.core.storage.client import require_own_process, table_options, without_secrets
from evermodel.core.storage.files import (
    create,
    files_in,
    local_copy,
    path_in,
    readable,
    replace_unchanged,
    version_of,
)

__all__ = [
    "BucketPath",
    "ObjectState",
    "StoragePath",
    "create",
    "files_in",
    "is_url",
    "local_copy",
    "path_in",
    "readable",
    "replace_unchanged",
    "require_own_process",
    "storage_path",
    "table_options",
    "version_of",
    "without_secrets",
]
