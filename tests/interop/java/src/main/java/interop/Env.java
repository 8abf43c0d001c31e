package interop;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.body.ClusterInfo;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** The server under test, clients of it, and the checks that scenarios share. */
final class Env implements AutoCloseable {
    final String namesrv;
    final String broker;
    final String cluster;
    final String brokerName;
    final DefaultMQAdminExt admin;

    Env(String namesrv, String broker) throws Exception {
        this.namesrv = namesrv;
        this.broker = broker;
        admin = new DefaultMQAdminExt();
        admin.setNamesrvAddr(namesrv);
        admin.setInstanceName("interop-admin");
        admin.start();
        ClusterInfo info = admin.examineBrokerClusterInfo();
        cluster = info.getClusterAddrTable().keySet().iterator().next();
        brokerName = info.getBrokerAddrTable().keySet().iterator().next();
    }

    @Override
    public void close() {
        admin.shutdown();
    }

    /** Creates a topic and returns its name once the name server knows it. */
    String topic(String name, int queues) throws Exception {
        admin.createAndUpdateTopicConfig(broker, new TopicConfig(name, queues, queues));
        await("the route of " + name, 5_000, () -> routeExists(name));
        return name;
    }

    /** The same for a topic of one queue with an attribute, such as {@code +queue.type}. */
    String topicWith(String name, String attribute, String value) throws Exception {
        TopicConfig config = new TopicConfig(name, 1, 1);
        config.setAttributes(Map.of(attribute, value));
        admin.createAndUpdateTopicConfig(broker, config);
        await("the route of " + name, 5_000, () -> routeExists(name));
        return name;
    }

    /** Sends without waiting for the result. */
    static CompletableFuture<SendResult> sendAsync(DefaultMQProducer producer, Message message) throws Exception {
        CompletableFuture<SendResult> result = new CompletableFuture<>();
        producer.send(message, new SendCallback() {
            @Override
            public void onSuccess(SendResult sent) {
                result.complete(sent);
            }

            @Override
            public void onException(Throwable e) {
                result.completeExceptionally(e);
            }
        });
        return result;
    }

    boolean routeExists(String topic) {
        try {
            return !admin.examineTopicRouteInfo(topic).getQueueDatas().isEmpty();
        } catch (Exception e) {
            return false;
        }
    }

    List<MessageQueue> queues(String topic) throws Exception {
        List<MessageQueue> queues = new ArrayList<>(admin.examineTopicStats(topic).getOffsetTable().keySet());
        queues.sort(null);
        return queues;
    }

    /** A started producer in a group of its own. */
    DefaultMQProducer producer(String name) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("P-" + name);
        producer.setNamesrvAddr(namesrv);
        producer.start();
        return producer;
    }

    /**
     * A push consumer that is not started. It asks for routes every second, so that new retry topics are seen soon.
     * It sends heartbeats every second, because of a race in the client: where two of its threads want to send one at once,
     * the one that tells of a new subscription version is skipped, and every pull is refused (code 25) until the next.
     */
    DefaultMQPushConsumer pushConsumer(String group) {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPollNameServerInterval(1_000);
        consumer.setHeartbeatBrokerInterval(1_000);
        return consumer;
    }

    /** Sends bodies prefix0, prefix1, ... and returns them. */
    static List<String> sendMany(DefaultMQProducer producer, String topic, String tag, String prefix, int count) throws Exception {
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            bodies.add(prefix + i);
            sent(producer.send(message(topic, tag, prefix + i)));
        }
        return bodies;
    }

    static Message message(String topic, String tag, String body) {
        return new Message(topic, tag, body.getBytes(StandardCharsets.UTF_8));
    }

    static String body(MessageExt message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    static SendResult sent(SendResult result) {
        equal("send status", SendStatus.SEND_OK, result.getSendStatus());
        return result;
    }

    /** Waits for a condition, looking every 5 ms; returns the milliseconds that it took. */
    static long await(String what, long timeoutMs, Callable<Boolean> condition) throws Exception {
        long started = System.nanoTime();
        while (!condition.call()) {
            long waited = (System.nanoTime() - started) / 1_000_000;
            check(waited < timeoutMs, "waited " + timeoutMs + " ms for " + what);
            Thread.sleep(5);
        }
        return (System.nanoTime() - started) / 1_000_000;
    }

    /** Waits until a collection that other threads fill has so many elements. */
    static void awaitSize(String what, Collection<?> filled, int size, long timeoutMs) throws Exception {
        try {
            await(what, timeoutMs, () -> filled.size() >= size);
        } catch (AssertionError e) {
            throw new AssertionError(e.getMessage() + ": got " + filled.size() + " of " + size);
        }
    }

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static void equal(String what, Object expected, Object actual) {
        check(Objects.equals(expected, actual), what + ": expected <" + expected + ">, got <" + actual + ">");
    }

    /** The same elements, equally often, in any order. */
    static <T> void sameElements(String what, Collection<T> expected, Collection<T> actual) {
        Map<T, Integer> difference = new HashMap<>();
        expected.forEach(e -> difference.merge(e, 1, Integer::sum));
        actual.forEach(e -> difference.merge(e, -1, Integer::sum));
        difference.values().removeIf(count -> count == 0);
        check(difference.isEmpty(), what + ": missing (positive) or surplus (negative): " + difference);
    }

    static void contains(String what, String text, String... parts) {
        for (String part : parts) {
            check(text.contains(part), what + ": no <" + part + "> in: " + text);
        }
    }

    static <T> void distinct(String what, Collection<T> values) {
        equal(what + " are distinct", values.size(), new HashSet<>(values).size());
    }
}
