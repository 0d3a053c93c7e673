package org.mobilesr.sr;

import android.content.Context;
import android.graphics.Bitmap;
import java.io.ByteArrayOutputStream;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.CancellationException;
import org.mobilesr.core.Bicubic;
import org.mobilesr.core.Delegate;
import org.mobilesr.core.ModelFile;
import org.mobilesr.core.RgbImage;
import org.mobilesr.core.Tiling;
import org.mobilesr.core.Transparency;

/**
 * Upscales bitmaps with a super-resolution .tflite that `mobile-sr export` wrote, or any from RGB images to larger ones.
 *
 * <p>The result is that of `mobile-sr upscale`: large images are cut into tiles that overlap by the receptive field, colours
 * under transparent pixels are filled, and alpha is enlarged by bicubic interpolation.
 *
 * <p>Use it on one background thread: the GPU delegate wants the same one for all calls, `close` included.
 */
public final class Upscaler implements AutoCloseable {
    /** LR pixels of a tile that are kept, along each side. */
    private static final int TILE = 192;

    /** The overlap of tiles without a known receptive field, as in mobile_sr/inference/upscaler.py. */
    private static final int UNKNOWN_RECEPTIVE_FIELD = 16;

    /** Side of the image that finds out the scale. */
    private static final int PROBE = 48;

    /** How a file is run; each setter returns the options themselves. */
    public static final class Options {
        private int threads = 4;
        private Delegate delegate = Delegate.CPU;
        private Double depth;
        private String signature;

        /** @param count CPU threads, 1 or more; 4 by default. */
        public Options threads(int count) {
            threads = count;
            return this;
        }

        /** @param wanted the CPU by default. If it takes no operator, opening the file fails: nothing falls back silently. */
        public Options delegate(Delegate wanted) {
            delegate = wanted;
            return this;
        }

        /** @param blocks the desired depth of an AdaDSR file; null for all blocks, which needs its sidecar. */
        public Options depth(Double blocks) {
            depth = blocks;
            return this;
        }

        /** @param name of one of several signatures; null for "dense", then "serving_default", then the only one. */
        public Options signature(String name) {
            signature = name;
            return this;
        }
    }

    /** Takes the result from the top to the bottom. */
    public interface Rows {
        /** @param argb count rows of 0xAARRGGBB pixels, not premultiplied; it may not be kept. */
        void accept(int top, int count, int[] argb) throws IOException;
    }

    /** Is told how many tiles are done. */
    public interface Progress {
        /** @return false to stop, which ends `upscale` by a CancellationException. */
        boolean at(int done, int total);
    }

    private final ModelFile file;
    private final Options options;
    private final Double depth;
    private final int margin;
    private final int scale;
    private Network network;
    private int tileWidth;
    private int tileHeight;

    /**
     * Opens a file and runs it once.
     *
     * @param model the bytes of a .tflite file.
     * @param sidecar the text of the JSON file beside it; null without one. It makes tiles exact.
     * @throws IllegalArgumentException with one line that says why the file, an option or the delegate does not fit.
     */
    public Upscaler(byte[] model, String sidecar, Options options) {
        ModelFile whole = new ModelFile(model);
        Sidecar facts = Sidecar.of(sidecar, whole.sha256());
        this.options = options;
        file = whole.withSignature(whole.signature(options.signature));
        if (options.delegate != Delegate.CPU && file.graphs() > 1) {
            throw new IllegalArgumentException(options.delegate.id + " supports no control flow, which this signature has");
        }
        depth = options.depth != null ? options.depth : facts.maxDepth;
        margin = facts.receptiveField == null ? UNKNOWN_RECEPTIVE_FIELD : facts.receptiveField;
        int[] fixed = file.fixedSize();
        RgbImage probe = new RgbImage(fixed[1] == 0 ? PROBE : fixed[1], fixed[0] == 0 ? PROBE : fixed[0]);
        try {
            open(probe.width(), probe.height());
            network.invoke(network.encode(probe));
            scale = network.scale();
        } catch (RuntimeException | Error error) {
            close();
            throw error;
        }
    }

    /**
     * Opens a packaged file, with the sidecar NAME.json beside NAME.tflite if there is one.
     *
     * @param asset such as "models/xlsr_x3_uint8.tflite". The build must not compress it (noCompress += "tflite").
     * @throws IOException when it cannot be read.
     * @throws IllegalArgumentException as the constructor.
     */
    public static Upscaler fromAsset(Context context, String asset, Options options) throws IOException {
        byte[] sidecar = null;
        try {
            sidecar = read(context, asset.replaceAll("\\.tflite$", "") + ".json");
        } catch (FileNotFoundException error) {
            // A file from elsewhere has none.
        }
        String text = sidecar == null ? null : new String(sidecar, StandardCharsets.UTF_8);
        return new Upscaler(read(context, asset), text, options);
    }

    private static byte[] read(Context context, String asset) throws IOException {
        try (InputStream stream = context.getAssets().open(asset)) {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            byte[] part = new byte[1 << 16];
            for (int count = stream.read(part); count >= 0; count = stream.read(part)) {
                bytes.write(part, 0, count);
            }
            return bytes.toByteArray();
        }
    }

    /** How many times wider and higher the result is. */
    public int scale() {
        return scale;
    }

    /** What really ran and how many operators of it, such as "cpu 13 of 15" or only "gpu"; null if the runtime does not tell. */
    public String delegated() {
        if (network == null || network.residency == null) {
            return null;
        }
        Integer nodes = network.residency.nodes();
        if (network.residency.delegated() == null) {
            return network.residency.effective();
        }
        return network.residency.effective() + " " + network.residency.delegated() + " of " + (nodes == null ? file.operators() : nodes);
    }

