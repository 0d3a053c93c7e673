package org.mobilesr.demo;

import android.content.Context;
import android.os.Debug;
import android.util.Log;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.DoubleSupplier;
import org.mobilesr.core.BenchmarkResult;
import org.mobilesr.core.Delegate;
import org.mobilesr.core.ModelFile;
import org.mobilesr.core.Psnr;
import org.mobilesr.core.Residency;
import org.mobilesr.core.RgbImage;
import org.mobilesr.core.RunConfig;
import org.mobilesr.core.Tiling;
import org.mobilesr.sr.Network;
import org.mobilesr.sr.NoiseRun;

/** One benchmark from start to end, on one thread that is not the main one. */
final class BenchmarkRun {
    /** What is going on, for the screen. */
    enum Stage {
        OPENING,
        CPU_REFERENCE,
        WARMING_UP,
        RUNNING,
        COMPARING,
        COOLING
    }

    interface Progress {
        void at(Stage stage, int done, int total);
    }

    /** The image that went in and the SR image that came out; null when it failed. */
    RgbImage image;

    RgbImage sr;
    final BenchmarkResult result = new BenchmarkResult();
    private final Context context;
    private final RunConfig config;
    private final Progress progress;
    private final AtomicBoolean cancelled;
    private Tiling tiling;

    BenchmarkRun(Context context, RunConfig config, AtomicBoolean cancelled, Progress progress) {
        this.context = context;
        this.config = config;
        this.cancelled = cancelled;
        this.progress = progress;
        result.model = config.model();
        result.threads = config.threads();
        result.requested = config.delegate();
    }

    /**
     * Measures into `result`; what goes wrong stands in its error, as one line.
     *
     * @throws CancellationException when it was cancelled.
     */
    void run() {
        try {
            measure();
        } catch (CancellationException error) {
            throw error;
        } catch (IOException | IllegalArgumentException | IllegalStateException error) {
            fail(error.getMessage() == null ? error.getClass().getSimpleName() : error.getMessage());
        } catch (OutOfMemoryError error) {
            image = null;
            fail("out of memory; take a smaller image or model");
        } catch (RuntimeException | LinkageError error) {
            Log.e(Benchmarks.TAG, "unexpected", error);
            fail(error.toString());
        }
    }

    private void fail(String reason) {
        result.error = RunConfig.oneLine(reason);
        result.samplesMs = new double[0];
        sr = null;
    }

    /** @param background whether the app was out of sight meanwhile. */
    String json(boolean background) {
        Integer width = image == null ? null : Integer.valueOf(image.width());
        Integer height = image == null ? null : Integer.valueOf(image.height());
        Map<String, Object> environment = DeviceInfo.environment(context, config, width, height);
        environment.put("background", background);
        return result.toJson(DeviceInfo.where(), environment);
    }

    private void measure() throws IOException {
        at(Stage.OPENING, 0, 1);
        Storage storage = new Storage(context);
        ModelFile file = readModel(storage);
        result.sha256 = file.sha256();
        result.sizeBytes = file.size();
        file = withSignature(file);
        if (config.isNoise()) {
            measureNoise(file);
            return;
        }
        image = storage.readImage(config.image());
        int[] fixed = file.fixedSize();
        tiling = Tiling.of(image.width(), image.height(), fixed[1], fixed[0]);
        RgbImage onCpu = null;
        if (config.delegate() != Delegate.CPU && file.compiledFor() == null) { // the CPU cannot run compiled ones
            at(Stage.CPU_REFERENCE, 0, 1);
            try (Network cpu = open(file, Delegate.CPU)) {
                onCpu = upscale(cpu).sr;
            }
        }
        at(Stage.OPENING, 0, 1);
        try (Network network = open(file, config.delegate())) {
            setResidency(network.residency, file);
            result.initMs = network.initMs;
            Pass first = upscale(network);
            result.firstMs = first.milliseconds;
            sr = first.sr;
            result.samplesMs = samples(network);
            setMemory();
        }
        at(Stage.COMPARING, 0, 1);
        result.psnrVsCpu = onCpu == null ? null : Psnr.rgb(sr, onCpu, 0);
        RgbImage reference = storage.readReference(config.image());
        if (reference != null && reference.width() == sr.width() && reference.height() == sr.height()) {
            result.psnrVsReference = Psnr.rgb(sr, reference, sr.width() / image.width());
        }
    }

