package org.mobilesr.core;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.mobilesr.core.TensorSpec.Type;

class TensorSpecTest {
    private static final TensorSpec FLOAT = new TensorSpec(Type.FLOAT32, 0, 0);
    private static final TensorSpec BYTES = new TensorSpec(Type.UINT8, 1 / 255f, 0);

    private static RgbImage levels() {
        RgbImage image = new RgbImage(16, 16);
        for (int i = 0; i < 768; i++) {
            image.rgb()[i] = (byte) (i / 3);
        }
        return image;
    }

    private static byte[] bytes(ByteBuffer buffer) {
        byte[] values = new byte[buffer.remaining()];
        buffer.get(values);
        return values;
    }

    @Test
    void floatIsZeroToOne() {
        ByteBuffer values = FLOAT.encode(levels());
        assertEquals(0f, values.getFloat(0));
        assertEquals(1f, values.getFloat(767 * 4));
        assertEquals(100 / 255f, values.getFloat(300 * 4));
    }

    @Test
    void everyLevelSurvivesThereAndBack() {
        TensorSpec[] specs = {
            FLOAT, BYTES, new TensorSpec(Type.INT8, 1 / 255f, -128), new TensorSpec(Type.UINT8, 0, 0), new TensorSpec(Type.INT8, 1, -128)
        };
        for (TensorSpec spec : specs) {
            assertArrayEquals(levels().rgb(), spec.decode(spec.encode(levels()), 16, 16).rgb(), spec.toString());
        }
    }

    @Test
    void bytesGoInUnchanged() {
        assertArrayEquals(levels().rgb(), bytes(BYTES.encode(levels())));
    }

    @Test
    void int8IsShiftedByItsZeroPoint() {
        byte[] values = bytes(new TensorSpec(Type.INT8, 1 / 255f, -128).encode(levels()));
        assertEquals(-128, values[0]);
        assertEquals(127, values[767]);
    }

    @Test
    void whiteIsOneOr255ByWhatTheTensorHolds() {
        assertEquals(1, BYTES.white());
        assertEquals(1, new TensorSpec(Type.UINT8, 0.0125, 20).white());
        assertEquals(255, new TensorSpec(Type.UINT8, 1, 0).white());
        assertEquals(255, new TensorSpec(Type.INT8, 1.01, -128).white());
    }

    @Test
    void anOwnScaleIsUsedBothWays() {
        TensorSpec spec = new TensorSpec(Type.UINT8, 2 / 255.0, 10);
        byte[] values = bytes(spec.encode(levels()));
        assertEquals(10, values[0]);
        assertEquals(10 + 128, values[767] & 255);
        ByteBuffer out = ByteBuffer.wrap(new byte[] {10, 11, 0});
        assertArrayEquals(new byte[] {0, 2, 0}, spec.decode(out, 1, 1).rgb());
    }

    @Test
    void floatOutputIsRoundedAndClipped() {
        ByteBuffer out = ByteBuffer.allocate(12).order(ByteOrder.nativeOrder());
        out.putFloat(-0.5f).putFloat(1.7f).putFloat(0.5f);
        assertArrayEquals(new byte[] {0, (byte) 255, (byte) 128}, FLOAT.decode(out, 1, 1).rgb());
        out.putFloat(0, Float.NaN);
        assertEquals(0, FLOAT.decode(out, 1, 1).rgb()[0]);
    }

    @Test
    void scalarsAreQuantizedAndChecked() {
        TensorSpec depth = new TensorSpec(Type.UINT8, 8 / 255.0, 0);
        assertEquals((byte) 255, depth.encodeScalar(8).get(0));
        assertEquals((byte) 80, depth.encodeScalar(2.5).get(0));
        assertEquals(2.5f, FLOAT.encodeScalar(2.5).getFloat(0));
        assertThrows(IllegalArgumentException.class, () -> depth.encodeScalar(8.1));
        assertThrows(IllegalArgumentException.class, () -> depth.encodeScalar(Double.NaN));
    }

    @Test
    void psnrOfAKnownError() {
        RgbImage one = new RgbImage(8, 8);
        RgbImage other = new RgbImage(8, 8);
        assertEquals(Psnr.IDENTICAL, Psnr.rgb(one, other, 2));
        java.util.Arrays.fill(other.rgb(), (byte) 5);
        assertEquals(20 * Math.log10(255 / 5.0), Psnr.rgb(one, other, 0), 1e-9);
        new Random(0).nextBytes(other.rgb());
        for (int y = 2; y < 6; y++) {
            for (int x = 2; x < 6; x++) {
                other.paste(one, 0, 0, x, y, 1, 1);
            }
        }
        assertEquals(Psnr.IDENTICAL, Psnr.rgb(one, other, 2), "only the border differs");
        assertThrows(IllegalArgumentException.class, () -> Psnr.rgb(one, new RgbImage(8, 9), 0));
    }

    @Test
    void argbThereAndBack() {
        int[] pixels = {0xff010203, 0xfffefdfc};
        RgbImage image = RgbImage.fromArgb(2, 1, pixels);
        assertArrayEquals(new byte[] {1, 2, 3, -2, -3, -4}, image.rgb());
        assertArrayEquals(pixels, image.toArgb());
    }
}
