"""Statistics of comparisons: paired differences, power, several tasks together."""
