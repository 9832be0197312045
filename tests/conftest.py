"""Settings that must be made before NumPy or matplotlib is imported.  Your own settings win."""

import os

# With other programs on the machine, two BLAS threads are up to ten times slower than one
# for matrices this small.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")  # draws to memory, needs no window
