"""Keep a tabular model in production fresh, proven and reversible; the domain, free of Airflow."""

import os
import sys

# Arrow reads this when it is loaded: the allocator that it would take keeps 45 MB of what a stream of rows has used.
if sys.platform == "linux":
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")

__version__ = "0.1.0"
