package interop;

import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONArray;
import com.alibaba.fastjson2.JSONObject;
import com.alibaba.fastjson2.JSONWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.TreeMap;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/** Rows of raw requests: a file each, with the answer's code, remark and fields, and what it brought. */
final class DifferentialAnswers {
    private final Path folder;
    private final String kind;

    DifferentialAnswers(Path folder, String kind) {
        this.folder = folder;
        this.kind = kind;
    }

    void write(String request, String row, RemotingCommand answer, String body) throws Exception {
        StringBuilder text = new StringBuilder("$ ").append(kind).append(' ').append(request).append(' ').append(row).append('\n');
        text.append("code: ").append(answer.getCode()).append("\nremark: ").append(String.valueOf(answer.getRemark()).replaceAll("\\s+", " ")).append('\n');
        if (answer.getExtFields() != null) {
            new TreeMap<>(answer.getExtFields()).forEach((name, value) -> text.append(name).append(": ").append(value).append('\n'));
        }
        if (body != null) {
            text.append("body: ").append(body).append('\n');
        }
        Files.writeString(folder.resolve(kind + "." + request + "." + row + ".txt"), text);
    }

    /** JSON with a line for each value, in the order of names; lists have no order. */
    static String lines(byte[] body) {
        return body == null ? null : JSON.toJSONString(sorted(JSON.parseObject(body)), JSONWriter.Feature.MapSortField, JSONWriter.Feature.PrettyFormat,
            JSONWriter.Feature.WriteMapNullValue).replace("\t", " ");
    }

    private static Object sorted(Object value) {
        if (value instanceof JSONObject object) {
            object.replaceAll((name, of) -> sorted(of));
            // Apache's knows it only with liteLagLatencyCollectEnable.
            object.remove("lagTimestampTopK");
        } else if (value instanceof JSONArray array) {
            array.replaceAll(DifferentialAnswers::sorted);
            if (array.stream().allMatch(String.class::isInstance)) {
                array.sort(null);
            } else {
                array.sort(Comparator.comparing(of -> String.valueOf(((JSONObject) of).get("liteTopic"))));
            }
        }
        return value;
    }
}
