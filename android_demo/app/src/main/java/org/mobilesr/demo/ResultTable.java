package org.mobilesr.demo;

import java.util.ArrayList;
import java.util.List;
import org.json.JSONArray;
import org.json.JSONException;
import org.json.JSONObject;

/** Result files as one file for other programs. */
final class ResultTable {
    private static final String[] COLUMNS = {
        "date", "device", "android", "litert", "width", "height", "runs", "warmup", "thermal", "background"
    };
    private static final String[] MEASURES = {
        "model", "sha256", "requested_delegate", "effective_delegate", "threads", "signature", "init_ms", "memory_pss_bytes",
        "psnr_vs_cpu", "psnr_vs_reference", "error"
    };
    private static final String[] TIMES = {"min", "p50", "p90"};

    private ResultTable() {}

    /** One row for each; the columns are named as in the result files. Unknown values are empty. */
    static String csv(List<JSONObject> results) {
        StringBuilder csv = new StringBuilder("where," + String.join(",", COLUMNS) + ",")
                .append(String.join(",", MEASURES)).append(",min_ms,p50_ms,p90_ms\n");
        for (JSONObject json : results) {
            try {
                csv.append(row(json)).append('\n');
            } catch (JSONException error) {
                continue; // not a result
            }
        }
        return csv.toString();
    }

    private static String row(JSONObject json) throws JSONException {
        JSONObject measured = json.getJSONArray("results").getJSONObject(0);
        List<String> cells = new ArrayList<>();
        cells.add(cell(json, "where"));
        for (String column : COLUMNS) {
            cells.add(cell(json.getJSONObject("environment"), column));
        }
        for (String column : MEASURES) {
            cells.add(cell(measured, column));
        }
        for (String column : TIMES) {
            cells.add(measured.isNull("latency_ms") ? "" : cell(measured.getJSONObject("latency_ms"), column));
        }
        return String.join(",", cells);
    }

    private static String cell(JSONObject json, String key) {
        String text = json.isNull(key) ? "" : String.valueOf(json.opt(key));
        return text.matches("[^,\"\n\r]*") ? text : '"' + text.replace("\"", "\"\"") + '"';
    }

    /** A collection as `mobile-sr benchmark --json` writes it for a device. */
    static String json(List<JSONObject> results) throws JSONException {
        JSONObject collection = new JSONObject();
        collection.put("format", "mobile-sr benchmark 1");
        collection.put("reports", new JSONArray(results));
        return collection.toString(2);
    }
}
