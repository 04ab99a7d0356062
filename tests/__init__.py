"""The tests; what is set here counts before anything with threads of its own is imported."""

import os

# The workers of pytest-xdist share the processors. With all of them each, threads of OpenMP wait for one another in
# turn: two files of training tests took 71 s so on two cores, and more than 290 s without.
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if _WORKERS > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _WORKERS)))
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
