package org.mobilesr.core;

import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.BitSet;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;

/**
 * The signatures of a file: names of graphs. An AdaDSR file has two, the same network on a dense and on a sparse path.
 *
 * <p>The interpreter runs a file's first graph, so that the bytes are changed to have the wanted one there, as
 * converters/tflite/flatbuffer.py does. Its own way to run another one, runSignature, takes no image of another size as bytes.
 */
final class Signatures {
    static final int OPERATOR_CODES = 1;
    static final int SUBGRAPHS = 2;
    static final int OPERATORS = 3;
    static final int SIGNATURES = 7;
    /** Of a signature. */
    private static final int KEY = 2;

    private static final int SUBGRAPH_INDEX = 4;
    /** Of an operator: the kind of its options, the options, and the kind of those of newer operators. */
    private static final int OPTIONS_KIND = 3;

    private static final int OPTIONS = 4;
    private static final int NEWER_KIND = 11;
    /** Kinds of options whose first field, or first two, are indices of graphs. */
    private static final Map<Integer, Integer> CALLS = Map.of(16, 1, 92, 2, 93, 2, 103, 1); // CALL, IF, WHILE, CALL_ONCE
    /** Pairs of operators of which the second waits for the first, for each graph (converters/tflite/op_order.py). */
    private static final String CONTROL_DEPENDENCIES = "model_control_dependencies";

    /** XNNPACK of TensorFlow Lite 2.16 refuses the sparse path, all delegates take the dense one. */
    private static final String[] PREFERRED = {"dense", "serving_default"};

    private final FlatTables file;
    private final Map<String, Integer> graphs = new LinkedHashMap<>();

    Signatures(FlatTables file) {
        this.file = file;
        int count = file.tables(file.root(), SUBGRAPHS).length;
        for (int signature : file.tables(file.root(), SIGNATURES)) {
            graphs.put(file.text(signature, KEY), checked(file.number(signature, SUBGRAPH_INDEX), count));
        }
    }

    private static int checked(int graph, int count) {
        if (graph < 0 || graph >= count) {
            throw new IndexOutOfBoundsException();
        }
        return graph;
    }

    Set<String> names() {
        return graphs.keySet();
    }

    String choose(String wanted) {
        if (wanted == null) {
            String only = graphs.size() == 1 ? names().iterator().next() : null;
            return Arrays.stream(PREFERRED).filter(graphs::containsKey).findFirst().orElse(only);
        }
        if (!graphs.containsKey(wanted)) {
            String known = graphs.isEmpty() ? "none" : String.join(", ", names());
            throw new IllegalArgumentException("no signature '" + wanted + "'; the file has " + known);
        }
        return wanted;
    }

    /**
     * The bytes with the signature's graph as the first, without signatures, and without graphs at the end that it does not use;
     * those of a file without a choice as they are.
     */
    byte[] alone(String name) {
        if (graphs.size() < 2 && graphs.get(name) == 0) {
            return file.bytes;
        }
        FlatTables copy = new FlatTables(file.bytes.clone());
        try {
            copy.data.putInt(copy.place(copy.root(), SIGNATURES), 0);
            if (graphs.get(name) != 0) {
                swap(copy, graphs.get(name));
            }
            // A delegate is offered every graph, and one that it refuses makes the interpreter refuse the file.
            copy.data.putInt(copy.place(copy.root(), SUBGRAPHS), used(copy).length());
        } catch (IndexOutOfBoundsException error) {
            throw new IllegalArgumentException("a damaged .tflite file", error);
        }
        return copy.bytes;
    }

    private static void swap(FlatTables file, int graph) {
        int[] subgraphs = file.tables(file.root(), SUBGRAPHS);
        BitSet called = new BitSet();
        for (int subgraph : subgraphs) {
            called.or(called(file, subgraph, subgraphs.length));
        }
        if (called.get(0) || called.get(graph)) {
            throw new IllegalArgumentException(
                    "an operator calls graph " + graph + " or 0, which belong to signatures: not supported");
        }
        swapControlDependencies(file, subgraphs, graph);
        int first = file.place(file.root(), SUBGRAPHS) + 4;
        int other = first + 4 * graph;
        file.data.putInt(first, subgraphs[graph] - first).putInt(other, subgraphs[0] - other);
    }

    /** The first graph and those that it calls, and so on. */
    private static BitSet used(FlatTables file) {
        int[] subgraphs = file.tables(file.root(), SUBGRAPHS);
        BitSet used = new BitSet();
        Deque<Integer> open = new ArrayDeque<>();
        open.push(0);
        while (!open.isEmpty()) {
            int graph = open.pop();
            if (!used.get(graph)) {
                used.set(graph);
                called(file, subgraphs[graph], subgraphs.length).stream().forEach(open::push);
            }
        }
        return used;
    }

    /** The graphs that a graph's operators call; all, where an operator is of a newer kind, which may hold anything. */
    private static BitSet called(FlatTables file, int subgraph, int count) {
        BitSet called = new BitSet();
        for (int operator : file.tables(subgraph, OPERATORS)) {
            int kind = kind(file, operator, OPTIONS_KIND);
            if (kind(file, operator, NEWER_KIND) != 0) {
                called.set(0, count);
            }
            for (int field = 0; field < CALLS.getOrDefault(kind, 0); field++) {
                int options = file.place(operator, OPTIONS);
                called.set(checked(options == 0 ? 0 : file.number(options, field), count));
            }
        }
        return called;
    }

    private static int kind(FlatTables file, int operator, int field) {
        int place = file.field(operator, field);
        return place == 0 ? 0 : Byte.toUnsignedInt(file.data.get(place));
    }

    private static void swapControlDependencies(FlatTables file, int[] subgraphs, int graph) {
        for (int entry : file.tables(file.root(), FlatTables.METADATA)) {
            if (file.text(entry, 0).equals(CONTROL_DEPENDENCIES)) {
                int buffer = file.tables(file.root(), FlatTables.BUFFERS)[file.number(entry, 1)];
                int[] operators = Arrays.stream(subgraphs).map(table -> file.tables(table, OPERATORS).length).toArray();
                byte[] swapped = new ControlDependencies(file.byteVector(buffer, 0), operators).swapped(graph);
                System.arraycopy(swapped, 0, file.bytes, file.place(buffer, 0) + 4, swapped.length);
                return;
            }
        }
    }
}
