"""Losses, loops and one recipe per checkpoint."""
