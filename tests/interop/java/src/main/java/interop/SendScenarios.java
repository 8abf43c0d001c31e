package interop;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.selector.SelectMessageQueueByHash;
import org.apache.rocketmq.common.compression.CompressionType;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Every way to send; what was sent is what a consumer gets. */
final class SendScenarios {
    static void add(Suite suite) {
        suite.add("send.sync", SendScenarios::sync);
        suite.add("send.async", SendScenarios::async);
        suite.add("send.oneway", SendScenarios::oneway);
        suite.add("send.batch", SendScenarios::batch);
        suite.add("send.selector", SendScenarios::selector);
        for (CompressionType type : CompressionType.values()) {
            suite.add("send.compressed." + type.name().toLowerCase(), env -> compressed(env, type));
        }
        suite.add("send.properties", SendScenarios::properties);
        suite.add("send.empty-and-large", SendScenarios::sizes);
        suite.add("send.auto-create", SendScenarios::autoCreate);
        suite.add("send.delay", SendScenarios::delay);
    }

    private static void sync(Env env) throws Exception {
        String topic = env.topic("send-sync", 2);
        DefaultMQProducer producer = env.producer(topic);
        MessageQueue queue = new MessageQueue(topic, env.brokerName, 1);
        List<String> ids = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            SendResult result = Env.sent(producer.send(Env.message(topic, "T", "m" + i), queue));
            Env.equal("queue", queue, result.getMessageQueue());
            Env.equal("queue offset", (long) i, result.getQueueOffset());
            Env.equal("length of the offset id " + result.getOffsetMsgId(), 32, result.getOffsetMsgId().length());
            ids.add(result.getMsgId());
            ids.add(result.getOffsetMsgId());
        }
        Env.distinct("message ids", ids);
        producer.shutdown();
    }

    private static void async(Env env) throws Exception {
        String topic = env.topic("send-async", 4);
        DefaultMQProducer producer = env.producer(topic);
        Received received = new Received(env, topic, "*");
        List<String> bodies = IntStream.range(0, 500).mapToObj(i -> "a" + i).toList();
        List<CompletableFuture<SendResult>> results = new ArrayList<>();
        for (String body : bodies) {
            results.add(Env.sendAsync(producer, Env.message(topic, "T", body)));
        }
        Set<String> places = new HashSet<>();
        for (CompletableFuture<SendResult> result : results) {
            SendResult sent = Env.sent(result.get(10, TimeUnit.SECONDS));
            places.add(sent.getMessageQueue() + "@" + sent.getQueueOffset());
        }
        Env.equal("places of the messages", bodies.size(), places.size());
        received.expect(bodies);
        producer.shutdown();
    }

    private static void oneway(Env env) throws Exception {
        String topic = env.topic("send-oneway", 4);
        DefaultMQProducer producer = env.producer(topic);
        Received received = new Received(env, topic, "*");
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < 100; i++) {
            bodies.add("o" + i);
            producer.sendOneway(Env.message(topic, "T", "o" + i));
        }
        received.expect(bodies);
        producer.shutdown();
    }

    private static void batch(Env env) throws Exception {
        String topic = env.topic("send-batch", 1);
        DefaultMQProducer producer = env.producer(topic);
        Received received = new Received(env, topic, "*");
        List<String> bodies = new ArrayList<>();
        List<Message> messages = new ArrayList<>();
        for (int i = 0; i < 50; i++) {
            Message message = Env.message(topic, i % 2 == 0 ? "even" : "odd", "b" + i);
            message.setKeys("batch-key-" + i);
            messages.add(message);
            bodies.add("b" + i);
        }
        SendResult result = Env.sent(producer.send(messages));
        Env.equal("ids of the batch", 50, result.getMsgId().split(",").length);
        Env.equal("offset ids of the batch", 50, result.getOffsetMsgId().split(",").length);
        List<MessageExt> got = received.expect(bodies);
        for (MessageExt message : got) {
            int i = Integer.parseInt(Env.body(message).substring(1));
            Env.equal("queue offset in order of the batch", (long) i, message.getQueueOffset());
            Env.equal("tag", i % 2 == 0 ? "even" : "odd", message.getTags());
            Env.equal("keys", "batch-key-" + i, message.getKeys());
        }
        producer.shutdown();
    }

    private static void selector(Env env) throws Exception {
        String topic = env.topic("send-selector", 4);
        DefaultMQProducer producer = env.producer(topic);
        Set<String> queuesOfOrders = new HashSet<>();
        Set<Integer> queues = new HashSet<>();
        for (int i = 0; i < 40; i++) {
            int order = i % 8;
            SendResult result = Env.sent(producer.send(Env.message(topic, "T", "order" + order), new SelectMessageQueueByHash(), order));
            queuesOfOrders.add(order + "->" + result.getMessageQueue().getQueueId());
            queues.add(result.getMessageQueue().getQueueId());
        }
        Env.equal("one queue per order", 8, queuesOfOrders.size());
        Env.equal("queues used", Set.of(0, 1, 2, 3), queues);
        producer.shutdown();
    }

    private static void compressed(Env env, CompressionType type) throws Exception {
        String topic = env.topic("send-compressed-" + type.name().toLowerCase(), 1);
        DefaultMQProducer producer = new DefaultMQProducer("P-" + topic);
        producer.setNamesrvAddr(env.namesrv);
        producer.setCompressType(type);
        producer.start();
        Received received = new Received(env, topic, "*");
        String body = "compressible text of an order, \u4e2d\u6587; ".repeat(2_000);
        SendResult result = Env.sent(producer.send(Env.message(topic, "T", body)));
        MessageExt message = received.expect(List.of(body)).get(0);
        Env.check(message.getStoreSize() < body.length() / 4, "stored size " + message.getStoreSize() + " of a body of " + body.length());
        MessageExt viewed = env.admin.viewMessage(topic, result.getOffsetMsgId());
        Env.equal("body viewed by offset id", body, Env.body(viewed));
        producer.shutdown();
    }

    private static void properties(Env env) throws Exception {
        String topic = env.topic("send-properties", 1);
        DefaultMQProducer producer = env.producer(topic);
        Received received = new Received(env, topic, "*");
        String body = "gr\u00fc\u00dfe \u4f60\u597d \ud83d\ude80";
        Message message = Env.message(topic, "\u6807\u7b7e", body);
        message.setKeys(Arrays.asList("key-a", "key-\u00fc"));
        message.setFlag(7);
        message.putUserProperty("plain", "value");
        message.putUserProperty("unicode", "\u00e4\u00f6 \u65e5\u672c\u8a9e \ud83d\ude80");
        message.putUserProperty("long", "x".repeat(10_000));
        long before = System.currentTimeMillis();
        SendResult result = Env.sent(producer.send(message));
        MessageExt got = received.expect(List.of(body)).get(0);
        Env.equal("tag", "\u6807\u7b7e", got.getTags());
        Env.equal("keys", "key-a key-\u00fc", got.getKeys());
        Env.equal("flag", 7, got.getFlag());
        Env.equal("plain", "value", got.getUserProperty("plain"));
        Env.equal("unicode", "\u00e4\u00f6 \u65e5\u672c\u8a9e \ud83d\ude80", got.getUserProperty("unicode"));
        Env.equal("long", "x".repeat(10_000), got.getUserProperty("long"));
        Env.equal("unique id", result.getMsgId(), got.getMsgId());
        Env.equal("reconsume times", 0, got.getReconsumeTimes());
        Env.check(Math.abs(got.getBornTimestamp() - before) < 5_000, "born at " + got.getBornTimestamp());
        Env.check(got.getStoreTimestamp() >= before - 5 && got.getStoreTimestamp() < before + 5_000, "stored at " + got.getStoreTimestamp());
        Env.equal("store host", env.broker, got.getStoreHost().toString().replaceAll(".*/", ""));
        Env.contains("born host", got.getBornHost().toString(), "127.0.0.1");
        producer.shutdown();
    }

    private static void sizes(Env env) throws Exception {
        String topic = env.topic("send-sizes", 1);
        DefaultMQProducer producer = env.producer(topic);
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        Received received = new Received(env, topic, "*");
        byte[] large = new byte[4 * 1024 * 1024 - 1024];
        new Random(1).nextBytes(large);
        Env.sent(producer.send(new Message(topic, new byte[1])));
        Env.sent(producer.send(new Message(topic, large), 10_000));
        Env.awaitSize("messages", received.messages, 2, 10_000);
        byte[][] bodies = received.messages.stream().map(MessageExt::getBody).sorted((a, b) -> a.length - b.length).toArray(byte[][]::new);
        Env.check(Arrays.equals(new byte[1], bodies[0]), "the one-byte body came as " + Arrays.toString(bodies[0]));
        Env.check(Arrays.equals(large, bodies[1]), "a body of 4 MiB came back changed");
        received.stop();
        producer.shutdown();
    }

    private static void autoCreate(Env env) throws Exception {
        String topic = "send-auto-create";
        DefaultMQProducer producer = env.producer(topic);
        producer.setDefaultTopicQueueNums(3);
        Env.sent(producer.send(Env.message(topic, "T", "first")));
        Env.await("the route of " + topic, 5_000, () -> env.routeExists(topic));
        Env.equal("queues: as many as the producer asks for", 3, env.queues(topic).size());
        new Received(env, topic, "*").expect(List.of("first"));
        producer.shutdown();
    }

    /** Levels 1 and 2 of the delay table: 1 s and 5 s. */
    private static void delay(Env env) throws Exception {
        String topic = env.topic("send-delay", 1);
        DefaultMQProducer producer = env.producer(topic);
        Received received = new Received(env, topic, "*");
        Env.sendMany(producer, topic, "T", "at once", 1);
        Env.awaitSize("messages without delay", received.messages, 1, 10_000);
        received.messages.clear();
        for (int level = 1; level <= 2; level++) {
            Message message = Env.message(topic, "T", "level" + level);
            message.setDelayTimeLevel(level);
            message.putUserProperty("sent", String.valueOf(System.currentTimeMillis()));
            Env.sent(producer.send(message));
        }
        for (MessageExt message : received.expect(List.of("level1", "level2"))) {
            boolean isFirst = Env.body(message).equals("level1");
            // The next level's delay is too long; how late a machine that is busy may be is nobody's promise.
            long due = isFirst ? 1_000 : 5_000, wrong = isFirst ? 5_000 : 10_000;
            long took = received.arrivedAt(message) - Long.parseLong(message.getUserProperty("sent"));
            Env.check(took >= due - 20 && took < wrong, Env.body(message) + " came after " + took + " ms");
            Env.equal("topic", topic, message.getTopic());
        }
        producer.shutdown();
    }
}
