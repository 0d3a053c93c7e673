package org.mobilesr.core;

/** MATLAB's bicubic enlargement by a whole factor, byte for byte as mobile_sr/imaging/resize.py computes it. */
public final class Bicubic {
    private static final int TAPS = 6;

    private Bicubic() {}

    /** The whole image, enlarged. */
    public static RgbImage enlarge(RgbImage image, int scale) {
        byte[] rgb = rows(image.rgb(), image.width(), image.height(), 3, scale, 0, scale * image.height());
        return new RgbImage(scale * image.width(), scale * image.height(), rgb);
    }

    /**
     * Some rows of the enlarged image. Memory is needed for these rows only.
     *
     * @param image height * width * channels bytes, channels interleaved.
     * @param scale 1 or more.
     * @param top the first row of the result, within 0..scale * height - 1.
     * @param count how many rows.
     * @return count * (scale * width) * channels bytes.
     */
    public static byte[] rows(byte[] image, int width, int height, int channels, int scale, int top, int count) {
        Axis vertical = new Axis(height, scale);
        Axis horizontal = new Axis(width, scale);
        int length = width * channels;
        byte[] middle = new byte[length];
        byte[] result = new byte[Math.multiplyExact(Math.multiplyExact(count, scale), length)];
        int at = 0;
        for (int y = top; y < top + count; y++) {
            // The vertical pass comes first and rounds, as in MATLAB.
            for (int i = 0; i < length; i++) {
                double total = 0;
                for (int tap = 0; tap < TAPS; tap++) {
                    total += vertical.weights[y][tap] * (image[vertical.indices[y][tap] * length + i] & 255);
                }
                middle[i] = rounded(total);
            }
            for (int x = 0; x < scale * width; x++) {
                for (int channel = 0; channel < channels; channel++) {
                    double total = 0;
                    for (int tap = 0; tap < TAPS; tap++) {
                        total += horizontal.weights[x][tap] * (middle[horizontal.indices[x][tap] * channels + channel] & 255);
                    }
                    result[at++] = rounded(total);
                }
            }
        }
        return result;
    }

    private static byte rounded(double value) {
        return (byte) (int) Math.max(0, Math.min(255, Math.floor(value + 0.5)));
    }

    /** Keys' cubic convolution kernel with a = -0.5. */
    private static double cubic(double distance) {
        double x = Math.abs(distance);
        if (x <= 1) {
            return (1.5 * x - 2.5) * x * x + 1;
        }
        return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
    }

    /** For each place of the enlarged axis, the places of the input that contribute, and their weights. */
    private static final class Axis {
        final int[][] indices;
        final double[][] weights;

        Axis(int length, int scale) {
            indices = new int[scale * length][TAPS];
            weights = new double[scale * length][TAPS];
            for (int i = 0; i < scale * length; i++) {
                double center = (i + 1) / (double) scale + 0.5 * (1 - 1.0 / scale);
                double left = Math.floor(center - 2);
                double sum = 0;
                for (int tap = 0; tap < TAPS; tap++) {
                    weights[i][tap] = cubic(center - (left + tap));
                    sum += weights[i][tap];
                    indices[i][tap] = (int) Math.max(0, Math.min(length - 1, left + tap - 1));
                }
                for (int tap = 0; tap < TAPS; tap++) {
                    weights[i][tap] /= sum;
                }
            }
        }
    }
}
