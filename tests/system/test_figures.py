"""Names beside the points of a plot."""

from __future__ import annotations

import itertools

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from summarymixing_fairseq.system.figures import name_points, new_figure


def test_names_are_on_no_point_and_no_other_name():
    figure = new_figure(6, 6)
    axes = figure.subplots(1, 2)[1]
    points = [tuple(point) for point in np.random.default_rng(1).normal(size=(24, 2)) * 0.1]
    axes.plot(*zip(*points), "o")
    axes.margins(0.2)
    axes.set(title="of two lines,\nwhich move the points", ylabel="y")
    name_points(axes, points, [f"encoder-{number}" for number in range(24)])
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    for label in axes.texts:
        label.update_positions(renderer)
    names = {label.get_text(): Text.get_window_extent(label) for label in axes.texts}
    assert len(names) == 24
    for one, other in itertools.combinations(names.values(), 2):
        assert not one.overlaps(other)
    for name, (pixel, place) in itertools.product(names, zip(axes.transData.transform(points), points)):
        assert not names[name].overlaps(Bbox([pixel - 5, pixel + 5])), (name, place)
    assert all(axes.bbox.count_contains(box.corners()) == 4 for box in names.values())
    with_line = [label.arrow_patch.get_visible() for label in axes.texts]
    far = [np.hypot(*label.xyann) > 20 for label in axes.texts]
    assert any(far) and not all(with_line) and all(line for line, is_far in zip(with_line, far) if is_far)
