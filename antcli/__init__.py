"""Few-shot domain adaptation of diffusion models."""

__version__ = "0.1.0"
