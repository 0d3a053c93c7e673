import numpy as np

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
