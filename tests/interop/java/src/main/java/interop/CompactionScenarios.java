package interop;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.ResponseCode;

/** Topics of which the newest message of each key stays: by the runner's settings, compacted every second or two. */
final class CompactionScenarios {
    private static final int KEYS = 6;
    private static final int ROUNDS = 30;
    /** Messages of one file of the compacted log, by the runner's settings; the last file is not compacted. */
    private static final int FILE = 9;

    static void add(Suite suite) {
        suite.add("compaction.newest-stays", CompactionScenarios::newestStays);
        suite.add("compaction.key-is-required", CompactionScenarios::keyIsRequired);
    }

    private static void newestStays(Env env) throws Exception {
        String topic = env.topicWith("compaction-newest", "+cleanup.policy", "COMPACTION");
        MessageQueue queue = new MessageQueue(topic, env.brokerName, 0);
        DefaultMQProducer producer = env.producer(topic);
        for (int round = 0; round < ROUNDS; round++) {
            for (int key = 0; key < KEYS; key++) {
                Message message = Env.message(topic, "T", "v" + round);
                message.setKeys("k" + key);
                Env.equal("offset", (long) round * KEYS + key, Env.sent(producer.send(message, queue)).getQueueOffset());
            }
        }
        Map<String, String> expected = new TreeMap<>();
        for (int key = 0; key < KEYS; key++) {
            expected.put("k" + key, "v" + (ROUNDS - 1));
        }
        Env.equal("at once", expected, values(read(env, queue, 0)));
        Env.await("the compaction of " + topic, 30_000, () -> read(env, queue, 0).size() <= KEYS + FILE);
        List<MessageExt> messages = read(env, queue, 0);
        Env.equal("after the compaction", expected, values(messages));
        for (MessageExt message : messages) {
            long offset = message.getQueueOffset();
            Env.equal("key at " + offset, "k" + offset % KEYS, message.getKeys());
            Env.equal("value at " + offset, "v" + offset / KEYS, Env.body(message));
        }
        long second = messages.get(1).getQueueOffset();
        Env.equal("from an offset on", messages.size() - 1, read(env, queue, second).size());
        Env.equal("end", (long) KEYS * ROUNDS, env.admin.maxOffset(queue));
        producer.shutdown();
    }

    private static void keyIsRequired(Env env) throws Exception {
        String topic = env.topicWith("compaction-key", "+cleanup.policy", "COMPACTION");
        DefaultMQProducer producer = env.producer(topic);
        producer.setRetryTimesWhenSendFailed(0);
        try {
            producer.send(new Message(topic, "T", "no key".getBytes(StandardCharsets.UTF_8)));
            throw new AssertionError("a message without a key was taken");
        } catch (MQBrokerException e) {
            Env.equal("code", ResponseCode.MESSAGE_ILLEGAL, e.getResponseCode());
            Env.contains("remark", e.getErrorMessage(), "Required message key is missing");
        }
        producer.shutdown();
    }

    /** All messages of a queue from an offset on, as a lite consumer gets them. */
    static List<MessageExt> read(Env env, MessageQueue queue, long offset) throws Exception {
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer("C-" + queue.getTopic());
        consumer.setNamesrvAddr(env.namesrv);
        consumer.setAutoCommit(false);
        consumer.start();
        try {
            consumer.assign(List.of(queue));
            consumer.seek(queue, offset);
            long last = env.admin.maxOffset(queue) - 1;
            List<MessageExt> messages = new ArrayList<>();
            long deadline = System.nanoTime() + 20_000_000_000L;
            // The last message of a queue is never compacted.
            while (messages.isEmpty() || messages.get(messages.size() - 1).getQueueOffset() < last) {
                Env.check(System.nanoTime() < deadline, "the end of " + queue + " is not reached");
                messages.addAll(consumer.poll(500));
            }
            return messages;
        } finally {
            consumer.shutdown();
        }
    }

    static Map<String, String> values(List<MessageExt> messages) {
        Map<String, String> values = new TreeMap<>();
        messages.forEach(message -> values.put(message.getKeys(), Env.body(message)));
        return values;
    }
}
