"""Going on from an earlier embedding model: what fits by name and shape is taken, and it is said what was not."""

import pytest
import torch

from tests.models.test_aligner import config, streams
from unifusion.errors import CheckpointError, ConfigError
from unifusion.models.aligner import Aligner
from unifusion.models.aligner_files import save_aligner
from unifusion.training.align_start import start_from


def saved(folder, **options):
    torch.manual_seed(1)
    own = Aligner(config(**options))
    save_aligner(own, folder, provenance={})
    return own


def test_all_of_a_model_of_the_same_form_is_taken(tmp_path):
    earlier = saved(tmp_path / "a")
    torch.manual_seed(2)
    own = Aligner(config())
    told = start_from(own, tmp_path / "a")
    assert told.new == {} and told.left == ()
    assert all(torch.equal(v, earlier.state_dict()[n]) for n, v in own.state_dict().items())
    assert "towers.video" in str(told) and str(tmp_path) in str(told)


def test_parts_that_are_new_or_of_another_shape_stay_as_they_were_drawn(tmp_path):
    earlier = saved(tmp_path / "a", streams={n: s for n, s in streams().items() if n != "motion"},
                    towers={"video": ["frames"], "audio": ["audio"], "text": ["text"]})  # fmt: skip
    torch.manual_seed(2)
    own = Aligner(config(width=24))
    before = {n: v.clone() for n, v in own.state_dict().items()}
    told = start_from(own, tmp_path / "a")
    after = own.state_dict()
    assert told.new["encoders.motion"] and "encoders.motion" not in told.taken and told.new["towers.video"] and told.taken["towers.video"]
    assert torch.equal(after["towers.audio.projection.4.weight"], before["towers.audio.projection.4.weight"])
    name = "towers.audio.pools.audio.projection.weight"
    assert torch.equal(after[name], earlier.state_dict()[name])


def test_what_has_nothing_in_common_is_refused(tmp_path):
    saved(tmp_path / "a", streams={"a": streams()["audio"]}, towers={})
    with pytest.raises(ConfigError, match=r"no weight of .* fits"):
        start_from(Aligner(config(streams={"v": streams()["motion"]}, towers={})), tmp_path / "a")
    with pytest.raises(CheckpointError, match="no embedding model"):
        start_from(Aligner(config()), "tiny-emotion")
