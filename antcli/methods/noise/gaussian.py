"""Gaussian noise, as it is drawn (DDPM, Algorithm 1)."""

from antcli.methods.choice import Choice

CHOICE = Choice("Gaussian noise", lambda settings, prepared: None)
