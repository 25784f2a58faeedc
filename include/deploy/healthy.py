"""End with 0 if a URL answers with a success: `python healthy.py URL`, for health checks in images without curl."""

from __future__ import annotations

import sys
import urllib.request

with urllib.request.urlopen(sys.argv[1], timeout=4) as answer:
    sys.exit(0 if 200 <= answer.status < 300 else 1)
