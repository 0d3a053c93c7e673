package org.mobilesr.core;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** On the zoo's AdaDSR file, whose dense graph is the first and whose sparse one the second. */
class SignaturesTest {
    private static byte[] zoo(String name) throws IOException {
        return Files.readAllBytes(Path.of("../../mobile_sr/zoo", name));
    }

    private static byte[] ada() throws IOException {
        return zoo("adaedsr_b8_x2_sparse_uint8.tflite");
    }

    @Test
    void choosesByName() throws IOException {
        ModelFile file = new ModelFile(ada());
        assertEquals(List.of("dense", "sparse"), file.signatures());
        assertEquals("dense", file.signature(null));
        assertEquals("sparse", file.signature("sparse"));
        Exception error = assertThrows(IllegalArgumentException.class, () -> file.signature("fast"));
        assertEquals("no signature 'fast'; the file has dense, sparse", error.getMessage());
    }

    @Test
    void theSparseGraphTradesPlacesAndTheDenseOneIsAlone() throws IOException {
        ModelFile file = new ModelFile(ada());
        String before = file.sha256();
        ModelFile sparse = file.withSignature("sparse");
        assertTrue(sparse.operators() > file.operators());
        assertEquals(file.graphs(), sparse.graphs(), "what its IF calls stays");
        assertEquals(List.of(), sparse.signatures());
        assertNull(sparse.signature(null));
        ModelFile dense = file.withSignature("dense");
        assertEquals(file.operators(), dense.operators());
        assertEquals(1, dense.graphs());
        assertArrayEquals(new int[] {36, 64}, dense.withSize(36, 64).fixedSize());
        assertEquals(before, file.sha256());
    }

    @Test
    void aFileWithoutAChoiceStaysAsItIs() throws IOException {
        ModelFile file = new ModelFile(zoo("xlsr_x3_uint8.tflite"));
        assertEquals(file.sha256(), file.withSignature(file.signature(null)).sha256());
        assertEquals(file, file.withSignature(null));
    }

    /** IF's branches are graphs 2 and 3. */
    @Test
    void aGraphThatAnOperatorCallsStaysInItsPlace() throws IOException {
        for (int called : new int[] {0, 1}) {
            byte[] bytes = ada();
            FlatTables file = new FlatTables(bytes);
            int sparse = file.tables(file.root(), Signatures.SUBGRAPHS)[1];
            int branch = Arrays.stream(file.tables(sparse, Signatures.OPERATORS))
                    .filter(operator -> file.field(operator, 3) > 0 && file.data.get(file.field(operator, 3)) == 92)
                    .map(operator -> file.field(file.place(operator, 4), 0))
                    .findFirst()
                    .getAsInt();
            file.data.putInt(branch, called);
            Exception error = assertThrows(IllegalArgumentException.class, () -> new ModelFile(bytes).withSignature("sparse"));
            assertEquals("an operator calls graph 1 or 0, which belong to signatures: not supported", error.getMessage());
            assertEquals(1, new ModelFile(bytes).withSignature("dense").graphs());
            file.data.putInt(branch, 1000);
            assertThrows(IllegalArgumentException.class, () -> new ModelFile(bytes).withSignature("sparse"));
        }
    }

    /** Two graphs of 3 and 4 operators, the second with the pairs (0, 1) and (1, 3). */
    private static final byte[] PAIRS = {1, 2, 0, 2, 0, 2, 2, 6};

    @Test
    void controlDependenciesGoWithTheirGraphs() {
        assertArrayEquals(new byte[] {1, 2, 2, 0, 2, 2, 6, 0}, new ControlDependencies(PAIRS, new int[] {3, 4}).swapped(1));
        byte[] large = {1, 2, 1, 0, (byte) 0x82, 2, 0};
        assertArrayEquals(new byte[] {1, 2, 0, 1, 0, (byte) 0x82, 2}, new ControlDependencies(large, new int[] {200, 1}).swapped(1));
    }

    @Test
    void controlDependenciesOfAnotherFileAreRefused() {
        int[][] operators = {{3}, {3, 3}, {3, 4, 5}};
        for (int[] wrong : operators) {
            assertThrows(IndexOutOfBoundsException.class, () -> new ControlDependencies(PAIRS, wrong));
        }
        byte[][] damaged = {
            {}, {2, 2, 0, 0}, {1, 2, 0}, {1, 2, 0, 0, 0}, {1, 2, 0, 1, 2, 2}, {1, 2, 0, 1, 0, 3}, {1, 2, 0, 1, 0},
            {1, 2, 0, (byte) 0x80}, {1, 2, 0, -1, -1, -1, -1, -1, 1},
        };
        for (byte[] bytes : damaged) {
            assertThrows(IndexOutOfBoundsException.class, () -> new ControlDependencies(bytes, new int[] {3, 4}));
        }
    }

    /** Whatever is damaged, nothing but IllegalArgumentException comes out. */
    @Test
    void damagedFilesAreReadOrRefused() throws IOException {
        byte[] good = ada();
        Random random = new Random(3);
        int refused = 0;
        for (int trial = 0; trial < 300; trial++) {
            byte[] bad = good.clone();
            for (int i = 0; i < 1 << trial % 11; i++) {
                bad[random.nextInt(bad.length)] = (byte) random.nextInt();
            }
            bad = trial % 2 == 0 ? bad : Arrays.copyOf(bad, 1 + random.nextInt(good.length - 1));
            try {
                ModelFile file = new ModelFile(bad);
                file.withSignature(file.signature(null)).withSize(8, 8);
                file.withSignature(file.signature("sparse"));
            } catch (IllegalArgumentException error) {
                refused++;
            }
        }
        assertNotEquals(0, refused);
    }
}
