"""Post-training quantization by other tools: `python -m tools.zoo.other_quantizers --data DIR [NAME...]`.

The tools quantize a float file without any method of this project. The command measures what TensorFlow's quantization of the
packaged float32 files costs on DIR/Set5 and writes it into the cards of the named entries, by default all.
"""

import collections
import tempfile
import warnings
from pathlib import Path

import numpy as np

from mobile_sr import files, zoo
from mobile_sr.converters import to_onnx
from mobile_sr.converters.quantization import float_graph
from mobile_sr.converters.quiet import quiet
from mobile_sr.converters.tflite import op_order
from mobile_sr.evaluation import evaluate
from mobile_sr.imaging import flat_colours, metrics, sample_images
from mobile_sr.imaging.resize import downscale
from mobile_sr.inference import litert, onnx_model, upscaler
from mobile_sr.quantization import export, source
from tools.zoo import command_line

COUNT, SIDE = 100, 48  # calibration crops, and their side in LR pixels


def crops(scale, seed=0):
    """COUNT random crops of scikit-image's calibration images, [1, SIDE, SIDE, 3] float32 in 0..1: natural images only."""
    rng = np.random.default_rng(seed)
    images = [downscale(image, scale) for _, image in sample_images.images(sample_images.CALIBRATION)]
    result = []
    for k in range(COUNT):
        image = images[k % len(images)]
        top, left = (int(rng.integers(side - SIDE + 1)) for side in image.shape[:2])
        result.append(image[top : top + SIDE, left : left + SIDE][None].astype(np.float32) / np.float32(255))
    return result


def tensorflow(data, samples):
    """A uint8 .tflite by TensorFlow's calibrator and quantizer, as tf.lite.TFLiteConverter runs them, per channel.

    Args:
        data: bytes of a float32 .tflite with one signature.
        samples: its inputs, as for `quantizer.convert`.
    """
    graph = float_graph.FloatGraph(data)
    inputs = [graph.by_tensor(sample) for sample in samples]
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow as tf
        from tensorflow.lite.python import lite

        calibrator = lite._calibrator.Calibrator(data)
        measured = calibrator.calibrate(lambda: ([sample[tensor] for tensor in graph.graph.inputs] for sample in inputs))
        return bytes(lite._mlir_quantize(measured, False, input_data_type=tf.uint8, output_data_type=tf.uint8))


def onnx_runtime(data, samples):
    """An ONNX file by ONNX Runtime's static quantization: uint8 activations, int8 weights per channel, QDQ form.

    Args:
        data: bytes of a float32 .tflite of one input.
        samples: [1, H, W, 3] float32 in 0..1.
    """
    with quiet(), warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        from onnxruntime import quantization
        from onnxruntime.quantization import shape_inference

        source, prepared, target = (str(Path(folder) / f"{name}.onnx") for name in ("float", "prepared", "quantized"))
        Path(source).write_bytes(to_onnx.convert(data))
        shape_inference.quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            target,
            _Reader(samples),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return Path(target).read_bytes()


class _Reader:
    """The samples as ONNX Runtime's CalibrationDataReader, by their methods only: the class itself needs onnxruntime."""

    def __init__(self, samples):
        self._left = collections.deque(samples)

    def get_next(self):
        return {"lr": self._left.popleft()} if self._left else None


def runner(data, kind="tflite", options=None):
    """A function from [H, W, 3] uint8 to [H * s, W * s, 3] uint8 for the bytes of a .tflite or .onnx file.

    Args:
        data: bytes of the file.
        kind: "tflite" or "onnx".
        options: values of further inputs, as `extensions.Export.options` gives them.
    """
    model = onnx_model.OnnxModel(data) if kind == "onnx" else litert.TFLiteModel(data, options=options)
    return lambda image: upscaler.to_uint8(model.run(image))


def pairs(folder, scale):
    """The (HR, LR, whether gray) of an image set."""
    return [(hr, lr, gray) for _, hr, lr, gray in evaluate.each_pair(Path(folder), scale, [])]


