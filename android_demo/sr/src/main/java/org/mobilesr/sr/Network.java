package org.mobilesr.sr;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.mobilesr.core.Delegate;
import org.mobilesr.core.ModelFile;
import org.mobilesr.core.Residency;
import org.mobilesr.core.RgbImage;
import org.mobilesr.core.TensorSpec;
import org.tensorflow.lite.DataType;
import org.tensorflow.lite.Interpreter;
import org.tensorflow.lite.Tensor;
import org.tensorflow.lite.gpu.GpuDelegate;
import org.tensorflow.lite.gpu.GpuDelegateFactory;
import org.tensorflow.lite.nnapi.NnApiDelegate;

/** An opened .tflite file for images of one size. The GPU delegate wants one thread for all calls, closing included. */
public final class Network implements AutoCloseable {
    /** What took the graph; null when the log cannot be read. */
    public final Residency residency;

    public final double initMs;
    private final int width;
    private final int height;
    private org.tensorflow.lite.Delegate delegate;
    private Interpreter interpreter;
    private int imageInput = -1;
    private int pictureOutput = -1;
    private Object[] inputs;

    /**
     * @param depth the desired depth, null for files that take none.
     * @throws IllegalArgumentException when the file, the depth or the delegate does not fit, with one line that says why.
     */
    public Network(ModelFile file, Delegate requested, int threads, int width, int height, Double depth) {
        this.width = width;
        this.height = height;
        NativeLog log = new NativeLog();
        ByteBuffer model = (requested.needsFixedSize() ? file.withSize(height, width) : file).direct();
        try {
            long start = System.nanoTime();
            Interpreter.Options options = new Interpreter.Options();
            options.setNumThreads(threads);
            options.setUseXNNPACK(requested.usesXnnpack());
            delegate = create(requested);
            if (delegate != null) {
                options.addDelegate(delegate);
            }
            interpreter = new Interpreter(model, options);
            findEnds(depth);
            interpreter.resizeInput(imageInput, new int[] {1, height, width, 3});
            interpreter.allocateTensors();
            initMs = (System.nanoTime() - start) / 1e6;
        } catch (IllegalArgumentException | IllegalStateException | UnsupportedOperationException | LinkageError error) {
            close();
            throw new IllegalArgumentException(refusal(requested, error), error);
        } catch (RuntimeException | Error error) {
            close();
            throw error;
        }
        List<String> lines = log.lines();
        residency = lines == null ? null : Residency.of(requested, lines);
    }

    private static String refusal(Delegate requested, Throwable error) {
        String reason = error.getMessage() == null ? error.getClass().getSimpleName() : error.getMessage();
        return requested == Delegate.CPU ? reason : requested.id + " refuses it: " + reason;
    }

    private static org.tensorflow.lite.Delegate create(Delegate requested) {
        switch (requested) {
            case NNAPI:
                // NNAPI's own CPU implementation would be one more silent fallback.
                return new NnApiDelegate(new NnApiDelegate.Options()
                        .setUseNnapiCpu(false)
                        .setExecutionPreference(NnApiDelegate.Options.EXECUTION_PREFERENCE_SUSTAINED_SPEED));
            case GPU:
            case GPU_FP32:
                GpuDelegateFactory.Options options = new GpuDelegateFactory.Options();
                options.setPrecisionLossAllowed(requested == Delegate.GPU);
                options.setQuantizedModelsAllowed(true);
                options.setInferencePreference(GpuDelegateFactory.Options.INFERENCE_PREFERENCE_SUSTAINED_SPEED);
                return new GpuDelegate(options);
            default:
                return null;
        }
    }

