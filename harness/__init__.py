"""The evidence: fine-tune, evaluate and compare objectives, and the embedded ladder to do it on."""

import advisor as advisor  # before anything that would report home
