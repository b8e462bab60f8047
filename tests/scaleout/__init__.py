"""Tests on several simulated hosts: ``make test-scaleout``. pytest does not collect them, because they need root."""
