package interop;

import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

/** A compacted topic in a folder that goes from server to server: what stays of it stays, whoever compacts. */
final class TakeoverCompaction {
    private static final String TOPIC = "takeover-compacted";
    private static final int KEYS = 4;
    private static final int ROUNDS = 15;

    private final Map<String, String> values = new TreeMap<>();

    static void create(Env env) throws Exception {
        env.topicWith(TOPIC, "+cleanup.policy", "COMPACTION");
    }

    /** What the stages before left is there, and the newest of each key only. */
    void check(Env env) throws Exception {
        MessageQueue queue = new MessageQueue(TOPIC, env.brokerName, 0);
        Env.equal("compacted values", values, CompactionScenarios.values(CompactionScenarios.read(env, queue, 0)));
    }

    /** Keys that each stage writes anew, and one of its own. */
    void leave(Env env, DefaultMQProducer producer, String name) throws Exception {
        MessageQueue queue = new MessageQueue(TOPIC, env.brokerName, 0);
        put(producer, queue, name + "once", name);
        for (int round = 0; round < ROUNDS; round++) {
            for (int key = 0; key < KEYS; key++) {
                put(producer, queue, "k" + key, name + round);
            }
        }
        check(env);
    }

    private void put(DefaultMQProducer producer, MessageQueue queue, String key, String value) throws Exception {
        Message message = Env.message(TOPIC, "T", value);
        message.setKeys(key);
        Env.sent(producer.send(message, queue));
        values.put(key, value);
    }
}
