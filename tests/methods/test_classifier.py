import pytest
import torch

from antcli.methods.classifier import new_classifier


@pytest.mark.parametrize("size", [2, 4, 8, 24, 32, 33])
def test_two_logits_at_any_size(size: int) -> None:
    classifier = new_classifier(size, seed=0)
    logits = classifier(torch.randn(3, 3, size, size), torch.tensor([0, 500, 999]))
    assert logits.shape == (3, 2)
    assert logits.isfinite().all()


@pytest.mark.parametrize("size", [8, 32, 64])
def test_maps_are_halved_to_four(size: int) -> None:
    classifier = new_classifier(size, seed=0)
    seen = []
    classifier.stages[-1].register_forward_hook(lambda *call: seen.append(call[2].shape))
    classifier(torch.randn(1, 3, size, size), torch.tensor([0]))
    assert seen[0][-2:] == (4, 4)


def test_equal_seeds_give_equal_weights_and_leave_the_global_generator() -> None:
    before = torch.get_rng_state()
    first, again, other = (new_classifier(8, seed).state_dict() for seed in (1, 1, 2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first["stem.weight"], other["stem.weight"])
    torch.testing.assert_close(torch.get_rng_state(), before, rtol=0, atol=0)


def test_the_noise_level_is_taken_into_account() -> None:
    classifier = new_classifier(8, seed=0)
    x_t = torch.randn(1, 3, 8, 8).expand(2, -1, -1, -1)
    early, late = classifier(x_t, torch.tensor([10, 900]))
    assert (early - late).abs().max() > 1e-4


def test_a_sample_does_not_see_its_batch() -> None:
    classifier = new_classifier(8, seed=0)
    x_t, t = torch.randn(4, 3, 8, 8), torch.tensor([1, 10, 500, 999])
    alone = torch.cat([classifier(x_t[i : i + 1], t[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(alone, classifier(x_t, t), rtol=1e-4, atol=1e-5)
