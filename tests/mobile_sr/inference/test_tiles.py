import numpy as np
import pytest

from mobile_sr.errors import UserError
from mobile_sr.inference.tiles import plan_tiles


@pytest.mark.parametrize("size", [(7, 9), (64, 64), (65, 200), (131, 40)])
@pytest.mark.parametrize(("window", "overlap"), [((30, 30), 5), ((64, 40), 16), ((500, 500), 5)])
def test_tiles_cover_the_image_once_and_keep_their_distance(size, window, overlap):
    if any(w <= 2 * overlap < s for w, s in zip(window, size, strict=True)):
        pytest.skip("no such tiling")
    covered = np.zeros(size, int)
    shapes = set()
    for outer, inner in plan_tiles(size, window, overlap):
        covered[inner] += 1
        shapes.add(tuple(o.stop - o.start for o in outer))
        for o, i, side in zip(outer, inner, size, strict=True):
            assert 0 <= o.start <= i.start < i.stop <= o.stop <= side
            assert i.start - o.start >= overlap or o.start == 0
            assert o.stop - i.stop >= overlap or o.stop == side
    assert (covered == 1).all()
    assert shapes == {tuple(min(w, s) for w, s in zip(window, size, strict=True))}


def test_a_tile_without_an_inside_is_refused():
    with pytest.raises(UserError, match="too small"):
        list(plan_tiles((100, 100), (10, 10), 5))
