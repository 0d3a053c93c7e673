package org.mobilesr.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class BenchmarkResultTest {
    @Test
    void hasTheKeysOfTheContract() {
        BenchmarkResult result = new BenchmarkResult();
        result.requested = Delegate.GPU;
        result.effective = Delegate.NONE;
        result.samplesMs = new double[] {1, 3};
        List<String> keys = List.of(
                "model", "sha256", "size_bytes", "signature", "threads", "requested_delegate", "effective_delegate", "delegated_nodes", "nodes",
                "init_ms", "first_ms", "latency_ms", "samples_ms", "memory_pss_bytes", "psnr_vs_cpu", "psnr_vs_reference", "error");
        assertEquals(keys, new ArrayList<>(result.toMap().keySet()));
        assertTrue(result.fellBack());
        assertEquals(2.0, ((Map<?, ?>) result.toMap().get("latency_ms")).get("mean"));
        String json = result.toJson("host", Map.of("cores", 2));
        assertTrue(json.startsWith("{\n  \"format\": \"mobile-sr benchmark 1\",\n  \"where\": \"host\""), json);
        assertTrue(json.contains("\"samples_ms\": [1.0, 3.0]"), json);
    }

    @Test
    void withoutRunsThereAreNoStatistics() {
        BenchmarkResult result = new BenchmarkResult();
        result.requested = Delegate.CPU;
        result.error = "a \"quoted\" line\nand \\ another";
        assertFalse(result.fellBack());
        assertEquals(null, result.toMap().get("latency_ms"));
        assertTrue(result.toJson("host", Map.of()).contains("\"a \\\"quoted\\\" line\\nand \\\\ another\""));
    }

    @Test
    void jsonEscapesAndRefuses() {
        Map<String, Object> map = new LinkedHashMap<>();
        map.put("é\u0001\ud83d\ude00", List.of(true, 1, -0.5));
        map.put("none", null);
        assertEquals("{\n  \"é\\u0001\\ud83d\\ude00\": [true, 1, -0.5],\n  \"none\": null\n}\n", Json.write(map));
        assertThrows(IllegalArgumentException.class, () -> Json.write(Double.NaN));
        assertThrows(IllegalArgumentException.class, () -> Json.write(new Object()));
    }
}
