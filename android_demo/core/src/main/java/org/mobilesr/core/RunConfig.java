package org.mobilesr.core;

import java.util.Map;
import java.util.regex.Pattern;

/**
 * A benchmark as it was asked for.
 *
 * @param model a file name in the app's models folder, or "asset:NAME.tflite".
 * @param image a file name in the app's images folder, "asset:NAME.png", or NOISE.
 * @param depth the desired depth of an AdaDSR file; null for others.
 * @param signature which one of a file's runs; null leaves the choice to `ModelFile.signature`.
 * @param output the name of the result.
 */
public record RunConfig(
        String model, String image, Delegate delegate, int threads, int warmup, int runs, Double depth, String signature,
        String output) {
    public static final String ASSET = "asset:";
    public static final String DEFAULT_MODEL = "asset:xlsr_x3_uint8.tflite";
    public static final String DEFAULT_IMAGE = "asset:rocket_640x360.png";
    /** In place of an image: random values for all inputs of any file, whose output is not looked at. */
    public static final String NOISE = "generated:noise";

    public static final int MOST_THREADS = 16;
    public static final int MOST_WARMUP = 1000;
    public static final int MOST_RUNS = 10000;

    private static final Pattern OUTPUT = Pattern.compile("[A-Za-z0-9._-]{1,64}");
    private static final Pattern FILE = Pattern.compile("[A-Za-z0-9 ._()+@=-]{1,128}");
    private static final Pattern SIGNATURE = Pattern.compile("[A-Za-z0-9_]{1,64}");
    private static final Pattern DOTS = Pattern.compile("\\.+");

    /** @return whether the file is only timed, with random inputs. */
    public boolean isNoise() {
        return NOISE.equals(image);
    }

    /** @throws IllegalArgumentException with one line that says which argument is wrong and why. */
    public RunConfig {
        checkFile("model", model);
        if (model.startsWith(ASSET) && !model.endsWith(".tflite")) {
            throw new IllegalArgumentException("model '" + model + "' is no .tflite file");
        }
        if (!NOISE.equals(image)) {
            checkFile("image", image);
        }
        checkOutput(output);
        checkNumber("threads", threads, 1, MOST_THREADS);
        checkNumber("warmup", warmup, 0, MOST_WARMUP);
        checkNumber("runs", runs, 1, MOST_RUNS);
        if (depth != null && !(depth >= 0 && depth <= 1000)) {
            throw new IllegalArgumentException("depth " + depth + " is not within 0..1000");
        }
        if (signature != null && !SIGNATURE.matcher(signature).matches()) {
            throw new IllegalArgumentException("signature must be a name of 1 to 64 letters, digits or '_'");
        }
    }

    /**
     * From an intent's extras; numbers may come as numbers or as text.
     *
     * @throws IllegalArgumentException with one line that says which argument is wrong and why.
     */
    public static RunConfig parse(Map<String, ?> extras) {
        Object depth = extras.get("depth");
        return new RunConfig(
                text(extras, "model", null),
                text(extras, "image", DEFAULT_IMAGE),
                Delegate.named(text(extras, "delegate", "cpu")),
                whole(extras, "threads", 4),
                whole(extras, "warmup", 3),
                whole(extras, "runs", 20),
                depth == null ? null : number("depth", depth),
                text(extras, "signature", null),
                text(extras, "output", null));
    }

    /** @throws IllegalArgumentException when the name of a result could be a path, or is missing. */
    public static void checkOutput(String output) {
        if (output == null || !OUTPUT.matcher(output).matches() || DOTS.matcher(output).matches()) {
            throw new IllegalArgumentException("output must be a name of 1 to 64 letters, digits, '.', '_' or '-'");
        }
    }

    private static void checkFile(String what, String name) {
        if (name == null || name.isEmpty()) {
            throw new IllegalArgumentException(what + " is missing");
        }
        String file = name.startsWith(ASSET) ? name.substring(ASSET.length()) : name;
        if (!FILE.matcher(file).matches() || DOTS.matcher(file).matches()) {
            throw new IllegalArgumentException(what + " must be a file name without a path");
        }
    }

    private static void checkNumber(String what, int number, int least, int most) {
        if (number < least || number > most) {
            throw new IllegalArgumentException(what + " " + number + " is not within " + least + ".." + most);
        }
    }

    private static String text(Map<String, ?> extras, String key, String otherwise) {
        Object value = extras.get(key);
        return value == null ? otherwise : value.toString();
    }

    private static int whole(Map<String, ?> extras, String key, int otherwise) {
        Object value = extras.get(key);
        if (value == null) {
            return otherwise;
        }
        double number = number(key, value);
        if (number != (int) number) {
            throw new IllegalArgumentException(key + " '" + oneLine(value) + "' is no whole number");
        }
        return (int) number;
    }

    private static double number(String key, Object value) {
        try {
            return value instanceof Number number ? number.doubleValue() : Double.parseDouble(value.toString());
        } catch (NumberFormatException error) {
            throw new IllegalArgumentException(key + " '" + oneLine(value) + "' is no number");
        }
    }

    /** Any text as one short line, for the log and for messages. */
    public static String oneLine(Object text) {
        String line = String.valueOf(text).replaceAll("[\\p{Cntrl}\\s]+", " ").strip();
        return line.length() <= 300 ? line : line.substring(0, 299) + "…";
    }
}
