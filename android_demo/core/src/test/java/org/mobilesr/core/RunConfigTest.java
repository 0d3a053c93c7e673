package org.mobilesr.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class RunConfigTest {
    private static RunConfig parse(String key, Object value) {
        Map<String, Object> extras = new HashMap<>(Map.of("model", "asset:xlsr_x3_uint8.tflite", "output", "a"));
        if (key != null) {
            extras.put(key, value);
        }
        return RunConfig.parse(extras);
    }

    @Test
    void hasDefaults() {
        RunConfig config = parse(null, null);
        assertEquals(Delegate.CPU, config.delegate());
        assertEquals(RunConfig.DEFAULT_IMAGE, config.image());
        assertEquals(List.of(4, 3, 20), List.of(config.threads(), config.warmup(), config.runs()));
        assertEquals(null, config.depth());
        assertEquals(null, config.signature());
        assertEquals("sparse", parse("signature", "sparse").signature());
    }

    @Test
    void takesNumbersAsNumbersOrText() {
        assertEquals(7, parse("runs", 7).runs());
        assertEquals(7, parse("runs", "7").runs());
        assertEquals(2.5, parse("depth", 2.5f).depth());
        assertEquals(Delegate.GPU_FP32, parse("delegate", "gpu_fp32").delegate());
    }

    @Test
    void refusesPathsAndNonsenseInOneLine() {
        Object[][] wrong = {
            {"output", "../x"}, {"output", "a/b"}, {"output", ".."}, {"output", ""}, {"output", "x".repeat(65)}, {"output", "a\nb"},
            {"model", "../../m.tflite"}, {"model", "/sdcard/m.tflite"}, {"model", "asset:../m.tflite"}, {"model", ".."}, {"model", ""},
            {"model", "asset:readme.txt"}, {"image", "a/b.png"}, {"image", "asset:/x.png"}, {"image", "a\u0000.png"},
            {"delegate", "tpu"}, {"threads", 0}, {"threads", 17}, {"runs", 0}, {"runs", 1.5}, {"runs", "many\nlines"},
            {"runs", 1e9}, {"warmup", -1}, {"depth", -1f}, {"depth", "NaN"}, {"depth", "deep"},
            {"signature", ""}, {"signature", "a-b"}, {"signature", "x".repeat(65)}, {"signature", "a\nb"},
        };
        for (Object[] pair : wrong) {
            Exception error = assertThrows(IllegalArgumentException.class, () -> parse((String) pair[0], pair[1]), pair[0] + "=" + pair[1]);
            assertTrue(error.getMessage().startsWith((String) pair[0]), error.getMessage());
            assertFalse(error.getMessage().contains("\n"), error.getMessage());
        }
    }

    @Test
    void needsModelAndOutput() {
        assertThrows(IllegalArgumentException.class, () -> RunConfig.parse(Map.of("output", "a")));
        assertThrows(IllegalArgumentException.class, () -> RunConfig.parse(Map.of("model", "a.tflite")));
    }

    @Test
    void xnnpackIsForTheCpuOnly() {
        for (Delegate delegate : Delegate.values()) {
            assertEquals(delegate == Delegate.CPU, delegate.usesXnnpack());
            assertEquals(delegate != Delegate.CPU, delegate.needsFixedSize());
        }
    }

    @Test
    void theLogTellsWhatRan() {
        String xnnpack = "tflite: Replacing 13 out of 15 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 3 partitions";
        String gpu = "Replacing 14 out of 14 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 1 partitions";
        assertEquals(new Residency("cpu", 13, 15), Residency.of(Delegate.CPU, List.of("x", xnnpack, "y")));
        assertEquals(new Residency("gpu_fp32", 14, 14), Residency.of(Delegate.GPU_FP32, List.of(gpu)));
        assertEquals(new Residency("gpu", 14, 14), Residency.of(Delegate.GPU, List.of(gpu)));
        assertEquals(new Residency("cpu", 13, 15), Residency.of(Delegate.NNAPI, List.of(xnnpack)), "a silent fallback is seen");
        assertEquals(new Residency("none", 0, null), Residency.of(Delegate.NNAPI, List.of()));
        assertEquals(new Residency("none", 0, 14), Residency.of(Delegate.GPU, List.of(gpu.replace("14 out", "0 out"))));
    }
}
