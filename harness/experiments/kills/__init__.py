"""Studies and trainings that are killed at named places and started again: what is lost and repeated."""
