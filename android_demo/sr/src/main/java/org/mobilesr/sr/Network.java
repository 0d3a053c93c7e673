package org.mobilesr.sr;

import java.nio.ByteBuffer;
import java.util.List;
import org.mobilesr.core.Delegate;
import org.mobilesr.core.ModelFile;
import org.mobilesr.core.Residency;
import org.mobilesr.core.RgbImage;
import org.mobilesr.core.TensorInfo;
import org.mobilesr.core.TensorSpec;

/** An opened .tflite file for images of one size. The GPU delegate wants one thread for all calls, closing included. */
public final class Network implements AutoCloseable {
    /** What took the graph; null when the log cannot be read. */
    public final Residency residency;

    public final double initMs;
    private final int width;
    private final int height;
    private final List<TensorInfo> ins;
    private final TensorSpec outputSpec;
    private int imageInput = -1;
    private int imageOutput = -1;
    private ByteBuffer[] inputs;
    private Engine engine;

    /**
     * @param depth the desired depth, null for files that take none.
     * @throws IllegalArgumentException when the file, the depth or the delegate does not fit, with one line that says why.
     */
    public Network(ModelFile file, Delegate requested, int threads, int width, int height, Double depth) {
        this.width = width;
        this.height = height;
        Chip.check(file, requested);
        ins = file.inputs();
        findInputs(depth);
        List<TensorInfo> outs = file.outputs();
        for (int i = outs.size() - 1; i >= 0; i--) { // a depth map, the other output of AdaDSR's files, comes second
            imageOutput = outs.get(i).isImage() ? i : imageOutput;
        }
        if (imageInput < 0 || imageOutput < 0) {
            throw new IllegalArgumentException("no network from an image [1, H, W, 3] to a larger one");
        }
        ins.get(imageInput).supported();
        outputSpec = outs.get(imageOutput).supported();
        NativeLog log = new NativeLog();
        try {
            long start = System.nanoTime();
            engine = Engines.open(file, requested, threads, width, height);
            initMs = (System.nanoTime() - start) / 1e6;
        } catch (IllegalArgumentException | IllegalStateException | UnsupportedOperationException | LinkageError error) {
            throw new IllegalArgumentException(refusal(requested, error), error);
        }
        residency = engine.residency(log.lines());
    }

    private static String refusal(Delegate requested, Throwable error) {
        String reason = error.getMessage() == null ? error.getClass().getSimpleName() : error.getMessage();
        return requested == Delegate.CPU ? reason : requested.id + " refuses it: " + reason;
    }

    private void findInputs(Double depth) {
        inputs = new ByteBuffer[ins.size()];
        boolean taken = false;
        for (int i = 0; i < inputs.length; i++) {
            TensorInfo tensor = ins.get(i);
            if (tensor.isImage()) {
                imageInput = i;
            } else if (tensor.isDepth()) {
                if (depth == null) {
                    throw new IllegalArgumentException("this file needs a desired depth");
                }
                inputs[i] = tensor.supported().encodeScalar(depth);
                taken = true;
            } else {
                throw new IllegalArgumentException("input " + tensor.name() + " is neither an image nor a desired depth");
            }
        }
        if (depth != null && !taken) {
            throw new IllegalArgumentException("this file takes no desired depth");
        }
    }

    /** The image as the input wants it, for `invoke`. */
    public ByteBuffer encode(RgbImage image) {
        return ins.get(imageInput).spec().encode(image);
    }

    /** @return the time of the network alone in ms, without copies in and out. */
    public double invoke(ByteBuffer image) {
        for (ByteBuffer input : inputs) {
            if (input != null) {
                input.rewind();
            }
        }
        image.rewind();
        inputs[imageInput] = image;
        return engine.run(inputs);
    }

    /** The SR image of the last `invoke`. */
    public RgbImage sr() {
        int scale = scale();
        return outputSpec.decode(raw(), scale * width, scale * height);
    }

    /** The last SR image's raw values. */
    public ByteBuffer raw() {
        return engine.output(imageOutput);
    }

    /** By the last SR image's shape. */
    public int scale() {
        int[] shape = shape();
        int scale = shape[1] / height;
        if (scale < 1 || shape[1] != scale * height || shape[2] != scale * width) {
            throw new IllegalArgumentException(
                    "turns " + width + "x" + height + " into " + shape[2] + "x" + shape[1] + ", which is no whole scale");
        }
        return scale;
    }

    /** The runtime may not know the shape: then the number of bytes tells it. */
    private int[] shape() {
        int[] shape = engine.outputShape(imageOutput);
        int pixels = raw().capacity() / (3 * outputSpec.type().bytes);
        if (pixels == shape[1] * shape[2]) {
            return shape;
        }
        int scale = (int) Math.sqrt(pixels / (width * height));
        boolean whole = pixels == scale * height * scale * width;
        return whole ? new int[] {1, scale * height, scale * width, 3} : new int[] {1, 1, pixels, 3};
    }

    @Override
    public void close() {
        if (engine != null) {
            engine.close();
            engine = null;
        }
    }
}
