package org.mobilesr.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.junit.jupiter.api.Test;

class StatisticsTest {
    /** Expected: numpy.percentile and numpy.std of the same samples. */
    @Test
    void equalsNumpy() {
        double[] samples = {12.5, 3.25, 7.75, 100.0, 8.0, 9.5, 4.0, 6.125, 11.0, 5.5, 7.0};
        Statistics found = Statistics.of(samples);
        assertEquals(3.25, found.min());
        assertEquals(15.875, found.mean(), 1e-12);
        assertEquals(7.75, found.p50(), 1e-12);
        assertEquals(12.5, found.p90(), 1e-12);
        assertEquals(91.25, found.p99(), 1e-12);
        assertEquals(26.735605727874646, found.std(), 1e-12);
        assertEquals(12.5, samples[0], "the samples keep their order");
    }

    @Test
    void interpolatesBetweenTwoSamples() {
        Statistics found = Statistics.of(new double[] {2, 1});
        assertEquals(1.5, found.p50(), 1e-12);
        assertEquals(1.9, found.p90(), 1e-12);
        assertEquals(0.5, found.std(), 1e-12);
    }

    @Test
    void oneSampleIsAllOfThem() {
        assertEquals(new Statistics(4, 4, 4, 4, 4, 0), Statistics.of(new double[] {4}));
    }

    @Test
    void noSamplesAreRefused() {
        assertThrows(IllegalArgumentException.class, () -> Statistics.of(new double[0]));
    }
}
