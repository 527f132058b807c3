"""The condition of a source with classes or texts stays what it is."""

from antcli.methods.choice import Choice

CHOICE = Choice("what the source is asked for stays", lambda settings, prepared: None)
