"""The evidence: fine-tune, evaluate and compare objectives, and the embedded ladder to do it on."""