    /** Times any graph, such as one operator for a latency table, with random inputs of the sizes that the file fixes. */
    private void measureNoise(ModelFile file) {
        try (NoiseRun noise = new NoiseRun(file, config)) {
            setResidency(noise.residency, file);
            result.initMs = noise.initMs;
            result.firstMs = noise.invoke();
            result.samplesMs = samples(noise::invoke);
            setMemory();
        }
    }

    private void setMemory() {
        long kilobytes = Debug.getPss();
        result.memoryPssBytes = kilobytes > 0 ? kilobytes * 1024 : null;
    }

    private ModelFile readModel(Storage storage) throws IOException {
        byte[] bytes = storage.read(Storage.MODELS, config.model());
        try {
            return new ModelFile(bytes);
        } catch (IllegalArgumentException error) {
            throw new IllegalArgumentException(config.model() + ": " + error.getMessage(), error);
        }
    }

    /** The file with the signature that runs. Control flow, the sparse path's for one, is beyond GPU and NNAPI. */
    private ModelFile withSignature(ModelFile file) {
        String signature = file.signature(config.signature());
        ModelFile chosen = file.withSignature(signature);
        if (file.signatures().size() > 1) {
            result.signature = signature;
            if (config.delegate() != Delegate.CPU && chosen.graphs() > 1) {
                throw new IllegalArgumentException(config.delegate().id + " takes no control flow, which signature " + signature + " has");
            }
        }
        return chosen;
    }

    private Network open(ModelFile file, Delegate delegate) {
        return new Network(file, delegate, config.threads(), tiling.tileWidth(), tiling.tileHeight(), config.depth());
    }

    /** Times of a run that another thing ran than what was asked for are not taken at all, so that nobody can mistake them. */
    private void setResidency(Residency residency, ModelFile file) {
        Delegate delegate = config.delegate();
        if (residency == null) {
            if (delegate != Delegate.CPU) {
                throw new IllegalArgumentException("the log that tells what " + delegate.id + " took cannot be read");
            }
            return;
        }
        result.effective = residency.effective();
        result.delegatedNodes = residency.delegated();
        result.nodes = residency.nodes() == null ? Integer.valueOf(file.operators()) : residency.nodes();
        if (delegate != Delegate.CPU && result.fellBack()) {
            throw new IllegalArgumentException(
                    delegate.id + " took none of the " + result.nodes + " operators; nothing was measured");
        }
    }

    private double[] samples(Network network) {
        List<Tiling.Tile> tiles = tiling.tiles();
        ByteBuffer only = tiles.size() == 1 ? network.encode(cut(tiles.get(0))) : null;
        return samples(() -> {
            double milliseconds = 0;
            for (Tiling.Tile tile : tiles) {
                checkCancelled();
                milliseconds += network.invoke(only == null ? network.encode(cut(tile)) : only);
            }
            return milliseconds;
        });
    }

    /** @param run runs once and returns the time in ms. */
    private double[] samples(DoubleSupplier run) {
        double[] samples = new double[config.runs()];
        for (int round = -config.warmup(); round < samples.length; round++) {
            Stage stage = round < 0 ? Stage.WARMING_UP : Stage.RUNNING;
            at(stage, round < 0 ? round + config.warmup() : round, round < 0 ? config.warmup() : samples.length);
            double milliseconds = run.getAsDouble();
            if (round >= 0) {
                samples[round] = milliseconds;
            }
        }
        return samples;
    }

    private static final class Pass {
        RgbImage sr;
        double milliseconds;
    }

    /** The whole SR image, tile by tile. */
    private Pass upscale(Network network) {
        Pass pass = new Pass();
        for (Tiling.Tile tile : tiling.tiles()) {
            checkCancelled();
            pass.milliseconds += network.invoke(network.encode(cut(tile)));
            RgbImage part = network.sr();
            int scale = network.scale();
            if (pass.sr == null) {
                pass.sr = new RgbImage(scale * image.width(), scale * image.height());
            }
            pass.sr.paste(
                    part,
                    scale * (tile.x() - tile.left()),
                    scale * (tile.y() - tile.top()),
                    scale * tile.x(),
                    scale * tile.y(),
                    scale * tile.width(),
                    scale * tile.height());
        }
        return pass;
    }

    private RgbImage cut(Tiling.Tile tile) {
        return image.crop(tile.left(), tile.top(), tiling.tileWidth(), tiling.tileHeight());
    }

    private void at(Stage stage, int done, int total) {
        checkCancelled();
        progress.at(stage, done, total);
    }

    private void checkCancelled() {
        if (cancelled.get()) {
            throw new CancellationException();
        }
    }
}
