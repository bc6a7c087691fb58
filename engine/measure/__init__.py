"""Figures: lip sync, meshes, images, emotion. Nets used only to measure live in measure/nets/."""
