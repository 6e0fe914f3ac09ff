"""Cross-entropy with soft targets, class weights, smoothing and unknown rows, all at once."""

from __future__ import annotations

from torch import Tensor

from unifusion.losses._targets import label_shares, mean_by_weight

__all__ = ["label_smoothing_cross_entropy"]


def label_smoothing_cross_entropy(
    logits_BK: Tensor, targets: Tensor, *, smoothing: float = 0.0, class_weights_K: Tensor | None = None, ignore_index: int = -100
) -> Tensor:  # fmt: skip
    """Return the mean cross-entropy () over rows whose target is known, in float32; 0 where none is.

    | input | shape | meaning |
    |---|---|---|
    | logits_BK | (B, K) | of each row and label |
    | targets | (B,) int64 or (B, K) float | numbers of labels, or shares (mixup, several annotators) |
    | smoothing | | share of the target that is spread over all labels |
    | class_weights_K | (K,) | see `class_balanced_weights` |
    | ignore_index | | number of a target that is not known; among shares that is a row with NaN |

    For numbers equal to `torch.nn.functional.cross_entropy`. For shares that one divides by B whatever the class weights, and knows no
    unknown rows; here both kinds of target are divided by the weight of their labels, so that a share of 1 is the same as its number.

    Smoothing: Szegedy et al., "Rethinking the Inception architecture" (2016).

    Raises:
        ConfigError: the shapes do not fit.
    """
    shares_BK, known_B = label_shares(logits_BK, targets, ignore_index)
    smooth_BK = (1 - smoothing) * shares_BK + smoothing / logits_BK.shape[1] * known_B[:, None]
    return mean_by_weight(-smooth_BK * logits_BK.float().log_softmax(dim=1), shares_BK, class_weights_K)
