"""`Gaussians` + `Camera` in, `Frame` out: reference.py (plain torch), cpu.py (numba), cuda.py (gsplat, lazy)."""
