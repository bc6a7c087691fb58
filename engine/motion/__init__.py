"""`Speech` + `Controls` + `Head` in, `Take` out; one file per system."""
