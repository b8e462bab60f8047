"""Several machines on one: ``make test-scaleout``. It takes minutes and needs root, so pytest does not collect it."""
