"""The scripts of `docs/`, which stand in no package."""

import sys

from tests.helpers.paths import ROOT

DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))

import build as build  # noqa: E402
import figures as figures  # noqa: E402
import site_pages as site_pages  # noqa: E402
import third_party as third_party  # noqa: E402
