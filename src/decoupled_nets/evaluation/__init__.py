"""Trained networks, whatever they were trained by, measured anew: under attack, under corruption."""
