package org.mobilesr.core;

import java.util.List;
import java.util.Map;

/** Maps, lists, strings, numbers, booleans and null as JSON text; numbers that JSON lacks are refused. */
public final class Json {
    private Json() {}

    public static String write(Object value) {
        StringBuilder text = new StringBuilder();
        append(text, value, "\n");
        return text.append('\n').toString();
    }

    private static void append(StringBuilder text, Object value, String newline) {
        if (value instanceof Map<?, ?> map) {
            String separator = "{";
            for (Map.Entry<?, ?> entry : map.entrySet()) {
                text.append(separator).append(newline).append("  ");
                appendString(text, (String) entry.getKey());
                text.append(": ");
                append(text, entry.getValue(), newline + "  ");
                separator = ",";
            }
            text.append(map.isEmpty() ? "{}" : newline + "}");
        } else if (value instanceof List<?> list) {
            String separator = "[";
            for (Object element : list) {
                text.append(separator);
                append(text, element, newline + "  ");
                separator = ", ";
            }
            text.append(list.isEmpty() ? "[]" : "]");
        } else if (value instanceof String string) {
            appendString(text, string);
        } else if (value instanceof Number number) {
            if (!Double.isFinite(number.doubleValue())) {
                throw new IllegalArgumentException("JSON has no number " + number);
            }
            text.append(number);
        } else if (value == null || value instanceof Boolean) {
            text.append(value);
        } else {
            throw new IllegalArgumentException("JSON has no " + value.getClass().getName());
        }
    }

    private static void appendString(StringBuilder text, String string) {
        text.append('"');
        for (int i = 0; i < string.length(); i++) {
            char character = string.charAt(i);
            switch (character) {
                case '"' -> text.append("\\\"");
                case '\\' -> text.append("\\\\");
                case '\n' -> text.append("\\n");
                default -> {
                    boolean plain = character >= 32 && character != 127 && !Character.isSurrogate(character);
                    text.append(plain ? String.valueOf(character) : String.format("\\u%04x", (int) character));
                }
            }
        }
        text.append('"');
    }
}
