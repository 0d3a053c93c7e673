package org.mobilesr.core;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;

import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Test;

class BicubicTest {
    /** The values are those of mobile_sr.imaging.resize.imresize, which are MATLAB's. */
    @Test
    void anEdgeIsEnlargedByTheKernel() {
        byte[] row = {0, 0, 0, (byte) 200, (byte) 200, (byte) 200};
        byte[] expected = {0, 0, 0, 0, 0, 41, (byte) 159, (byte) 214, (byte) 205, (byte) 200, (byte) 200, (byte) 200};
        assertArrayEquals(expected, Bicubic.rows(row, 6, 1, 1, 2, 0, 1));
        assertArrayEquals(expected, column(row));
    }

    /** The left column of the enlarged column. */
    private static byte[] column(byte[] values) {
        byte[] both = Bicubic.rows(values, 1, values.length, 1, 2, 0, 2 * values.length);
        byte[] left = new byte[both.length / 2];
        for (int i = 0; i < left.length; i++) {
            left[i] = both[2 * i];
        }
        return left;
    }

    @Test
    void rowsAreThoseOfTheWholeImage() {
        RgbImage image = new RgbImage(7, 5);
        new Random(1).nextBytes(image.rgb());
        byte[] whole = Bicubic.enlarge(image, 3).rgb();
        byte[] part = Bicubic.rows(image.rgb(), 7, 5, 3, 3, 4, 6);
        assertArrayEquals(Arrays.copyOfRange(whole, 4 * 63, 10 * 63), part);
        assertArrayEquals(image.rgb(), Bicubic.enlarge(image, 1).rgb());
    }
}
