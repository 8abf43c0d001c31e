package interop;

import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Looking messages and offsets up. */
final class QueryScenarios {
    static void add(Suite suite) {
        suite.add("query.by-key", QueryScenarios::byKey);
        suite.add("query.by-id", QueryScenarios::byId);
        suite.add("query.offsets", QueryScenarios::offsets);
        suite.add("query.offset-boundaries", QueryScenarios::boundaries);
    }

    private static void byKey(Env env) throws Exception {
        String topic = env.topic("query-key", 4);
        DefaultMQProducer producer = env.producer(topic);
        long begin = System.currentTimeMillis();
        List<String> wanted = new ArrayList<>();
        for (int i = 0; i < 30; i++) {
            Message message = Env.message(topic, "T", "q" + i);
            message.setKeys(List.of("order-" + i % 10, "own-" + i));
            Env.sent(producer.send(message));
            if (i % 10 == 3) {
                wanted.add("q" + i);
            }
        }
        // The index is built behind the log.
        Env.await("three messages by key", 5_000, () -> byKey(env, topic, "order-3", begin).size() == 3);
        List<MessageExt> found = byKey(env, topic, "order-3", begin);
        Env.sameElements("by shared key", wanted, found.stream().map(Env::body).toList());
        Env.equal("by the second key", List.of("q7"), byKey(env, topic, "own-7", begin).stream().map(Env::body).toList());
        Env.equal("by the start of a key", 0, byKey(env, topic, "order-", begin).size());
        Env.equal("by a key, before it was sent", 0, byKey(env, topic, "order-3", begin - 7_200_000, begin - 3_600_000).size());
        Env.equal("at most two", 2, env.admin.queryMessage(topic, "order-3", 2, begin - 1_000, begin + 60_000).getMessageList().size());
        producer.shutdown();
    }

    private static List<MessageExt> byKey(Env env, String topic, String key, long begin) throws Exception {
        return byKey(env, topic, key, begin - 1_000, begin + 60_000);
    }

    private static List<MessageExt> byKey(Env env, String topic, String key, long begin, long end) throws Exception {
        try {
            QueryResult result = env.admin.queryMessage(topic, key, 32, begin, end);
            return result.getMessageList();
        } catch (MQClientException e) {
            // The client says so where no broker has a message.
            Env.contains("error for no message", e.toString(), "no message");
            return List.of();
        }
    }

    private static void byId(Env env) throws Exception {
        String topic = env.topic("query-id", 2);
        DefaultMQProducer producer = env.producer(topic);
        SendResult sent = null;
        for (int i = 0; i < 5; i++) {
            sent = Env.sent(producer.send(Env.message(topic, "T", "id" + i)));
        }
        MessageExt viewed = env.admin.viewMessage(topic, sent.getOffsetMsgId());
        Env.equal("body by offset id", "id4", Env.body(viewed));
        Env.equal("queue", sent.getMessageQueue().getQueueId(), viewed.getQueueId());
        Env.equal("queue offset", sent.getQueueOffset(), viewed.getQueueOffset());
        String uniqueId = sent.getMsgId();
        Env.await("the message by unique id", 5_000, () -> {
            try {
                return Env.body(env.admin.viewMessage(topic, uniqueId)).equals("id4");
            } catch (Exception notYetIndexed) {
                return false;
            }
        });
        String beyond = sent.getOffsetMsgId().substring(0, 16) + "00000000FFFFFFF0";
        try {
            env.admin.viewMessage(topic, beyond);
            throw new AssertionError("a message was found beyond the end of the log");
        } catch (Exception e) {
            Env.check(!(e instanceof RuntimeException), "an unexpected error: " + e);
        }
        producer.shutdown();
    }

    private static void offsets(Env env) throws Exception {
        String topic = env.topic("query-offsets", 2);
        DefaultMQProducer producer = env.producer(topic);
        MessageQueue queue = new MessageQueue(topic, env.brokerName, 0);
        MessageQueue empty = new MessageQueue(topic, env.brokerName, 1);
        long before = System.currentTimeMillis();
        long middle = 0;
        for (int i = 0; i < 20; i++) {
            if (i == 12) {
                Thread.sleep(30);
                middle = System.currentTimeMillis();
                Thread.sleep(30);
            }
            Env.sent(producer.send(Env.message(topic, "T", "t" + i), queue));
        }
        Env.equal("min offset", 0L, env.admin.minOffset(queue));
        Env.await("the max offset", 2_000, () -> env.admin.maxOffset(queue) == 20);
        Env.equal("max offset of an empty queue", 0L, env.admin.maxOffset(empty));
        Env.equal("offset at a time between", 12L, env.admin.searchOffset(queue, middle));
        Env.equal("offset at a time before", 0L, env.admin.searchOffset(queue, before - 60_000));
        Env.equal("offset at a time after", 20L, env.admin.searchOffset(queue, System.currentTimeMillis() + 60_000));
        Env.equal("offset in an empty queue", 0L, env.admin.searchOffset(empty, middle));
        long earliest = env.admin.earliestMsgStoreTime(queue);
        Env.check(earliest >= before && earliest <= middle, "earliest store time " + earliest + ", sent after " + before);
        Env.equal("earliest store time of an empty queue", -1L, env.admin.earliestMsgStoreTime(empty));
        producer.shutdown();
    }

    /** The first message from a time on, and the last up to it, with many messages in the same millisecond. */
    private static void boundaries(Env env) throws Exception {
        String topic = env.topic("query-boundaries", 1);
        DefaultMQProducer producer = env.producer(topic);
        MessageQueue queue = new MessageQueue(topic, env.brokerName, 0);
        for (int batch = 0; batch < 6; batch++) {
            List<Message> messages = new ArrayList<>();
            for (int i = 0; i < 8; i++) {
                messages.add(Env.message(topic, "T", batch + "/" + i));
            }
            Env.sent(producer.send(messages, queue));
            Thread.sleep(7);
        }
        Env.await("the max offset", 2_000, () -> env.admin.maxOffset(queue) == 48);
        List<Long> times = Pulled.all(env, topic).stream().map(MessageExt::getStoreTimestamp).toList();
        long first = times.get(0);
        long last = times.get(47);
        for (long time = first - 2; time <= last + 2; time++) {
            long at = time;
            long lower = times.stream().filter(stored -> stored < at).count();
            long upper = times.stream().filter(stored -> stored <= at).count() - 1;
            Env.equal("first from " + (time - first) + " ms on", lower, env.admin.searchLowerBoundaryOffset(queue, time));
            // Before all of them it is the first.
            long expected = Math.max(upper, 0);
            Env.equal("last up to " + (time - first) + " ms", expected, env.admin.searchUpperBoundaryOffset(queue, time));
        }
        Env.equal("last up to an hour later", 47L, env.admin.searchUpperBoundaryOffset(queue, last + 3_600_000));
        Env.equal("last up to an hour before", 0L, env.admin.searchUpperBoundaryOffset(queue, first - 3_600_000));
        producer.shutdown();
    }
}
