"""From a prior to a recommendation; pure, and free of torch."""
