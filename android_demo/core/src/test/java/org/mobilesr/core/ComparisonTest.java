package org.mobilesr.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.junit.jupiter.api.Test;

class ComparisonTest {
    private static Comparison.Run run(String model, String sha256, String place, Double p50) {
        Double p90 = p50 == null ? null : Double.valueOf(p50 + 2);
        return new Comparison.Run(model, sha256, "cpu", "cpu", 1, place, p50, p50, p90, null, p50 == null ? "refused" : null);
    }

    @Test
    void theFastestComesFirstAndFailedOnesLast() {
        Comparison found = Comparison.of(List.of(
                run("a", "1", "phone 640x360", null), run("a", "1", "phone 640x360", 30.0), run("b", "2", "phone 640x360", 20.0)));
        assertEquals(List.of("b", "a", "a"), found.rows().stream().map(row -> row.run().model()).toList());
        assertEquals(1.5, found.rows().get(1).ratio());
        assertNull(found.rows().get(2).ratio());
        assertEquals(List.of(0, 1, 1), found.rows().stream().map(Comparison.Row::file).toList());
        assertEquals(32, found.longest());
        assertEquals(20 / 32f, found.rows().get(0).share(20.0, found.longest()));
        assertTrue(found.isFair());
    }

    @Test
    void otherDevicesOrSizesDoNotCompare() {
        assertFalse(Comparison.of(List.of(run("a", "1", "phone 640x360", 1.0), run("a", "1", "phone 150x100", 2.0))).isFair());
        assertTrue(Comparison.of(List.of(run("a", "1", "phone 640x360", 1.0), run("a", "1", "null", null))).isFair());
        assertEquals(1, Comparison.of(List.of(run("a", null, "null", null))).longest());
    }

    @Test
    void aFileForAChipIsOfferedThereOnly() {
        List<Delegate> all = List.of(Delegate.CPU, Delegate.GPU, Delegate.NPU);
        assertEquals(List.of(Delegate.CPU, Delegate.GPU), Delegate.offered(null, "SM8650", all));
        assertEquals(List.of(Delegate.NPU), Delegate.offered("SM8650", "SM8650", all));
        assertEquals(List.of(Delegate.NPU), Delegate.offered("SM8650", "SM8650-AC", all));
        assertEquals(List.of(), Delegate.offered("SM8650", "SM86501", all));
        assertEquals(List.of(), Delegate.offered("SM8650", null, all));
        assertEquals(List.of(), Delegate.offered("SM8650", "SM8650", List.of(Delegate.CPU)));
    }
}
