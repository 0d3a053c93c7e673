package org.mobilesr.core;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Random;
import org.junit.jupiter.api.Test;

class TilingTest {
    @Test
    void aSmallImageIsOneTile() {
        Tiling tiling = Tiling.of(640, 360, 0, 0);
        assertEquals(1, tiling.tiles().size());
        assertEquals(640, tiling.tileWidth());
        assertEquals(360, tiling.tileHeight());
    }

    @Test
    void tilesFillEveryPixelOnceAndSeeTheirMargin() {
        int[][] cases = {{2000, 1500, 0, 0}, {100, 70, 32, 24}, {33, 70, 32, 64}, {1, 1, 0, 0}, {10, 5000, 64, 64}, {9, 9, 1, 1}};
        for (int[] size : cases) {
            int width = size[0];
            int height = size[1];
            Tiling tiling = Tiling.of(width, height, size[2], size[3]);
            int[] filled = new int[width * height];
            for (Tiling.Tile tile : tiling.tiles()) {
                int margin = Math.min(Tiling.MARGIN, (tiling.tileWidth() - 1) / 4);
                assertTrue(tile.left() == 0 || tile.x() - tile.left() >= margin);
                assertTrue(tile.x() + tile.width() == width || tile.left() + tiling.tileWidth() - tile.x() - tile.width() >= margin);
                assertTrue(tile.left() >= 0 && (tile.left() + tiling.tileWidth() <= width || tile.left() == 0));
                for (int y = tile.y(); y < tile.y() + tile.height(); y++) {
                    for (int x = tile.x(); x < tile.x() + tile.width(); x++) {
                        filled[y * width + x]++;
                    }
                }
            }
            for (int count : filled) {
                assertEquals(1, count, width + "x" + height);
            }
        }
    }

    /** A 3x3 box sum stands in for a network; its receptive field of 1 is below the margin. */
    @Test
    void tiledEqualsWhole() {
        RgbImage image = new RgbImage(150, 90);
        new Random(1).nextBytes(image.rgb());
        Tiling tiling = Tiling.of(150, 90, 48, 40);
        RgbImage result = new RgbImage(150, 90);
        for (Tiling.Tile tile : tiling.tiles()) {
            RgbImage part = sum(image.crop(tile.left(), tile.top(), tiling.tileWidth(), tiling.tileHeight()));
            result.paste(part, tile.x() - tile.left(), tile.y() - tile.top(), tile.x(), tile.y(), tile.width(), tile.height());
        }
        assertTrue(tiling.tiles().size() > 4);
        assertArrayEquals(sum(image).rgb(), result.rgb());
    }

    @Test
    void aCropBeyondTheImageRepeatsItsEdge() {
        RgbImage image = new RgbImage(2, 1, new byte[] {1, 2, 3, 4, 5, 6});
        assertArrayEquals(new byte[] {4, 5, 6, 4, 5, 6, 4, 5, 6, 4, 5, 6}, image.crop(1, 0, 2, 2).rgb());
    }

    @Test
    void theMiddleIsAtMostAsLargeAsAsked() {
        RgbImage image = new RgbImage(4, 1, new byte[] {0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3});
        assertArrayEquals(new byte[] {1, 1, 1, 2, 2, 2}, image.middle(2).rgb());
        assertArrayEquals(image.rgb(), image.middle(9).rgb());
    }

    @Test
    void aSizeThatNoArrayHoldsIsRefused() {
        assertThrows(IllegalArgumentException.class, () -> new RgbImage(1 << 16, 1 << 15));
        assertThrows(IllegalArgumentException.class, () -> new RgbImage(0, 1));
    }

    private static RgbImage sum(RgbImage image) {
        RgbImage sums = new RgbImage(image.width(), image.height());
        for (int y = 0; y < image.height(); y++) {
            for (int x = 0; x < image.width(); x++) {
                for (int dy = -1; dy <= 1; dy++) {
                    for (int dx = -1; dx <= 1; dx++) {
                        boolean inside = x + dx >= 0 && x + dx < image.width() && y + dy >= 0 && y + dy < image.height();
                        for (int channel = 0; inside && channel < 3; channel++) {
                            sums.rgb()[3 * (y * image.width() + x) + channel] +=
                                    image.rgb()[3 * ((y + dy) * image.width() + x + dx) + channel];
                        }
                    }
                }
            }
        }
        return sums;
    }
}
