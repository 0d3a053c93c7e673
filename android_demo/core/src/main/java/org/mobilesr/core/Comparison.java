package org.mobilesr.core;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;

/**
 * Results of the history side by side: the fastest first, failed ones last.
 *
 * @param isFair whether all ran on the same device with the same image size, so that their times compare.
 */
public record Comparison(List<Row> rows, boolean isFair) {
    /**
     * What a result file says.
     *
     * @param sha256 of the model file, null if it was not read.
     * @param effective what really ran, null if that is not known.
     * @param place the device and the image size.
     * @param min the fastest run in ms; null with p50 and p90 for a failed one.
     * @param psnr against the original in dB, null without one.
     */
    public record Run(
            String model, String sha256, String delegate, String effective, int threads, String place, Double min, Double p50,
            Double p90, Double psnr, String error) {}

    /**
     * A run beside the others.
     *
     * @param ratio its median as a multiple of the fastest one's; null for a failed run.
     * @param file a number for each different file, from 0.
     */
    public record Row(Run run, Double ratio, int file) {
        /** A time as a share of the longest bar. */
        public float share(Double milliseconds, double longest) {
            return milliseconds == null ? 0 : (float) Math.min(1, milliseconds / longest);
        }
    }

    public static Comparison of(List<Run> runs) {
        List<Run> ordered = new ArrayList<>(runs);
        ordered.sort(Comparator.comparing(Run::p50, Comparator.nullsLast(Comparator.naturalOrder())));
        List<String> files = new ArrayList<>();
        List<Row> rows = new ArrayList<>();
        for (Run run : ordered) {
            String file = run.model() + " " + run.sha256();
            if (!files.contains(file)) {
                files.add(file);
            }
            Double fastest = ordered.get(0).p50();
            Double ratio = run.p50() == null || fastest == null || fastest == 0 ? null : Double.valueOf(run.p50() / fastest);
            rows.add(new Row(run, ratio, files.indexOf(file)));
        }
        long places = runs.stream().filter(run -> run.p50() != null).map(Run::place).distinct().count();
        return new Comparison(rows, places <= 1);
    }

    /** The longest of all bars and lines in ms; 1 if nothing was measured. */
    public double longest() {
        double longest = 0;
        for (Row row : rows) {
            longest = row.run().p50() == null ? longest : Math.max(longest, Math.max(row.run().p50(), row.run().p90()));
        }
        return longest == 0 ? 1 : longest;
    }
}
