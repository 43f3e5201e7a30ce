"""Big Bird against attention that hears its window, the global frames and the blocks that were drawn; and the draw."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from mixers import small_mixer
from reference import assert_equals_reference, padding_of, randomise, self_attention

from summarymixing_fairseq.modules.mixing.bigbird import BigBird


def heard_blocks(mixer: BigBird, num_frames: int) -> dict[int, list[int]]:
    """Blocks drawn for each block of a clip alone."""
    drawn, there = mixer.draw(torch.ones(1, num_frames, dtype=torch.bool))
    first = mixer.global_blocks
    return {first + i: blocks[is_there].tolist() for i, (blocks, is_there) in enumerate(zip(drawn[0], there[0]))}


@pytest.mark.parametrize("lengths", [[14], [13, 9, 2]])
def test_outputs_and_gradients_equal_the_loops(lengths):
    mixer = randomise(small_mixer("bigbird", 4, 2, window=2, global_blocks=1, random_blocks=2))

    def reference(p, x):
        drawn = heard_blocks(mixer, len(x))

        def hears(t, u):
            i, j = t // 2, u // 2
            return i == 0 or j == 0 or abs(i - j) <= 1 or j in drawn[i]

        return self_attention(p, x, 2, hears=hears)

    assert_equals_reference(mixer, reference, lengths, 4, torch.float64, 1e-10)


def test_a_short_clip_has_full_attention():
    mixer = randomise(small_mixer("bigbird", 4, 2, window=1, global_blocks=2, random_blocks=3))
    assert_equals_reference(mixer, partial(self_attention, num_heads=2), [7, 4], 4, torch.float64, 1e-10)


def test_what_is_drawn():
    """As many blocks as asked for, or all there are; no global one, none of the window, none twice."""
    g, r = 2, 3
    mixer = small_mixer("bigbird", 8, window=4, global_blocks=g, random_blocks=r)
    for num_blocks in range(3, 40):
        for i, blocks in heard_blocks(mixer, 4 * num_blocks - 1).items():
            left = set(range(g, num_blocks)) - {i - 1, i, i + 1}
            assert set(blocks) <= left and len(blocks) == len(set(blocks)) == min(r, len(left))


def test_blocks_are_drawn_alike_often():
    mixer = small_mixer("bigbird", 8, window=1, global_blocks=2, random_blocks=3)
    counts = torch.zeros(17, 17)
    for _ in range(200):
        mixer.seed.random_(2**31)
        for i, blocks in heard_blocks(mixer, 17).items():
            counts[i, blocks] += 1
    assert (counts[5] > 0).tolist() == [i >= 2 and abs(i - 5) > 1 for i in range(17)]
    assert counts[5, [2, 3, 7, 8, 15, 16]].min() > 30 and counts[5].max() < 80  # 50 each


def test_the_draw_depends_on_the_layer_and_the_clip_alone():
    mixer, lengths = small_mixer("bigbird", 8, window=4), [400, 250, 90, 8]
    drawn, there = mixer.draw(~padding_of(lengths))
    for row, length in enumerate(lengths):
        alone, there_alone = mixer.draw(torch.ones(1, length, dtype=torch.bool))
        assert torch.equal(drawn[row, : alone.size(1)], alone[0])
        assert torch.equal(there[row, : alone.size(1)], there_alone[0])
    other = small_mixer("bigbird", 8, window=4)
    valid = torch.ones(1, 400, dtype=torch.bool)
    assert (other.draw(valid)[0] != drawn[:1]).float().mean() > 0.8
    other.load_state_dict(mixer.state_dict())
    assert torch.equal(other.draw(valid)[0], drawn[:1])
