"""LSTMs over sequences of unequal lengths, with gaps between what stands in them."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

__all__ = ["Recurrent"]


class Recurrent(nn.Module):
    """An LSTM over the real tokens of each row, as if there were no others between or behind them.

    Args:
        in_width: of the tokens.
        width: D of what comes out; both directions share it.
        layers: LSTMs on each other.
        both_ways: forwards and backwards.
        dropout: between layers, and on what comes out.

    Raises:
        ValueError: an odd width for both ways.
    """

    def __init__(self, in_width: int, width: int, *, layers: int = 1, both_ways: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        if both_ways and width % 2:
            raise ValueError(f"width {width} cannot be shared by two directions; choose an even one.")
        self.lstm = nn.LSTM(
            in_width, width // 2 if both_ways else width, layers, batch_first=True, bidirectional=both_ways,
            dropout=dropout if layers > 1 else 0.0,
        )  # fmt: skip
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens_BSD: Tensor, mask_BS: Tensor) -> tuple[Tensor, Tensor]:
        """Map tokens (B, S, in_width), each row with at least one real one, to states (B, S, D) and the last of each row (B, D).

        States stand in their tokens' places, zero where none is real. The last of an LSTM both ways is that of each direction.
        """
        order_BS = (~mask_BS).byte().argsort(dim=1, stable=True)
        lengths_B = mask_BS.sum(dim=1)
        front_BSD = tokens_BSD.masked_fill(~mask_BS[..., None], 0.0).gather(1, order_BS[..., None].expand_as(tokens_BSD))
        packed = pack_padded_sequence(front_BSD, lengths_B.cpu(), batch_first=True, enforce_sorted=False)
        states, (last, _) = self.lstm(packed)
        states_BSD, _ = pad_packed_sequence(states, batch_first=True, total_length=mask_BS.shape[1])
        states_BSD = states_BSD.gather(1, order_BS.argsort(dim=1)[..., None].expand_as(states_BSD))
        both = 2 if self.lstm.bidirectional else 1
        return self.dropout(states_BSD), self.dropout(last[-both:].transpose(0, 1).flatten(1))
