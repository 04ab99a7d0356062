"""Whether what is released can be installed and used: `python -m tests.packaging`."""
