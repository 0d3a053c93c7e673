"""Conversion to .tflite in all precisions."""

import numpy as np
import pytest

from mobile_sr import models, zoo
from mobile_sr.converters import to_tflite
from mobile_sr.converters.tflite import audit, flatbuffer
from mobile_sr.errors import UserError
from mobile_sr.imaging import sample_images
from mobile_sr.inference import litert, upscaler, weights
from mobile_sr.quantization.export import METHODS, export


def calibration():
    rng = np.random.default_rng(0)
    flat = [np.full((1, 24, 24, 3), level, np.float32) for level in (0, 1)]
    return [rng.random((1, 24, 24, 3)).astype(np.float32) for _ in range(3)] + flat


def random_model(config, seed=2):
    model = models.build(config)
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(0, np.prod(w.shape[:-1]) ** -0.5, w.shape) if w.ndim == 4 else w for w in model.get_weights()]
    arrays[-1] = arrays[-1] + 0.5  # all channels of the tail's bias are equal
    model.set_weights(arrays)
    return model


def convert(model, config, precision, **arguments):
    exported = models.build_for_export(config)
    exported.set_weights(model.get_weights())
    return to_tflite.convert(exported, precision, calibration=calibration(), **arguments)


@pytest.mark.parametrize("network", ["fsrcnn", "espcn"])
def test_the_other_networks_are_one_partition_in_8_bits(network):
    config = {"network": network, "scale": 3}
    model = random_model(config)
    data = convert(model, config, "uint8")
    graph = flatbuffer.parse(data)
    convolutions = {"fsrcnn": 8, "espcn": 3}[network]
    checks = audit.check(graph, "uint8", clipped=True, convolutions=convolutions)
    assert [c for c in checks if not c["passed"]] == []
    assert litert.delegate_partitions(data) == 1
    assert not {"PRELU", "TRANSPOSE_CONV", "MINIMUM", "RELU"} & {op.name for op in graph.ops}
    image = np.random.default_rng(5).integers(0, 256, (20, 24, 3), np.uint8)
    expected = upscaler.to_uint8(upscaler.keras_runner(model)(image)).astype(int)
    # The converter would give all channels of an equal bias the scale of the first one; the error would be far larger.
    assert np.abs(upscaler.to_uint8(litert.TFLiteModel(data).run(image)) - expected).mean() < 3


@pytest.mark.parametrize("size", [(4, 5), (9, 3), (2, 8), (6, 7)])
def test_images_are_cropped_at_the_centre_or_padded_at_the_edges(size):
    image = np.arange(6 * 7 * 3).reshape(6, 7, 3)
    rows, columns = (
        np.clip(np.arange(want) + max(0, have - want) // 2, 0, have - 1) for have, want in zip((6, 7), size, strict=True)
    )
    expected = image[rows][:, columns]
    np.testing.assert_array_equal(to_tflite.center_crop_or_pad(image, size), expected)
    np.testing.assert_array_equal(to_tflite.center_crop_or_pad(image[None], size), expected[None])


@pytest.mark.parametrize("per_tensor", [False, True])
@pytest.mark.parametrize("precision", ["int16", "dynamic", "uint8"])
@pytest.mark.slow
def test_modes_pass_their_audits(model_file, tmp_path, precision, per_tensor):
    (path,) = export(model_file, tmp_path, [precision], per_tensor=per_tensor, log=lambda line: None)
    assert path.name == f"tiny_{precision}{'_per_tensor' if per_tensor else ''}.tflite"
    graph = flatbuffer.load(path)
    for required in ("int16", "dynamic", "uint8"):
        for kernels in (False, True):
            checks = audit.check(graph, required, clipped=True, convolutions=11, per_tensor=kernels)
            assert all(c["passed"] for c in checks) == (required == precision and kernels == per_tensor)
    model, _ = weights.load_model(model_file)
    image = np.random.default_rng(5).integers(0, 256, (20, 24, 3), np.uint8)
    expected = upscaler.to_uint8(upscaler.keras_runner(model)(image)).astype(int)
    assert np.abs(upscaler.to_uint8(litert.TFLiteModel(path).run(image)) - expected).mean() < 4


def test_methods_are_recorded_and_lose_less(tmp_path):
    model, _ = weights.load_model(zoo.resolve("xlsr_x3"))
    image = sample_images.images(["coffee"])[0][1][100:160, 200:280]
    expected = np.clip(upscaler.keras_runner(model)(image), 0, 1) * 255
    errors = {}
    for methods in ((), METHODS):
        (path,) = export("xlsr_x3", tmp_path / str(len(methods)), ["uint8"], methods=methods, log=lambda line: None)
        sidecar = path.with_suffix(".json").read_text()
        assert ('"equalization": null' in sidecar) == (not methods)
        assert ("second moments" in sidecar) == ("least squared error" in sidecar) == bool(methods)
        errors[methods] = np.mean((litert.TFLiteModel(path).run(image).astype(float) - expected) ** 2)
    assert errors[METHODS] < 0.6 * errors[()]


def test_unknown_methods_are_refused(run_here, tmp_path):
    result = run_here("export", "--model", "xlsr_x3", "--out", tmp_path / "out", "--methods", "equalise")
    assert result.returncode == 2
    assert "equalise" in result.stderr
    assert "mix, equalize, round, clip, spare, fit or none" in result.stderr
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="int32"):
        export("xlsr_x3", tmp_path / "out", ["int32"])
