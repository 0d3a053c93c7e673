import numpy as np

from mobile_sr.adadsr import depth_report

DEPTH = {"of": "model", "mean": 1.234, "desired": 2, "deepest": 8, "multiply_adds": 1.234e10, "active": [1, 0.25]}


def test_lines_and_legend_say_the_means():
    text = (
        "Depth of the model, means over the images: mean depth 1.23 of 8 blocks, desired 2.00; 12.3 G multiply-adds; "
        "active per block 100 25 %."
    )
    assert depth_report.lines({"depth": DEPTH}) == [text, ""]
    legend = depth_report.legend({"depth": DEPTH})
    assert legend.startswith(f'<p class="soft">{text}<br>')
    assert "8 blocks</span>" in legend


def test_the_figure_frames_the_crop():
    row = {"name": "<b>", "depth": {"mean": 3.456, "desired": 4}}
    crop = {"row": row, "heat_map": np.zeros((2, 4, 3), np.uint8), "window": [10, 20, 30, 40], "size": (100, 200)}
    figure = depth_report.figure(crop, lambda image, kind: f"{kind} {image.shape}")
    assert 'alt="&lt;b&gt;: depth" src="jpeg (2, 4, 3)"' in figure
    assert "left:5.00%;top:20.00%;width:15.00%;height:40.00%" in figure
    assert "max-width:330px" in figure
    assert "depth: mean 3.46, desired 4.00" in figure


def test_models_without_depths_add_nothing():
    assert depth_report.lines({}) == []
    assert depth_report.legend({}) == depth_report.figure({"row": {}}, str) == ""
