package org.mobilesr.core;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import org.junit.jupiter.api.Test;

class MatrixTest {
    @Test
    void everyFileWithEveryDelegateAndNumberOfThreads() {
        RunConfig form = new RunConfig("a.tflite", "x.png", Delegate.CPU, 4, 1, 5, 2.0, "dense", "run");
        List<RunConfig> configs =
                Matrix.of(form, List.of("a.tflite", "b.tflite"), List.of(Delegate.CPU, Delegate.GPU), List.of(1, 2));
        assertEquals(6, configs.size());
        assertEquals(new RunConfig("a.tflite", "x.png", Delegate.CPU, 1, 1, 5, 2.0, "dense", "run-1"), configs.get(0));
        assertEquals(new RunConfig("a.tflite", "x.png", Delegate.CPU, 2, 1, 5, 2.0, "dense", "run-2"), configs.get(1));
        assertEquals(new RunConfig("a.tflite", "x.png", Delegate.GPU, 4, 1, 5, 2.0, "dense", "run-3"), configs.get(2));
        assertEquals(new RunConfig("b.tflite", "x.png", Delegate.GPU, 4, 1, 5, null, null, "run-6"), configs.get(5));
    }
}
