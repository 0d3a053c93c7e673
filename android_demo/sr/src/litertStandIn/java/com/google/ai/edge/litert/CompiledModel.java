package com.google.ai.edge.litert;

import java.io.File;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.tensorflow.lite.Interpreter;

/**
 * Stand-in for LiteRT's class of this name, with the public methods that the library uses, after litert/kotlin of
 * google-ai-edge/LiteRT. As CPU, and as NPU if that has a folder of libraries, it runs TFLite's interpreter. It has no GPU.
 */
public final class CompiledModel implements AutoCloseable {
    /** The threads of the last model, for tests. */
    public static Integer lastThreads;

    private final Interpreter interpreter;

    /** As LiteRT's. */
    public static final class CpuOptions {
        final Integer threads;

        public CpuOptions(Integer numThreads, Integer xnnPackFlags, String xnnPackWeightCachePath) {
            threads = numThreads;
        }
    }

    /** As LiteRT's. */
    public static final class GpuOptions {
        /** Of the floats that it computes with. */
        public enum Precision {
            DEFAULT,
            FP16,
            FP32
        }

        /** How it stores tensors. */
        public enum BufferStorageType {
            DEFAUTL, // as LiteRT spells it
            BUFFER,
            TEXTURE_2D
        }

        public GpuOptions(
                Boolean constantTensorSharing, Boolean infiniteFloatCapping, Boolean benchmarkMode,
                Boolean allowSrcQuantizedFcConvOps, Precision precision, BufferStorageType bufferStorageType) {}
    }

    /** As LiteRT's. */
    public static final class Options {
        private final List<Accelerator> accelerators;
        private CpuOptions cpuOptions;

        public Options(Accelerator... accelerators) {
            this.accelerators = List.of(accelerators);
        }

        public void setCpuOptions(CpuOptions options) {
            cpuOptions = options;
        }

        public void setGpuOptions(GpuOptions options) {}
    }

    private CompiledModel(Interpreter interpreter) {
        this.interpreter = interpreter;
    }

    public static CompiledModel create(String filePath, Options options, Environment optionalEnv) throws LiteRtException {
        boolean npu = optionalEnv.options.containsKey(Environment.Option.DispatchLibraryDir);
        if (!options.accelerators.equals(List.of(npu ? Accelerator.NPU : Accelerator.CPU))) {
            throw new LiteRtException("Some ops are not accelerated");
        }
        lastThreads = options.cpuOptions == null ? null : options.cpuOptions.threads;
        int threads = lastThreads == null ? 1 : lastThreads;
        Interpreter interpreter = new Interpreter(new File(filePath), new Interpreter.Options().setNumThreads(threads));
        interpreter.allocateTensors();
        return new CompiledModel(interpreter);
    }

    public List<TensorBuffer> createInputBuffers() throws LiteRtException {
        List<TensorBuffer> buffers = new ArrayList<>();
        for (int i = 0; i < interpreter.getInputTensorCount(); i++) {
            buffers.add(new TensorBuffer(interpreter.getInputTensor(i).numBytes()));
        }
        return buffers;
    }

    public List<TensorBuffer> createOutputBuffers() throws LiteRtException {
        List<TensorBuffer> buffers = new ArrayList<>();
        for (int i = 0; i < interpreter.getOutputTensorCount(); i++) {
            buffers.add(new TensorBuffer(interpreter.getOutputTensor(i).numBytes()));
        }
        return buffers;
    }

    public void run(List<TensorBuffer> inputs, List<TensorBuffer> outputs) throws LiteRtException {
        Map<Integer, Object> results = new HashMap<>();
        for (int i = 0; i < outputs.size(); i++) {
            results.put(i, outputs.get(i).bytes.rewind());
        }
        interpreter.runForMultipleInputsOutputs(inputs.stream().map(buffer -> buffer.bytes.rewind()).toArray(), results);
    }

    @Override
    public void close() {
        interpreter.close();
    }
}
