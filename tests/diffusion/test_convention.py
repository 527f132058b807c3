from typing import get_args

import torch

from antcli.diffusion.convention import Convention
from antcli.diffusion.path import BetaPath, Prediction


def test_of_a_learned_variance_only_the_mean_counts() -> None:
    output, x_t, t = torch.randn(6, 6, 4, 4), torch.randn(6, 3, 4, 4), torch.arange(6)
    for prediction in get_args(Prediction):
        convention = Convention(BetaPath.linear(), prediction)
        found = convention.eps(output, x_t, t)
        torch.testing.assert_close(found, convention.eps(output[:, :3], x_t, t), rtol=0, atol=0)


def test_each_image_of_a_batch_has_the_condition() -> None:
    condition = {"class_labels": torch.tensor([7]), "encoder_hidden_states": torch.randn(1, 2, 3)}
    found = Convention(BetaPath.linear(), condition=condition).inputs(torch.zeros(4, 3, 8, 8))
    torch.testing.assert_close(found["class_labels"], torch.tensor([7, 7, 7, 7]))
    expected = condition["encoder_hidden_states"].repeat(4, 1, 1)
    torch.testing.assert_close(found["encoder_hidden_states"], expected)
