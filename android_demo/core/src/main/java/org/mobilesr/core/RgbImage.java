package org.mobilesr.core;

/** An image as it is at every border of the program: rows from the top, three bytes (R, G, B) per pixel. */
public record RgbImage(int width, int height, byte[] rgb) {

    public RgbImage {
        if (rgb.length != bytes(width, height)) {
            throw new IllegalArgumentException(rgb.length + " bytes are no RGB image of " + width + "x" + height);
        }
    }

    public RgbImage(int width, int height) {
        this(width, height, new byte[bytes(width, height)]);
    }

    private static int bytes(int width, int height) {
        if (width < 1 || height < 1 || 3L * width * height > Integer.MAX_VALUE) {
            throw new IllegalArgumentException(width + "x" + height + " is no size for an image here");
        }
        return 3 * width * height;
    }

    /** From 0xAARRGGBB; alpha is left out. */
    public static RgbImage fromArgb(int width, int height, int[] pixels) {
        RgbImage image = new RgbImage(width, height);
        for (int i = 0; i < width * height; i++) {
            image.rgb[3 * i] = (byte) (pixels[i] >> 16);
            image.rgb[3 * i + 1] = (byte) (pixels[i] >> 8);
            image.rgb[3 * i + 2] = (byte) pixels[i];
        }
        return image;
    }

    /** As opaque 0xAARRGGBB. */
    public int[] toArgb() {
        int[] pixels = new int[width * height];
        for (int i = 0; i < pixels.length; i++) {
            int red = rgb[3 * i] & 255;
            int green = rgb[3 * i + 1] & 255;
            int blue = rgb[3 * i + 2] & 255;
            pixels[i] = 255 << 24 | red << 16 | green << 8 | blue;
        }
        return pixels;
    }

    /** A part of the image; what lies right of it or below it repeats its last column or row. */
    public RgbImage crop(int left, int top, int cropWidth, int cropHeight) {
        RgbImage part = new RgbImage(cropWidth, cropHeight);
        for (int y = 0; y < cropHeight; y++) {
            int row = Math.min(top + y, height - 1) * width;
            for (int x = 0; x < cropWidth; x++) {
                System.arraycopy(rgb, 3 * (row + Math.min(left + x, width - 1)), part.rgb, 3 * (y * cropWidth + x), 3);
            }
        }
        return part;
    }

    /** The middle of the image, at most so long and so wide. */
    public RgbImage middle(int most) {
        int cropWidth = Math.min(width, most);
        int cropHeight = Math.min(height, most);
        return crop((width - cropWidth) / 2, (height - cropHeight) / 2, cropWidth, cropHeight);
    }

    /** Copy a rectangle of `source` into this image. */
    public void paste(RgbImage source, int fromX, int fromY, int toX, int toY, int pasteWidth, int pasteHeight) {
        for (int y = 0; y < pasteHeight; y++) {
            int from = 3 * ((fromY + y) * source.width + fromX);
            System.arraycopy(source.rgb, from, rgb, 3 * ((toY + y) * width + toX), 3 * pasteWidth);
        }
    }
}
