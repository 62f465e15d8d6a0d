"""Other projects' own tests, run by an interpreter with the shim: Python has to behave as it does without it."""
