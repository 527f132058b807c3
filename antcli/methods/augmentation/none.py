"""Images are learnt from as they are, but for the mirror images that all training may take."""

from antcli.methods.choice import Choice

CHOICE = Choice("images as they are", lambda settings, prepared: None)
