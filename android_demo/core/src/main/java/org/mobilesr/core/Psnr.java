package org.mobilesr.core;

/** Peak signal-to-noise ratio of two RGB images in dB. */
public final class Psnr {
    /** What two identical images get: their true value is infinite, which JSON cannot hold. */
    public static final double IDENTICAL = 200;

    private Psnr() {}

    /** The ratio over all three channels, leaving `shave` pixels out at each border. */
    public static double rgb(RgbImage one, RgbImage other, int shave) {
        if (one.width() != other.width() || one.height() != other.height()) {
            throw new IllegalArgumentException("images of different sizes have no PSNR");
        }
        int border = 2 * shave < Math.min(one.width(), one.height()) ? shave : 0;
        long squares = 0;
        long count = 0;
        for (int y = border; y < one.height() - border; y++) {
            int row = 3 * y * one.width();
            for (int i = row + 3 * border; i < row + 3 * (one.width() - border); i++) {
                int difference = (one.rgb()[i] & 255) - (other.rgb()[i] & 255);
                squares += (long) difference * difference;
                count++;
            }
        }
        return squares == 0 ? IDENTICAL : 10 * Math.log10(255.0 * 255.0 * count / squares);
    }
}
