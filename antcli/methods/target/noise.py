"""The target of plain training: the noise itself (DDPM, Algorithm 1)."""

from antcli.methods.choice import Choice

CHOICE = Choice("the noise", lambda settings, prepared: None)
