"""`Audio` in, `Speech` out: articulation [t, 11] at 50 Hz and 64-d features."""
