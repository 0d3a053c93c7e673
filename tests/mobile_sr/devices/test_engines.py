from mobile_sr.imaging.sample_images import generated
from mobile_sr.inference import litert, model_files
from tests.mobile_sr.devices.fake_device import FakeDevice


def test_sizes_take_turns_without_opening_again():
    device = FakeDevice()
    path, options = model_files.locate_tflite("espcn_x3:uint8")
    model = litert.TFLiteModel(path, 1, options, device)
    for side in (10, 12, 10, 14, 16, 18, 10, 12):
        model.run(generated(side, side))
    sides = [shape[1] for shape in device.opened]
    assert sides == [10, 12, 14, 16, 18, 12]  # 12 was the oldest of four when 18 came
    assert [shape[1] for shape in device.closed] == [12, 14]
    model.close()
    assert len(device.closed) == len(device.opened)
