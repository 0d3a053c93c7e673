package org.mobilesr.core;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * How the values of a tensor stand for real ones, and images for its values.
 *
 * <p>Float tensors hold 0..1. A quantized tensor holds (value - zeroPoint) * scale, where white is 1 or 255 by the largest
 * value that it can hold; one without a scale holds the numbers themselves.
 */
public record TensorSpec(Type type, double scale, int zeroPoint) {

    /** The element types that an image or a scalar may have. */
    public enum Type {
        FLOAT32(4, 0, 0),
        UINT8(1, 0, 255),
        INT8(1, -128, 127);

        public final int bytes;
        final int least;
        final int most;

        Type(int bytes, int least, int most) {
            this.bytes = bytes;
            this.least = least;
            this.most = most;
        }
    }

    /** Between 1 and 255 by ratio: an unclipped output of 0..1 was seen to reach 3 (as in mobile_sr/inference/tensor_values.py). */
    private static final double LARGEST_OF_0_TO_1 = 16;

    public TensorSpec {
        if (type != Type.FLOAT32 && scale == 0) {
            scale = 1;
            zeroPoint = 0;
        }
    }

    /** The real value of white: 1 or 255. */
    public int white() {
        return type == Type.FLOAT32 || (type.most - zeroPoint) * scale <= LARGEST_OF_0_TO_1 ? 1 : 255;
    }

    /** The image as the tensor's bytes, in the machine's order, ready to be read. */
    public ByteBuffer encode(RgbImage image) {
        byte[] rgb = image.rgb();
        ByteBuffer values = ByteBuffer.allocateDirect(Math.multiplyExact(rgb.length, type.bytes)).order(ByteOrder.nativeOrder());
        if (type == Type.FLOAT32) {
            for (byte value : rgb) {
                values.putFloat((value & 255) / 255f);
            }
        } else {
            byte[] table = new byte[256];
            for (int level = 0; level < 256; level++) {
                table[level] = (byte) quantized(level * white() / 255.0);
            }
            byte[] levels = new byte[rgb.length];
            for (int i = 0; i < rgb.length; i++) {
                levels[i] = table[rgb[i] & 255];
            }
            values.put(levels);
        }
        values.rewind();
        return values;
    }

    /** The tensor's bytes as an image, rounded and clipped to 0..255; what is not a number becomes 0. */
    public RgbImage decode(ByteBuffer values, int width, int height) {
        RgbImage image = new RgbImage(width, height);
        byte[] rgb = image.rgb();
        values.rewind();
        if (type == Type.FLOAT32) {
            for (int i = 0; i < rgb.length; i++) {
                rgb[i] = level(values.getFloat() * 255f);
            }
        } else {
            byte[] table = new byte[256];
            for (int bits = 0; bits < 256; bits++) {
                int value = type == Type.UINT8 ? bits : (byte) bits;
                table[bits] = level((value - zeroPoint) * scale * 255 / white());
            }
            values.get(rgb);
            for (int i = 0; i < rgb.length; i++) {
                rgb[i] = table[rgb[i] & 255];
            }
        }
        return image;
    }

    /**
     * A number as the bytes of a tensor of one element.
     *
     * @throws IllegalArgumentException when the tensor cannot hold it.
     */
    public ByteBuffer encodeScalar(double number) {
        ByteBuffer value = ByteBuffer.allocateDirect(type.bytes).order(ByteOrder.nativeOrder());
        if (type == Type.FLOAT32) {
            value.putFloat((float) number);
        } else {
            double least = (type.least - zeroPoint) * scale;
            double most = (type.most - zeroPoint) * scale;
            if (!(number >= least - scale / 2 && number <= most + scale / 2)) {
                throw new IllegalArgumentException(number + " is outside of " + least + ".." + most + ", what the file takes");
            }
            value.put((byte) quantized(number));
        }
        value.rewind();
        return value;
    }

    private int quantized(double real) {
        double level = Math.floor(real / scale + 0.5) + zeroPoint;
        return (int) Math.max(type.least, Math.min(type.most, level));
    }

    private static byte level(double value) {
        return (byte) (int) Math.max(0, Math.min(255, Math.floor(value + 0.5)));
    }
}
