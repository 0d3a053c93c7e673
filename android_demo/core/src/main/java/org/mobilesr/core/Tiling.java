package org.mobilesr.core;

import java.util.ArrayList;
import java.util.List;

/** How an image is cut into tiles of one size, so that the interpreter allocates once. */
public record Tiling(int tileWidth, int tileHeight, List<Tile> tiles) {
    /** Larger LR images are cut, which bounds the memory. */
    static final int MOST_PIXELS = 1 << 20;

    static final int TILE = 512;
    /** LR pixels that a tile sees beyond what is kept of it: the receptive field of the small networks is below that. */
    static final int MARGIN = 16;

    /** A tile's place in the image, and the part of the image (x, y, width, height) that it fills. */
    public record Tile(int left, int top, int x, int y, int width, int height) {}

    /**
     * @param fixedWidth the only width that the file takes, 0 if it takes any.
     * @param fixedHeight as its height.
     */
    public static Tiling of(int width, int height, int fixedWidth, int fixedHeight) {
        boolean whole = fixedWidth == 0 && (long) width * height <= MOST_PIXELS;
        int tileWidth = fixedWidth > 0 ? fixedWidth : whole ? width : Math.min(width, TILE);
        int tileHeight = fixedHeight > 0 ? fixedHeight : whole ? height : Math.min(height, TILE);
        return cut(width, height, tileWidth, tileHeight, MARGIN);
    }

    /**
     * @param margin LR pixels that a tile sees beyond what is kept of it. From the receptive field on, the tiles make the
     *     same SR image as the whole image would. Tiles that are too small for it get a quarter of their size.
     */
    public static Tiling cut(int width, int height, int tileWidth, int tileHeight, int margin) {
        List<Tile> tiles = new ArrayList<>();
        for (int[] row : cuts(height, tileHeight, margin)) {
            for (int[] column : cuts(width, tileWidth, margin)) {
                tiles.add(new Tile(column[0], row[0], column[1], row[1], column[2], row[2]));
            }
        }
        return new Tiling(tileWidth, tileHeight, tiles);
    }

    /** {where the tile starts, where what it fills starts, how long that is} along one side. */
    private static List<int[]> cuts(int length, int tile, int wanted) {
        List<int[]> cuts = new ArrayList<>();
        int margin = Math.min(wanted, (tile - 1) / 4);
        int done = 0;
        while (done < length) {
            int start = Math.max(0, Math.min(done - (done == 0 ? 0 : margin), length - tile));
            boolean last = start + tile >= length;
            int end = last ? length : start + tile - margin;
            cuts.add(new int[] {start, done, end - done});
            done = end;
        }
        return cuts;
    }
}
