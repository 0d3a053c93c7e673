import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mobile_sr.converters.tflite import fixed_shape, flatbuffer, runtime
from mobile_sr.inference import litert, model_files


def test_a_file_of_one_size():
    data = model_files.locate_tflite("espcn_x3:uint8")[0].read_bytes()
    index = flatbuffer.parse(data).inputs[0]
    fixed = fixed_shape.with_input_shape(data, index, (1, 10, 12, 3))
    assert litert.TFLiteModel(fixed).fixed == (10, 12)
    values = np.arange(360, dtype=np.uint8).reshape(1, 10, 12, 3)
    outputs = []
    for file in (data, fixed):
        interpreter = runtime.create_interpreter(file)
        if file is data:
            interpreter.resize_tensor_input(index, values.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(index, values)
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    assert outputs[0].shape == (1, 30, 36, 3)
    assert np.array_equal(*outputs)


def test_signatures_become_files_of_one_subgraph():
    """AdaDSR's dense form is independent; its sparse form calls other subgraphs, so that nothing can be left out."""
    data = model_files.locate_tflite("adaedsr_b8_x2:uint8")[0].read_bytes()
    first = {name: flatbuffer.as_first_subgraph(data, flatbuffer.parse(data, name)) for name in ("dense", "sparse")}
    assert fixed_shape.first_subgraph_only(first["sparse"]) == first["sparse"]
    alone = fixed_shape.first_subgraph_only(first["dense"])
    assert schema.ModelT.InitFromPackedBuf(alone, 0).subgraphs[1:] == []
    outputs = []
    for file in (first["dense"], alone):
        interpreter = runtime.create_interpreter(file)
        for detail in interpreter.get_input_details():
            if len(detail["shape"]) == 4:
                interpreter.resize_tensor_input(detail["index"], (1, 5, 6, 3))
        interpreter.allocate_tensors()
        for detail in interpreter.get_input_details():
            values = np.arange(90).reshape(1, 5, 6, 3) if len(detail["shape"]) == 4 else np.full(detail["shape"], 3)
            interpreter.set_tensor(detail["index"], values.astype(detail["dtype"]))
        interpreter.invoke()
        outputs.append([interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()])
    assert np.ptp(outputs[0][0]) > 0
    assert all(np.array_equal(*both) for both in zip(*outputs, strict=True))
