"""Print what the last run of the reliability tests did: python -m tests.reliability."""

import sys

from .goals import records, table

found = records()
scales = sorted({record.scale for record in found})
sys.stdout.write(f"{table(found)}\n\nScale: {', '.join(scales) or 'nothing was run'}\n")
