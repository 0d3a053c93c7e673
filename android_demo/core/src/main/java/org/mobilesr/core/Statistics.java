package org.mobilesr.core;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;

/** Latency statistics, defined as NumPy's: linear percentiles, population standard deviation. */
public record Statistics(double min, double mean, double p50, double p90, double p99, double std) {

    /** @throws IllegalArgumentException without samples. */
    public static Statistics of(double[] samples) {
        if (samples.length == 0) {
            throw new IllegalArgumentException("statistics need at least one sample");
        }
        double[] sorted = samples.clone();
        Arrays.sort(sorted);
        double mean = Arrays.stream(sorted).sum() / sorted.length;
        double squares = Arrays.stream(sorted).map(value -> (value - mean) * (value - mean)).sum();
        double std = Math.sqrt(squares / sorted.length);
        return new Statistics(
                sorted[0], mean, percentile(sorted, 50), percentile(sorted, 90), percentile(sorted, 99), std);
    }

    private static double percentile(double[] sorted, double percent) {
        double place = percent / 100 * (sorted.length - 1);
        int below = (int) place;
        int above = Math.min(below + 1, sorted.length - 1);
        return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
    }

    /** The keys of the host's report. */
    public Map<String, Object> toMap() {
        Map<String, Object> map = new LinkedHashMap<>();
        map.put("min", min);
        map.put("mean", mean);
        map.put("p50", p50);
        map.put("p90", p90);
        map.put("p99", p99);
        map.put("std", std);
        return map;
    }
}
