package org.mobilesr.core;

import java.util.Arrays;

/** Colours under transparent pixels, as mobile_sr/imaging/alpha.py treats them. */
public final class Transparency {
    /** Pixels that are filled around the visible ones; about the receptive field of a network to each side. */
    private static final int RIM = 16;

    private Transparency() {}

    /**
     * The image with the pixels under alpha 0 filled by the colours of their visible neighbours, which upscaling would
     * otherwise blend with the often black colours that are stored there.
     *
     * @param alpha height * width bytes.
     * @return the image itself if all pixels are visible, or none is.
     */
    public static RgbImage fillHidden(RgbImage image, byte[] alpha) {
        int width = image.width();
        int height = image.height();
        boolean[] known = new boolean[alpha.length];
        long[] sums = new long[3];
        int visible = 0;
        for (int i = 0; i < alpha.length; i++) {
            known[i] = alpha[i] != 0;
            if (known[i]) {
                visible++;
                for (int c = 0; c < 3; c++) {
                    sums[c] += image.rgb()[3 * i + c] & 255;
                }
            }
        }
        if (visible == alpha.length || visible == 0) {
            return image;
        }
        byte[] rgb = image.rgb().clone();
        for (int i = 0; i < alpha.length; i++) {
            for (int c = 0; c < 3 && !known[i]; c++) {
                rgb[3 * i + c] = (byte) Math.rint(sums[c] / (double) visible);
            }
        }
        RgbImage result = new RgbImage(width, height, rgb);
        for (int round = 0; round < RIM; round++) {
            int[] rim = rim(known, width, height);
            byte[] colours = new byte[3 * rim.length];
            for (int k = 0; k < rim.length; k++) {
                neighbours(result, known, rim[k], colours, 3 * k);
            }
            for (int k = 0; k < rim.length; k++) {
                System.arraycopy(colours, 3 * k, rgb, 3 * rim[k], 3);
                known[rim[k]] = true;
            }
        }
        return result;
    }

    /** The unknown pixels that have a known one among their eight neighbours. */
    private static int[] rim(boolean[] known, int width, int height) {
        int[] rim = new int[known.length];
        int count = 0;
        for (int i = 0; i < known.length; i++) {
            boolean near = false;
            for (int y = Math.max(0, i / width - 1); !known[i] && y <= Math.min(height - 1, i / width + 1); y++) {
                for (int x = Math.max(0, i % width - 1); x <= Math.min(width - 1, i % width + 1); x++) {
                    near |= known[y * width + x];
                }
            }
            if (near) {
                rim[count++] = i;
            }
        }
        return Arrays.copyOf(rim, count);
    }

    /** Writes the mean colour of the known neighbours; beyond the border, the nearest pixel inside counts again. */
    private static void neighbours(RgbImage image, boolean[] known, int pixel, byte[] colours, int at) {
        float[] totals = new float[3];
        float count = 0;
        for (int down = -1; down <= 1; down++) {
            for (int right = -1; right <= 1; right++) {
                int y = Math.max(0, Math.min(image.height() - 1, pixel / image.width() + down));
                int x = Math.max(0, Math.min(image.width() - 1, pixel % image.width() + right));
                int neighbour = y * image.width() + x;
                if ((down != 0 || right != 0) && known[neighbour]) {
                    count++;
                    for (int c = 0; c < 3; c++) {
                        totals[c] += image.rgb()[3 * neighbour + c] & 255;
                    }
                }
            }
        }
        for (int c = 0; c < 3; c++) {
            colours[at + c] = (byte) Math.rint(totals[c] / count);
        }
    }
}
