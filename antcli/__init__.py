"""Few-shot domain adaptation of diffusion models.

for record in antcli.adapt("avatars", "my-ten-images", out="my-run"): ...
for record in antcli.distill("my-run", steps=4, out="my-few-steps"): ...
images = antcli.load("my-run")(batch_size=16).images
numbers = antcli.evaluate("my-run")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from antcli.api import adapt, distill, evaluate, load

__version__ = "0.1.0"
__all__ = ["adapt", "distill", "evaluate", "load"]


def __getattr__(name: str) -> Any:
    # torch is imported by those who need it, not by those who ask for the version.
    if name in __all__:
        from antcli import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
