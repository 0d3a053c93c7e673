package org.mobilesr.demo;

import android.content.Context;
import android.graphics.Bitmap;
import android.os.SystemClock;
import android.util.Log;
import java.io.IOException;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Collectors;
import org.mobilesr.core.Bicubic;
import org.mobilesr.core.RgbImage;
import org.mobilesr.core.RunConfig;

/**
 * The benchmarks of this process, one at a time, all on one thread: the GPU delegate must be made, run and closed on the same
 * one. They belong to the process and not to a screen, so that they outlive a rotation and go on in the background.
 */
final class Benchmarks extends Work<Benchmarks.State> {
    static final String TAG = "MobileSR";
    static final Benchmarks INSTANCE = new Benchmarks();
    /** The longest wait between two benchmarks of a row for a device that is too hot. */
    private static final int COOL_DOWN_S = 120;

    /** Reads and writes files, so that the main thread never does. */
    static final ExecutorService FILES = Executors.newSingleThreadExecutor();

    /** What the screen shows; `result` is null while it runs, and with the last of several in a row `outputs` has their names. */
    static final class State {
        final RunConfig config;
        final BenchmarkRun.Stage stage;
        final int done;
        final int total;
        final Result result;
        /** Which benchmark of how many in a row this is, from 1. */
        final int run;
        final int runs;
        List<String> outputs = List.of();

        State(RunConfig config, BenchmarkRun.Stage stage, int done, int total, Result result, int run, int runs) {
            this.run = run;
            this.runs = runs;
            this.config = config;
            this.stage = stage;
            this.done = done;
            this.total = total;
            this.result = result;
        }
    }

    /** A finished benchmark: its name, the JSON text, the image by bicubic interpolation and by the network, and why it could not be saved; null without. */
    static final class Result {
        /** A canvas refuses much larger pictures: of those, the middle is shown. */
        private static final int MOST_SHOWN = 2048;

        final String output;
        final String json;
        final Bitmap before;
        final Bitmap after;
        final String notice;

        Result(String output, String json, Bitmap before, Bitmap after, String notice) {
            this.output = output;
            this.json = json;
            this.before = before;
            this.after = after;
            this.notice = notice;
        }

        static Result of(String output, String json, RgbImage image, RgbImage sr, String notice) {
            if (image == null || sr == null) {
                return new Result(output, json, null, null, notice);
            }
            int scale = sr.width() / image.width();
            RgbImage part = image.middle(MOST_SHOWN / scale);
            int left = scale * ((image.width() - part.width()) / 2);
            int top = scale * ((image.height() - part.height()) / 2);
            RgbImage larger = sr.crop(left, top, scale * part.width(), scale * part.height());
            return new Result(output, json, bitmap(Bicubic.enlarge(part, scale)), bitmap(larger), notice);
        }

        private static Bitmap bitmap(RgbImage image) {
            return Bitmap.createBitmap(image.toArgb(), image.width(), image.height(), Bitmap.Config.ARGB_8888);
        }
    }

    private AtomicBoolean cancelled = new AtomicBoolean();
    private volatile boolean background;

    private Benchmarks() {
        super("benchmark");
    }

    @Override
    boolean isRunning() {
        State now = state();
        return now != null && now.result == null;
    }

    boolean isCancelling() {
        return isRunning() && cancelled.get();
    }

    /** The app went out of sight: Android may slow down or freeze what runs now, and the result says so. */
    void hidden() {
        background = true;
    }

    /** On the main thread. @return false when another one is running. */
    boolean start(Context context, RunConfig config) {
        return start(context, List.of(config));
    }

    /** As above, for several in a row, between which the device may cool down. The state's result is that of the last. */
    boolean start(Context context, List<RunConfig> configs) {
        if (isRunning()) {
            return false;
        }
        Context application = context.getApplicationContext();
        AtomicBoolean stop = new AtomicBoolean();
        cancelled = stop;
        background = false;
        set(new State(configs.get(0), BenchmarkRun.Stage.OPENING, 0, 1, null, 1, configs.size()));
        execute(() -> {
            for (int i = 0; i < configs.size() && !stop.get(); i++) {
                if (i > 0) {
                    coolDown(application, configs, i, stop);
                }
                Log.i(TAG, "BENCHMARK STARTED output=" + configs.get(i).output());
                work(application, configs, i, stop);
            }
        });
        return true;
    }

    /** Waits until the device says that it does not throttle, at most COOL_DOWN_S. */
    private void coolDown(Context context, List<RunConfig> configs, int index, AtomicBoolean stop) {
        for (int second = 0; second < COOL_DOWN_S && !stop.get(); second++) {
            String thermal = DeviceInfo.thermal(context);
            if (thermal == null || thermal.equals("none")) {
                return;
            }
            set(new State(configs.get(index), BenchmarkRun.Stage.COOLING, second, COOL_DOWN_S, null, index + 1, configs.size()));
            SystemClock.sleep(1000);
        }
    }

    /** Stops after the inference that is running. */
    void cancel() {
        cancelled.set(true);
        changed();
    }

    static void logFailure(String output, String reason) {
        Log.e(TAG, "BENCHMARK FAILED output=" + output + " reason=" + RunConfig.oneLine(reason));
    }

    private void work(Context context, List<RunConfig> configs, int index, AtomicBoolean stop) {
        RunConfig config = configs.get(index);
        int number = index + 1;
        int count = configs.size();
        BenchmarkRun run = new BenchmarkRun(
                context, config, stop, (stage, done, total) -> set(new State(config, stage, done, total, null, number, count)));
        State after = null;
        String failure = null;
        try {
            run.run();
            failure = run.result.error;
            String json = run.json(background);
            String notice = save(context, config.output(), json);
            if (notice != null) {
                failure = "the result cannot be written: " + notice;
            }
            Result result = number < count ? null : Result.of(config.output(), json, run.image, run.sr, notice);
            after = new State(config, BenchmarkRun.Stage.COMPARING, 1, 1, result, number, count);
            after.outputs = configs.stream().map(RunConfig::output).collect(Collectors.toList());
        } catch (CancellationException error) {
            failure = "cancelled";
        } catch (RuntimeException | Error error) {
            Log.e(TAG, "unexpected", error);
            failure = error.toString();
            stop.set(true); // what comes next would hardly fare better
        }
        set(after);
        if (failure == null) {
            Log.i(TAG, "BENCHMARK DONE output=" + config.output());
        } else {
            logFailure(config.output(), failure);
        }
    }

    /** @return why it could not be saved, null when it was. */
    private static String save(Context context, String output, String json) {
        try {
            new Storage(context).writeResult(output, json);
            return null;
        } catch (IOException error) {
            return RunConfig.oneLine(error.getMessage());
        }
    }
}
