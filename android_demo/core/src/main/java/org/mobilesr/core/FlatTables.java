package org.mobilesr.core;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * The tables of a FlatBuffer. Places are offsets into its bytes; what lies outside of them throws IndexOutOfBoundsException.
 *
 * <p>A table starts with the distance back to its vtable; the vtable holds, behind its own two lengths, where each field lies.
 */
final class FlatTables {
    /** Fields of a .tflite file's root. */
    static final int BUFFERS = 4;

    static final int METADATA = 6;

    final byte[] bytes;
    final ByteBuffer data;

    FlatTables(byte[] bytes) {
        this.bytes = bytes;
        data = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }

    /** The table that the file is. */
    int root() {
        return follow(0);
    }

    /** Where in the vtable the place of a field stands, 0 when the table lacks the field. */
    int entry(int table, int field) {
        int vtable = table - data.getInt(table);
        int entry = vtable + 4 + 2 * field;
        return entry + 2 <= vtable + Short.toUnsignedInt(data.getShort(vtable)) ? entry : 0;
    }

    /** Where a field lies, 0 when it has its default. */
    int field(int table, int field) {
        int entry = entry(table, field);
        int offset = entry == 0 ? 0 : Short.toUnsignedInt(data.getShort(entry));
        return offset == 0 ? 0 : table + offset;
    }

    /** A field that holds a whole number, whose default is 0. */
    int number(int table, int field) {
        int place = field(table, field);
        return place == 0 ? 0 : data.getInt(place);
    }

    /** The element of a vector of floats that has exactly one, otherwise 0. */
    float onlyFloat(int table, int field) {
        int place = place(table, field);
        return length(place, 4) == 1 ? data.getFloat(place + 4) : 0;
    }

    /** The element of a vector of 64-bit numbers that has exactly one, otherwise 0. */
    long onlyLong(int table, int field) {
        int place = place(table, field);
        return length(place, 8) == 1 ? data.getLong(place + 4) : 0;
    }

    private int follow(int place) {
        return place + data.getInt(place);
    }

    /** Where the table, vector or string of a field lies, 0 when there is none. A vector starts with its length. */
    int place(int table, int field) {
        int place = field(table, field);
        return place == 0 ? 0 : follow(place);
    }

    private int length(int place, int bytesEach) {
        int length = place == 0 ? 0 : data.getInt(place);
        if (length < 0 || length > (bytes.length - place - 4) / bytesEach) {
            throw new IndexOutOfBoundsException();
        }
        return length;
    }

    int[] vector(int table, int field) {
        int place = place(table, field);
        int[] values = new int[length(place, 4)];
        for (int i = 0; i < values.length; i++) {
            values[i] = data.getInt(place + 4 + 4 * i);
        }
        return values;
    }

    /** The places of a vector of tables, which holds distances, each from its own place. */
    int[] tables(int table, int field) {
        int place = place(table, field);
        int[] offsets = vector(table, field);
        for (int i = 0; i < offsets.length; i++) {
            offsets[i] += place + 4 + 4 * i;
        }
        return offsets;
    }

    /** A copy of a vector of bytes. */
    byte[] byteVector(int table, int field) {
        int place = place(table, field);
        int length = length(place, 1);
        return length == 0 ? new byte[0] : Arrays.copyOfRange(bytes, place + 4, place + 4 + length);
    }

    String text(int table, int field) {
        return new String(byteVector(table, field), StandardCharsets.UTF_8);
    }

    /** The bytes that a .tflite file has under a name; null if it has none. */
    byte[] metadata(String name) {
        for (int entry : tables(root(), METADATA)) {
            if (text(entry, 0).equals(name)) {
                return byteVector(tables(root(), BUFFERS)[number(entry, 1)], 0);
            }
        }
        return null;
    }
}
