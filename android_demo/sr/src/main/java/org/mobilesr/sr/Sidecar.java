package org.mobilesr.sr;

import org.json.JSONArray;
import org.json.JSONException;
import org.json.JSONObject;

/** What the JSON file that `mobile-sr export` writes beside a .tflite says about it; docs/reference/sidecar.md has its fields. */
final class Sidecar {
    /** LR pixels to each side that an output pixel depends on; null where it is not known, or the network sees all. */
    final Integer receptiveField;

    /** The largest desired depth in blocks; null for files without one. */
    final Double maxDepth;

    private Sidecar(Integer receptiveField, Double maxDepth) {
        this.receptiveField = receptiveField;
        this.maxDepth = maxDepth;
    }

    /**
     * @param text the JSON, null without a sidecar.
     * @param sha256 of the model file, hexadecimal.
     * @throws IllegalArgumentException when the text is no sidecar, or that of another file.
     */
    static Sidecar of(String text, String sha256) {
        if (text == null) {
            return new Sidecar(null, null);
        }
        try {
            JSONObject json = new JSONObject(text);
            if (!json.getString("sha256").equals(sha256)) {
                throw new IllegalArgumentException("the sidecar belongs to another file: its sha256 differs");
            }
            Integer field = json.isNull("receptive_field") ? null : json.getInt("receptive_field");
            JSONArray depth = json.isNull("desired_depth") ? null : json.getJSONArray("desired_depth");
            if (field != null && (field < 0 || field > 4096)) {
                throw new IllegalArgumentException("the sidecar's receptive_field " + field + " is not within 0..4096");
            }
            return new Sidecar(field, depth == null ? null : depth.getDouble(1));
        } catch (JSONException error) {
            throw new IllegalArgumentException("the sidecar is damaged: " + error.getMessage(), error);
        }
    }
}