def psnr(run, images, scale):
    """The mean PSNR in dB of a `runner` on `pairs`: {"y", "rgb"}."""
    spaces = {"y": [], "rgb": []}
    for hr, lr, gray in images:
        sr = run(lr)
        for space, values in spaces.items():
            values.append(metrics.psnr(sr, hr, space, scale, gray))
    return {space: float(np.mean(values)) for space, values in spaces.items()}


def measure(run, images, scale):
    """{"y", "rgb", "flat", "ramps"}: PSNR in dB, and the errors on flat colours and ramps in levels of 255."""
    errors = flat_colours.measure(run, scale)
    return {**psnr(run, images, scale), "flat": errors["flat"], "ramps": errors["ramps"]}


def packaged(name):
    """The bytes of an entry's float32 .tflite, see `alone`."""
    path = zoo.resolve(f"{name}:float32")
    return alone(path.read_bytes(), "dense" if path.stem.endswith("_sparse_float32") else None)


def alone(data, signature=None):
    """The bytes of one signature of a .tflite: of a file with a sparse path the dense one, of one with exits the default."""
    graph = litert.parse_graph(data, signature=signature)
    if len(graph.signatures) < 2:
        return data
    alone = float_graph.FloatGraph(litert.as_first_subgraph(data, graph))
    alone.model.subgraphs = [alone.graph]
    op_order.forget(alone.model)
    codes = sorted({op.opcodeIndex for op in alone.ops})  # TensorFlow's calibrator does not know all of the sparse path's
    alone.model.operatorCodes = [alone.model.operatorCodes[code] for code in codes]
    for op in alone.ops:
        op.opcodeIndex = codes.index(op.opcodeIndex)
    return alone.packed()


def entry(name, set5):
    """TensorFlow's quantization of an entry's float32 file, for its card.

    Args:
        name: of the entry.
        set5: folder of Set5.

    Returns:
        {"tool", "calibration", "packaged", "quantized"}: the last two are results for the packaged float32 file as it is and
        quantized, {"Set5": {"y", "rgb"} in dB, "colour_error": {"flat", "ramps"} in levels of 255}.
    """
    network = source.open_own(name, None)
    scale, options = network.scale, network.extension.options(network.extension.max_value)
    data, images = packaged(name), pairs(set5, scale)
    result = {
        "tool": f"TensorFlow {export.versions()['tensorflow']}, per channel",
        "calibration": f"{COUNT} crops of {SIDE}x{SIDE} LR pixels of scikit-image's images",
    }
    for key, file in (("packaged", data), ("quantized", tensorflow(data, network.samples(crops(scale))))):
        found = measure(runner(file, options=options), images, scale)
        result[key] = {
            "Set5": {space: round(found[space], 4) for space in ("y", "rgb")},
            "colour_error": {part: found[part] for part in ("flat", "ramps")},
        }
    return result


def exported(name, float_weights):
    """The bytes of the dense float32 .tflite that `export --float-weights` writes."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"float_weights": float_weights, "path": "dense", "log": lambda line: None}
        (path,) = export.export(name, folder, ["float32"], **options)
        return alone(path.read_bytes())


def write(names, data):
    """Measure entries again and write the result into their cards. Raises: UserError for an unknown entry or missing set."""
    for name in names or zoo.names():
        card = zoo.card(name)
        found = entry(name, Path(data) / "Set5")
        at = list(card).index("colour_error") + 1  # where pack.py has it
        rest = {key: value for key, value in card.items() if key != "plain_quantization"}
        items = list(rest.items())
        files.write_json(zoo.FOLDER / f"{name}.json", dict([*items[:at], ("plain_quantization", found), *items[at:]]))
        print(name, found, flush=True)


def main():
    """Command line of this module."""
    parser = command_line.Parser("other_quantizers", __doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--data", required=True, help="folder that contains Set5")
    args = parser.parse_args()
    parser.run(write, args.names, args.data)


if __name__ == "__main__":
    main()
