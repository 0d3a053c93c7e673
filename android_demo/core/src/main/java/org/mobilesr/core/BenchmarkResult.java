package org.mobilesr.core;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What one benchmark found, as the "results" element of the JSON file; what is not known stays null. */
public final class BenchmarkResult {
    public static final String FORMAT = "mobile-sr benchmark 1";

    public String model;
    public String sha256;
    public Integer sizeBytes;
    /** Of a file with several the one that ran. */
    public String signature;
    public int threads;
    public Delegate requested;
    public String effective;
    public Integer delegatedNodes;
    public Integer nodes;
    public Double initMs;
    public Double firstMs;
    public double[] samplesMs = {};
    public Long memoryPssBytes;
    public Double psnrVsCpu;
    public Double psnrVsReference;
    public String error;

    /** Null before there are samples. */
    public Statistics statistics() {
        return samplesMs.length == 0 ? null : Statistics.of(samplesMs);
    }

    /** Whether another thing ran than what was asked for. */
    public boolean fellBack() {
        return effective != null && !effective.equals(requested.id);
    }

    public Map<String, Object> toMap() {
        Map<String, Object> map = new LinkedHashMap<>();
        map.put("model", model);
        map.put("sha256", sha256);
        map.put("size_bytes", sizeBytes);
        map.put("signature", signature);
        map.put("threads", threads);
        map.put("requested_delegate", requested.id);
        map.put("effective_delegate", effective);
        map.put("delegated_nodes", delegatedNodes);
        map.put("nodes", nodes);
        map.put("init_ms", initMs);
        map.put("first_ms", firstMs);
        map.put("latency_ms", samplesMs.length == 0 ? null : statistics().toMap());
        List<Object> samples = new ArrayList<>();
        for (double sample : samplesMs) {
            samples.add(sample);
        }
        map.put("samples_ms", samples);
        map.put("memory_pss_bytes", memoryPssBytes);
        map.put("psnr_vs_cpu", psnrVsCpu);
        map.put("psnr_vs_reference", psnrVsReference);
        map.put("error", error);
        return map;
    }

    /** The whole file. */
    public String toJson(String where, Map<String, Object> environment) {
        Map<String, Object> file = new LinkedHashMap<>();
        file.put("format", FORMAT);
        file.put("where", where);
        file.put("environment", environment);
        file.put("results", List.of(toMap()));
        return Json.write(file);
    }
}
