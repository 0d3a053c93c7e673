package org.mobilesr.demo;

import android.content.Context;
import android.graphics.Bitmap;
import android.net.Uri;
import android.util.Log;
import java.io.BufferedOutputStream;
import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.util.concurrent.CancellationException;
import org.mobilesr.core.Bicubic;
import org.mobilesr.core.PngWriter;
import org.mobilesr.core.RgbImage;
import org.mobilesr.core.RunConfig;
import org.mobilesr.sr.Upscaler;

/** Upscales a person's photo to a PNG, one at a time. A dismissed result stays as a file until the next photo. */
final class Photos extends Work<Photos.State> {
    static final Photos INSTANCE = new Photos();

    /** What the screen shows; while it runs, `result` and `error` are null. */
    static final class State {
        final RunConfig config;
        final int done;
        final int total;
        final Result result;
        final String error;

        State(RunConfig config, int done, int total, Result result, String error) {
            this.config = config;
            this.done = done;
            this.total = total;
            this.result = result;
            this.error = error;
        }
    }

    /** The PNG, and what is shown of it: its middle, by the network and by bicubic interpolation. */
    static final class Result {
        final File png;
        final String facts;
        final Bitmap bicubic;
        final Bitmap sr;

        Result(File png, String facts, Bitmap bicubic, Bitmap sr) {
            this.png = png;
            this.facts = facts;
            this.bicubic = bicubic;
            this.sr = sr;
        }
    }

    private volatile boolean cancelled;

    private Photos() {
        super("photo");
    }

    @Override
    boolean isRunning() {
        State now = state();
        return now != null && now.result == null && now.error == null;
    }

    boolean isCancelling() {
        return isRunning() && cancelled;
    }

    /** On the main thread. @param config says the model, delegate, threads, depth and signature. @return false when one runs. */
    boolean start(Context context, RunConfig config, Uri photo) {
        if (isRunning()) {
            return false;
        }
        cancelled = false;
        set(new State(config, 0, 1, null, null));
        execute(() -> work(context.getApplicationContext(), config, photo));
        return true;
    }

    /** Stops after the tile that is running. */
    void cancel() {
        cancelled = true;
        changed();
    }

    private void work(Context context, RunConfig config, Uri photo) {
        try {
            set(new State(config, 1, 1, upscale(context, config, photo), null));
        } catch (CancellationException error) {
            set(null);
        } catch (OutOfMemoryError error) {
            set(new State(config, 0, 1, null, "out of memory; take a smaller photo"));
        } catch (IOException | RuntimeException | LinkageError error) {
            Log.e(Benchmarks.TAG, "photo", error);
            String reason = error.getMessage() == null ? error.toString() : error.getMessage();
            set(new State(config, 0, 1, null, RunConfig.oneLine(reason)));
        }
    }

    private Result upscale(Context context, RunConfig config, Uri uri) throws IOException {
        Storage storage = new Storage(context);
        Upscaler.Options options = new Upscaler.Options()
                .threads(config.threads())
                .delegate(config.delegate())
                .depth(config.depth())
                .signature(config.signature());
        Bitmap photo = PhotoReader.read(context.getContentResolver(), uri);
        byte[] model = storage.read(Storage.MODELS, config.model());
        try (Upscaler upscaler = new Upscaler(model, storage.sidecar(config.model()), options)) {
            int scale = upscaler.scale();
            int width = scale * photo.getWidth();
            int height = scale * photo.getHeight();
            File png = SharedFiles.replace(context, config.output() + "_x" + scale + ".png");
            Preview preview = new Preview(photo, scale);
            long start = System.nanoTime();
            boolean complete = false;
            try (PngWriter writer = new PngWriter(new BufferedOutputStream(new FileOutputStream(png)), width, height, photo.hasAlpha())) {
                upscaler.upscale(
                        photo,
                        (top, count, argb) -> {
                            writer.write(argb, count);
                            preview.add(top, count, argb, width);
                        },
                        (done, total) -> {
                            set(new State(config, done, total, null, null));
                            return !cancelled;
                        });
                complete = true;
            } finally {
                if (!complete) {
                    png.delete();
                }
            }
            String ran = upscaler.delegated() == null ? context.getString(R.string.unknown) : upscaler.delegated();
            String facts = context.getString(R.string.photo_facts, photo.getWidth(), photo.getHeight(), width, height,
                    (System.nanoTime() - start) / 1e9, ran);
            return new Result(png, facts, preview.bicubic(photo), preview.sr);
        }
    }

    /** The middle of the result, as large as a canvas takes. */
    private static final class Preview {
        private static final int MOST = 2048;

        private final int scale;
        private final int left;
        private final int top;
        private final int partWidth;
        private final int partHeight;
        final Bitmap sr;

        Preview(Bitmap photo, int scale) {
            this.scale = scale;
            partWidth = Math.min(photo.getWidth(), MOST / scale);
            partHeight = Math.min(photo.getHeight(), MOST / scale);
            left = (photo.getWidth() - partWidth) / 2;
            top = (photo.getHeight() - partHeight) / 2;
            sr = Bitmap.createBitmap(scale * partWidth, scale * partHeight, Bitmap.Config.ARGB_8888);
        }

        void add(int from, int count, int[] argb, int width) {
            int first = Math.max(from, scale * top);
            int last = Math.min(from + count, scale * (top + partHeight));
            if (first < last) {
                int offset = (first - from) * width + scale * left;
                sr.setPixels(argb, offset, width, 0, first - scale * top, sr.getWidth(), last - first);
            }
        }

        Bitmap bicubic(Bitmap photo) {
            int[] pixels = new int[partWidth * partHeight];
            photo.getPixels(pixels, 0, partWidth, left, top, partWidth, partHeight);
            int[] larger = Bicubic.enlarge(RgbImage.fromArgb(partWidth, partHeight, pixels), scale).toArgb();
            for (int i = 0; photo.hasAlpha() && i < larger.length; i++) { // the same transparency on both sides
                int alpha = sr.getPixel(i % sr.getWidth(), i / sr.getWidth()) >>> 24;
                larger[i] = larger[i] & 0xffffff | alpha << 24;
            }
            return Bitmap.createBitmap(larger, sr.getWidth(), sr.getHeight(), Bitmap.Config.ARGB_8888);
        }
    }
}
