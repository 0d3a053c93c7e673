package org.mobilesr.core;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class MatrixTest {
    @Test
    void everyFileWithEveryDelegateAndNumberOfThreads() {
        RunConfig form = new RunConfig("a.tflite", "x.png", Delegate.CPU, 4, 1, 5, 2.0, "dense", "run");
        Map<String, List<Delegate>> models = new LinkedHashMap<>();
        models.put("a.tflite", List.of(Delegate.CPU, Delegate.GPU));
        models.put("b.tflite", List.of(Delegate.CPU, Delegate.GPU));
        models.put("for_this_chip.tflite", List.of(Delegate.NPU));
        List<RunConfig> configs = Matrix.of(form, models, List.of(1, 2));
        assertEquals(7, configs.size());
        assertEquals(new RunConfig("a.tflite", "x.png", Delegate.CPU, 1, 1, 5, 2.0, "dense", "run-1"), configs.get(0));
        assertEquals(new RunConfig("a.tflite", "x.png", Delegate.CPU, 2, 1, 5, 2.0, "dense", "run-2"), configs.get(1));
        assertEquals(new RunConfig("a.tflite", "x.png", Delegate.GPU, 4, 1, 5, 2.0, "dense", "run-3"), configs.get(2));
        assertEquals(new RunConfig("b.tflite", "x.png", Delegate.GPU, 4, 1, 5, null, null, "run-6"), configs.get(5));
        assertEquals(Delegate.NPU, configs.get(6).delegate());
    }
}
