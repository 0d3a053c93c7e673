package org.mobilesr.sr;

import java.nio.ByteBuffer;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.mobilesr.core.Delegate;
import org.mobilesr.core.ModelFile;
import org.mobilesr.core.Residency;
import org.mobilesr.core.TensorInfo;
import org.tensorflow.lite.Interpreter;

/** The Interpreter, which TFLite and LiteRT have under the same name. */
final class InterpreterEngine implements Engine {
    private final Delegate requested;
    private final org.tensorflow.lite.Delegate delegate;
    private final int outputs;
    private Interpreter interpreter;

    /**
     * @param delegate null for the CPU; it is closed with the engine, or when that cannot be opened.
     * @param width of the image input, 0 to leave the sizes of the file.
     */
    InterpreterEngine(
            ModelFile file, Delegate requested, org.tensorflow.lite.Delegate delegate, int threads, int width, int height) {
        this.requested = requested;
        this.delegate = delegate;
        try {
            Interpreter.Options options = new Interpreter.Options();
            options.setNumThreads(threads);
            options.setUseXNNPACK(requested.usesXnnpack());
            if (delegate != null) {
                options.addDelegate(delegate);
            }
            interpreter = new Interpreter(file.direct(), options);
            List<TensorInfo> inputs = file.inputs();
            for (int i = 0; i < inputs.size() && width > 0; i++) {
                if (inputs.get(i).isImage()) {
                    interpreter.resizeInput(i, new int[] {1, height, width, 3});
                }
            }
            interpreter.allocateTensors();
            outputs = interpreter.getOutputTensorCount();
        } catch (RuntimeException | Error error) {
            close();
            throw error;
        }
    }

    @Override
    public double run(ByteBuffer[] inputs) {
        // The outputs are read where the runtime has them: their sizes may be known only after the run.
        Map<Integer, Object> stay = new HashMap<>();
        for (int i = 0; i < outputs; i++) {
            stay.put(i, null);
        }
        interpreter.runForMultipleInputsOutputs(inputs, stay);
        return interpreter.getLastNativeInferenceDurationNanoseconds() / 1e6;
    }

    @Override
    public ByteBuffer output(int index) {
        return interpreter.getOutputTensor(index).asReadOnlyBuffer();
    }

    @Override
    public int[] outputShape(int index) {
        return interpreter.getOutputTensor(index).shape();
    }

    @Override
    public Residency residency(List<String> log) {
        return log == null ? null : Residency.of(requested, log);
    }

    @Override
    public void close() {
        if (interpreter != null) {
            interpreter.close();
            interpreter = null;
        }
        if (delegate instanceof AutoCloseable) {
            try {
                ((AutoCloseable) delegate).close();
            } catch (Exception error) {
                throw new IllegalStateException(error);
            }
        }
    }
}
