package org.mobilesr.sr;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import java.util.Random;
import org.mobilesr.core.ModelFile;
import org.mobilesr.core.Residency;
import org.mobilesr.core.RunConfig;
import org.mobilesr.core.TensorInfo;
import org.mobilesr.core.TensorSpec;

/** Runs any file of fixed sizes with random inputs, to time it. */
public final class NoiseRun implements AutoCloseable {
    /** Null if the runtime does not tell. */
    public final Residency residency;

    public final double initMs;
    private final ByteBuffer[] inputs;
    private final Engine engine;

    /** @throws IllegalArgumentException when the file or the delegate does not fit, with one line that says why. */
    public NoiseRun(ModelFile file, RunConfig config) {
        Chip.check(file, config.delegate());
        List<TensorInfo> ins = file.inputs();
        inputs = new ByteBuffer[ins.size()];
        Random random = new Random(1);
        for (int i = 0; i < inputs.length; i++) {
            if (!ins.get(i).isFixed()) {
                throw new IllegalArgumentException("input " + ins.get(i).name() + " has no fixed size, which random values need");
            }
            inputs[i] = noise(ins.get(i), random);
        }
        NativeLog log = new NativeLog();
        long start = System.nanoTime();
        engine = Engines.open(file, config.delegate(), config.threads(), 0, 0);
        initMs = (System.nanoTime() - start) / 1e6;
        residency = engine.residency(log.lines());
    }

    private static ByteBuffer noise(TensorInfo info, Random random) {
        TensorSpec.Type type = info.supported().type();
        int size = Math.multiplyExact(info.elements(), type.bytes);
        ByteBuffer values = ByteBuffer.allocateDirect(size).order(ByteOrder.nativeOrder());
        if (type == TensorSpec.Type.FLOAT32) {
            while (values.hasRemaining()) {
                values.putFloat(random.nextFloat());
            }
        } else {
            byte[] bytes = new byte[size];
            random.nextBytes(bytes);
            values.put(bytes);
        }
        values.rewind();
        return values;
    }

    /** @return the time in ms, without copies in and out. */
    public double invoke() {
        for (ByteBuffer input : inputs) {
            input.rewind();
        }
        return engine.run(inputs);
    }

    @Override
    public void close() {
        engine.close();
    }
}
