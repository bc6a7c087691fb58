"""`Head` vertices [v, 3] + `Avatar` in, `Gaussians` [n] in space out; ply and spz."""
