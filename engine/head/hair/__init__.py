"""Scalp hair: strands grown by a seeded recipe on the default head, bound to the triangles under their roots."""