    private void findEnds(Double depth) {
        inputs = new Object[interpreter.getInputTensorCount()];
        boolean taken = false;
        for (int i = 0; i < inputs.length; i++) {
            Tensor tensor = interpreter.getInputTensor(i);
            if (isImage(tensor)) {
                imageInput = i;
            } else if (tensor.numElements() == 1 && tensor.name().contains(ModelFile.DESIRED_DEPTH)) {
                if (depth == null) {
                    throw new IllegalArgumentException("this file needs a desired depth");
                }
                inputs[i] = spec(tensor).encodeScalar(depth);
                taken = true;
            } else {
                throw new IllegalArgumentException("input " + tensor.name() + " is neither an image nor a desired depth");
            }
        }
        if (depth != null && !taken) {
            throw new IllegalArgumentException("this file takes no desired depth");
        }
        List<Integer> pictures = new ArrayList<>();
        for (int i = 0; i < interpreter.getOutputTensorCount(); i++) {
            if (isImage(interpreter.getOutputTensor(i))) {
                pictures.add(i);
            }
        }
        if (imageInput < 0 || pictures.isEmpty()) {
            throw new IllegalArgumentException("no network from an image [1, H, W, 3] to a larger one");
        }
        pictureOutput = pictures.get(0);
        spec(interpreter.getInputTensor(imageInput));
        spec(interpreter.getOutputTensor(pictureOutput));
    }

    /** A depth map, the other output of AdaDSR's files, comes second where it has three channels, too. */
    private static boolean isImage(Tensor tensor) {
        int[] shape = tensor.shape();
        return shape.length == 4 && shape[0] == 1 && shape[3] == 3;
    }

    private static TensorSpec spec(Tensor tensor) {
        Tensor.QuantizationParams quantization = tensor.quantizationParams();
        return new TensorSpec(type(tensor), quantization.getScale(), quantization.getZeroPoint());
    }

    private static TensorSpec.Type type(Tensor tensor) {
        DataType type = tensor.dataType();
        switch (type) {
            case FLOAT32:
                return TensorSpec.Type.FLOAT32;
            case UINT8:
                return TensorSpec.Type.UINT8;
            case INT8:
                return TensorSpec.Type.INT8;
            default:
                throw new IllegalArgumentException("tensor " + tensor.name() + " is " + type + "; known are float32, uint8 and int8");
        }
    }

    /** The image as the input wants it, for `invoke`. */
    public ByteBuffer encode(RgbImage image) {
        return spec(interpreter.getInputTensor(imageInput)).encode(image);
    }

    /** @return the time of the network alone in ms, without copies in and out. */
    public double invoke(ByteBuffer image) {
        image.rewind();
        inputs[imageInput] = image;
        // The output is read where the runtime has it: its size may be known only after the run.
        interpreter.runForMultipleInputsOutputs(inputs, Collections.singletonMap(pictureOutput, null));
        return interpreter.getLastNativeInferenceDurationNanoseconds() / 1e6;
    }

    /** The SR image of the last `invoke`. */
    public RgbImage sr() {
        Tensor tensor = interpreter.getOutputTensor(pictureOutput);
        int scale = scale();
        return spec(tensor).decode(tensor.asReadOnlyBuffer(), scale * width, scale * height);
    }

    /** The last SR image's raw values. */
    public ByteBuffer raw() {
        return interpreter.getOutputTensor(pictureOutput).asReadOnlyBuffer();
    }

    /** By the last SR image's shape. */
    public int scale() {
        int[] shape = shape(interpreter.getOutputTensor(pictureOutput));
        int scale = shape[1] / height;
        if (scale < 1 || shape[1] != scale * height || shape[2] != scale * width) {
            throw new IllegalArgumentException(
                    "turns " + width + "x" + height + " into " + shape[2] + "x" + shape[1] + ", which is no whole scale");
        }
        return scale;
    }

    /** The sparse path's shape is known only after the run, when Java is told no new one: the number of bytes stands for it. */
    private int[] shape(Tensor tensor) {
        int[] shape = tensor.shape();
        int pixels = tensor.numBytes() / (3 * type(tensor).bytes);
        if (pixels == shape[1] * shape[2]) {
            return shape;
        }
        int scale = (int) Math.sqrt(pixels / (width * height));
        boolean whole = pixels == scale * height * scale * width;
        return whole ? new int[] {1, scale * height, scale * width, 3} : new int[] {1, 1, pixels, 3};
    }

    @Override
    public void close() {
        if (interpreter != null) {
            interpreter.close();
            interpreter = null;
        }
        if (delegate != null) {
            delegate.close();
            delegate = null;
        }
    }
}
