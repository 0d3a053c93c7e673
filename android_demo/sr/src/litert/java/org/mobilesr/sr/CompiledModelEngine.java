package org.mobilesr.sr;

import com.google.ai.edge.litert.Accelerator;
import com.google.ai.edge.litert.CompiledModel;
import com.google.ai.edge.litert.Environment;
import com.google.ai.edge.litert.LiteRtException;
import com.google.ai.edge.litert.TensorBuffer;
import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Files;
import java.util.List;
import java.util.Map;
import org.mobilesr.core.Delegate;
import org.mobilesr.core.ModelFile;
import org.mobilesr.core.Residency;
import org.mobilesr.core.TensorInfo;
import org.mobilesr.core.TensorSpec;

/**
 * LiteRT's CompiledModel on one accelerator. Only that one is asked for: then LiteRT refuses a file of which it would run a part
 * elsewhere.
 */
final class CompiledModelEngine implements Engine {
    private final Delegate requested;
    private final int operators;
    private final int compiled;
    private final List<TensorInfo> ins;
    private final List<TensorInfo> outs;
    private Environment environment;
    private CompiledModel model;
    private List<TensorBuffer> inputs = List.of();
    private List<TensorBuffer> outputs = List.of();

    /**
     * @param file of fixed sizes.
     * @param libraries the folder of the NPU's libraries, null for other accelerators.
     */
    CompiledModelEngine(ModelFile file, Delegate requested, int threads, String libraries) {
        this.requested = requested;
        operators = file.operators();
        compiled = file.compiledOperators();
        ModelFile plain = file.withoutSignatures(); // so that buffers are in the order of the graph
        ins = plain.inputs();
        outs = plain.outputs();
        ins.forEach(TensorInfo::supported);
        outs.forEach(TensorInfo::supported);
        File copy = null;
        try {
            copy = File.createTempFile("mobile-sr", ".tflite"); // it opens assets and paths only
            Files.write(copy.toPath(), plain.bytes());
            environment = Environment.create(
                    libraries == null ? Map.of() : Map.of(Environment.Option.DispatchLibraryDir, libraries));
            model = CompiledModel.create(copy.getPath(), options(threads), environment);
            inputs = model.createInputBuffers();
            outputs = model.createOutputBuffers();
        } catch (LiteRtException | IOException error) {
            close();
            throw new IllegalArgumentException(error.getMessage(), error);
        } catch (RuntimeException | Error error) {
            close();
            throw error;
        } finally {
            if (copy != null) {
                copy.delete(); // the runtime has mapped it
            }
        }
    }

    private CompiledModel.Options options(int threads) {
        switch (requested) {
            case GPU:
            case GPU_FP32:
                CompiledModel.Options gpu = new CompiledModel.Options(Accelerator.GPU);
                gpu.setGpuOptions(new CompiledModel.GpuOptions(
                        null, null, null, null,
                        requested == Delegate.GPU ? CompiledModel.GpuOptions.Precision.FP16 : CompiledModel.GpuOptions.Precision.FP32,
                        null));
                return gpu;
            case NPU:
                return new CompiledModel.Options(Accelerator.NPU);
            case CPU:
                CompiledModel.Options cpu = new CompiledModel.Options(Accelerator.CPU);
                cpu.setCpuOptions(new CompiledModel.CpuOptions(threads, null, null));
                return cpu;
            default:
                throw new IllegalArgumentException("LiteRT has no " + requested.id);
        }
    }

    @Override
    public double run(ByteBuffer[] values) {
        try {
            for (int i = 0; i < values.length; i++) {
                write(inputs.get(i), ins.get(i), values[i]);
            }
            long start = System.nanoTime();
            model.run(inputs, outputs);
            return (System.nanoTime() - start) / 1e6;
        } catch (LiteRtException error) {
            throw new IllegalStateException(error.getMessage(), error);
        }
    }

    private static void write(TensorBuffer buffer, TensorInfo info, ByteBuffer values) throws LiteRtException {
        values.rewind();
        if (info.spec().type() == TensorSpec.Type.FLOAT32) {
            FloatBuffer from = values.order(ByteOrder.nativeOrder()).asFloatBuffer();
            float[] floats = new float[from.remaining()];
            from.get(floats);
            buffer.writeFloat(floats);
        } else {
            byte[] bytes = new byte[values.remaining()];
            values.get(bytes);
            buffer.writeInt8(bytes);
        }
    }

    @Override
    public ByteBuffer output(int index) {
        try {
            TensorBuffer buffer = outputs.get(index);
            if (outs.get(index).spec().type() == TensorSpec.Type.FLOAT32) {
                float[] floats = buffer.readFloat();
                ByteBuffer bytes = ByteBuffer.allocateDirect(4 * floats.length).order(ByteOrder.nativeOrder());
                bytes.asFloatBuffer().put(floats);
                return bytes;
            }
            return ByteBuffer.wrap(buffer.readInt8());
        } catch (LiteRtException error) {
            throw new IllegalStateException(error.getMessage(), error);
        }
    }

    @Override
    public int[] outputShape(int index) {
        return outs.get(index).shape();
    }

    /**
     * The log's line where there is one. Otherwise GPU and CPU are what they were opened as, with an unknown number of operators:
     * LiteRT refuses a file that another accelerator would have to help with. The NPU runs the operators that are compiled for it.
     */
    @Override
    public Residency residency(List<String> log) {
        if (requested == Delegate.NPU) {
            return new Residency(requested.id, compiled, operators);
        }
        return named(requested, log);
    }

    /** @param log null if it cannot be read. */
    static Residency named(Delegate requested, List<String> log) {
        Residency logged = log == null ? null : Residency.of(requested, log);
        if (logged == null || logged.nodes() == null) {
            return new Residency(requested.id, null, null);
        }
        // LiteRT's GPU delegates have several names in the log; the CPU's has one.
        boolean fell = logged.effective().equals(Delegate.CPU.id) || logged.effective().equals(Delegate.NONE);
        return fell ? logged : new Residency(requested.id, logged.delegated(), logged.nodes());
    }

    @Override
    public void close() {
        inputs.forEach(TensorBuffer::close);
        outputs.forEach(TensorBuffer::close);
        inputs = List.of();
        outputs = List.of();
        if (model != null) {
            model.close();
            model = null;
        }
        if (environment != null) {
            environment.close();
            environment = null;
        }
    }
}
