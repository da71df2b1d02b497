"""Where the tests find things."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""Of the checkout."""
SHARED = Path(os.environ.get("ADVISOR_SHARED", ROOT.parent / "shared"))
"""Real models and data, beside the checkout; tests that need them skip where they are absent."""