    /**
     * Upscales a bitmap.
     *
     * @return an ARGB_8888 bitmap, `scale` times wider and higher.
     * @throws IllegalArgumentException when the file does not fit to an image of this size.
     */
    public Bitmap upscale(Bitmap image) {
        int width = Math.multiplyExact(scale, image.getWidth());
        int height = Math.multiplyExact(scale, image.getHeight());
        Bitmap result = Bitmap.createBitmap(width, height, Bitmap.Config.ARGB_8888, image.hasAlpha());
        try {
            upscale(image, (top, count, argb) -> result.setPixels(argb, 0, width, 0, top, width, count), (done, total) -> true);
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
        return result;
    }

    /**
     * Upscales a bitmap whose result may be too large for the memory, row of tiles by row of tiles.
     *
     * @throws IOException when `rows` throws it.
     * @throws CancellationException when `progress` says so.
     */
    public void upscale(Bitmap image, Rows rows, Progress progress) throws IOException {
        int width = image.getWidth();
        int height = image.getHeight();
        byte[] alpha = image.hasAlpha() ? new byte[width * height] : null;
        RgbImage rgb = read(image, alpha);
        alpha = isOpaque(alpha) ? null : alpha;
        RgbImage filled = alpha == null ? rgb : Transparency.fillHidden(rgb, alpha);
        int[] fixed = file.fixedSize();
        int side = 2 * margin + Math.max(TILE, 2 * margin + 1);
        int wide = fixed[1] > 0 ? fixed[1] : Math.min(width, side);
        int high = fixed[0] > 0 ? fixed[0] : Math.min(height, side);
        open(wide, high);
        List<Tiling.Tile> tiles = Tiling.cut(width, height, wide, high, margin).tiles();
        int[] strip = null;
        for (int i = 0; i < tiles.size(); i++) {
            if (!progress.at(i, tiles.size())) {
                throw new CancellationException();
            }
            Tiling.Tile tile = tiles.get(i);
            strip = tile.x() == 0 ? new int[scale * width * scale * tile.height()] : strip;
            network.invoke(network.encode(filled.crop(tile.left(), tile.top(), wide, high)));
            paste(network.sr(), tile, strip, width);
            if (tile.x() + tile.width() == width) {
                if (alpha != null) {
                    setAlpha(strip, Bicubic.rows(alpha, width, height, 1, scale, scale * tile.y(), scale * tile.height()));
                }
                rows.accept(scale * tile.y(), scale * tile.height(), strip);
            }
        }
        progress.at(tiles.size(), tiles.size());
    }

    private void open(int width, int height) {
        if (network != null && tileWidth == width && tileHeight == height) {
            return;
        }
        close();
        network = new Network(file, options.delegate, options.threads, width, height, depth);
        tileWidth = width;
        tileHeight = height;
        boolean took = network.residency != null && options.delegate.id.equals(network.residency.effective());
        if (options.delegate != Delegate.CPU && !took) {
            throw new IllegalArgumentException(options.delegate.id + " runs no operator of this file");
        }
    }

    /** The pixels in sRGB, not premultiplied; with `alpha`, also that. Hardware bitmaps are copied first. */
    private static RgbImage read(Bitmap image, byte[] alpha) {
        boolean hardware = image.getConfig() == Bitmap.Config.HARDWARE;
        Bitmap readable = hardware ? image.copy(Bitmap.Config.ARGB_8888, false) : image;
        int width = image.getWidth();
        RgbImage result = new RgbImage(width, image.getHeight());
        int[] row = new int[width];
        for (int y = 0; y < image.getHeight(); y++) {
            readable.getPixels(row, 0, width, 0, y, width, 1);
            result.paste(RgbImage.fromArgb(width, 1, row), 0, 0, 0, y, width, 1);
            for (int x = 0; alpha != null && x < width; x++) {
                alpha[y * width + x] = (byte) (row[x] >>> 24);
            }
        }
        if (hardware) {
            readable.recycle();
        }
        return result;
    }

    private static boolean isOpaque(byte[] alpha) {
        for (int i = 0; alpha != null && i < alpha.length; i++) {
            if (alpha[i] != -1) {
                return false;
            }
        }
        return true;
    }

    /** The part of a tile's result that is kept, as opaque pixels. */
    private void paste(RgbImage sr, Tiling.Tile tile, int[] strip, int width) {
        int left = scale * (tile.x() - tile.left());
        int top = scale * (tile.y() - tile.top());
        for (int y = 0; y < scale * tile.height(); y++) {
            int from = 3 * ((top + y) * sr.width() + left);
            int to = y * scale * width + scale * tile.x();
            for (int x = 0; x < scale * tile.width(); x++, from += 3) {
                int red = sr.rgb()[from] & 255;
                strip[to + x] = 255 << 24 | red << 16 | (sr.rgb()[from + 1] & 255) << 8 | sr.rgb()[from + 2] & 255;
            }
        }
    }

    private static void setAlpha(int[] strip, byte[] alpha) {
        for (int i = 0; i < strip.length; i++) {
            strip[i] = strip[i] & 0xffffff | alpha[i] << 24;
        }
    }

    /** Frees the interpreter and the delegate. The next `upscale` opens them again. */
    @Override
    public void close() {
        if (network != null) {
            network.close();
            network = null;
        }
    }
}
