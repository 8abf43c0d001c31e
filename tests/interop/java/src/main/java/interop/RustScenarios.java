package interop;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.selector.SelectMessageQueueByHash;
import org.apache.rocketmq.client.trace.TraceContext;
import org.apache.rocketmq.client.trace.TraceType;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.compression.CompressionType;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** The official Java client and the Rust client with each other. */
final class RustScenarios {
    /** Longest time until a group has shared its queues anew: members look every 20 s by themselves. */
    private static final long SHARED_MS = 30_000;
    private static final String LONG = "a body that can be made shorter, ".repeat(100);

    static void add(Suite suite) {
        suite.add("rust.sends-java-consumes", RustScenarios::rustSends);
        suite.add("rust.consumes-java-sends", RustScenarios::javaSends);
        suite.add("rust.retried-by-the-other", RustScenarios::retried);
        suite.add("rust.transactions-of-the-other", RustScenarios::transactions);
        suite.add("rust.requests-and-replies", RustScenarios::requests);
        suite.add("rust.traced", RustScenarios::traced);
        suite.add("rust.orderly-in-one-group", RustScenarios::orderly);
        suite.addAlone("rust.one-group", RustScenarios::oneGroup);
    }

    private static void rustSends(Env env) throws Exception {
        String topic = env.topic("rust-sends", 2);
        List<String> bodies = new ArrayList<>();
        for (String compression : List.of("", "zlib", "lz4", "zstd")) {
            List<String> task = new ArrayList<>(List.of("produce", env.namesrv, topic, LONG + compression));
            if (!compression.isEmpty()) {
                task.addAll(List.of("--compression", compression));
            }
            List<String> said = RustClient.run(task.toArray(String[]::new));
            Env.check(said.size() == 1 && said.get(0).startsWith("sent "), "it said " + said);
            bodies.add(LONG + compression);
        }
        for (MessageExt message : new Received(env, topic, "Blue").expect(bodies)) {
            Env.equal("key", "a-key", message.getKeys());
            Env.equal("property", "blue", message.getProperty("color"));
            Env.equal("stored as it is", Env.body(message).equals(LONG), message.getStoreSize() > LONG.length());
        }
    }

    private static void javaSends(Env env) throws Exception {
        String topic = env.topic("rust-consumes", 2);
        DefaultMQProducer producer = env.producer(topic);
        List<String> bodies = Env.sendMany(producer, topic, "T", "plain", 3);
        producer.send(List.of(Env.message(topic, "T", "first of a batch"), Env.message(topic, "T", "second of a batch")));
        bodies.addAll(List.of("first of a batch", "second of a batch"));
        producer.setCompressMsgBodyOverHowmuch(100);
        for (CompressionType type : CompressionType.values()) {
            producer.setCompressType(type);
            Env.sent(producer.send(Env.message(topic, "T", LONG + type)));
            bodies.add(LONG + type);
        }
        try (RustClient rust = new RustClient("consume", env.namesrv, "C-" + topic, topic)) {
            rust.await("got", bodies.size());
            Env.sameElements("bodies", bodies, rust.bodies());
        }
        producer.shutdown();
    }

    /** What one gives back, the other gets, and knows how often that was. */
    private static void retried(Env env) throws Exception {
        String topic = env.topic("rust-retried", 1);
        DefaultMQProducer producer = env.producer(topic);
        Env.sendMany(producer, topic, "T", "by-rust", 3);
        try (RustClient rust = new RustClient("consume", env.namesrv, "C-" + topic, topic, "--fail-first")) {
            rust.await("got", 3);
        }
        Queue<String> seen = new ConcurrentLinkedQueue<>();
        DefaultMQPushConsumer consumer = env.pushConsumer("C-" + topic);
        // So that what is given back last is sent back.
        consumer.setAwaitTerminationMillisWhenShutdown(5_000);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            MessageExt message = batch.get(0);
            seen.add(Env.body(message) + " " + message.getReconsumeTimes());
            context.setDelayLevelWhenNextConsume(1);
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        consumer.start();
        Env.await("what Rust gave back", 20_000, () -> seen.size() >= 3);
        consumer.shutdown();
        for (int i = 0; i < 3; i++) {
            Env.check(seen.contains("by-rust" + i + " 1"), "by-rust" + i + " is not among " + seen);
        }
        try (RustClient rust = new RustClient("consume", env.namesrv, "C-" + topic, topic)) {
            Env.await("what Java gave back", 20_000, () -> rust.got().stream().filter(words -> Integer.parseInt(words[2]) > 1).count() >= 3);
        }
        producer.shutdown();
    }

    /** Whose transaction nobody ended is asked about in the same group, whatever client that is. */
    private static void transactions(Env env) throws Exception {
        String topic = env.topic("rust-transactions", 1);
        Received received = new Received(env, topic, "*");
        try (TransactionScenarios.Producer java = new TransactionScenarios.Producer(env, topic,
                TransactionScenarios.local(LocalTransactionState.COMMIT_MESSAGE), TransactionScenarios.check(LocalTransactionState.COMMIT_MESSAGE))) {
            // Brokers know producers that have sent something.
            java.send(Env.message(topic, "T", "introduction"));
            try (RustClient rust = new RustClient("transact", env.namesrv, "P-" + topic, topic, "of-rust")) {
                rust.await("sent", 1);
            }
            Env.await("a check of the Java client", 20_000, () -> !java.checked.isEmpty());
            Env.equal("what was checked", "of-rust", Env.body(java.checked.peek()));
        }
        try (TransactionScenarios.Producer java = new TransactionScenarios.Producer(env, topic,
                TransactionScenarios.local(LocalTransactionState.UNKNOW), TransactionScenarios.check(LocalTransactionState.UNKNOW))) {
            java.send(Env.message(topic, "T", "of-java"));
        }
        try (RustClient rust = new RustClient("transact", env.namesrv, "P-" + topic, topic, "of-rust-again")) {
            Env.await("a check of the Rust client", 20_000, () -> rust.said("checked").contains("of-java"));
            received.expect(List.of("introduction", "of-rust", "of-java", "of-rust-again"));
        }
    }

    private static void requests(Env env) throws Exception {
        String topic = env.topic("rust-requests", 1);
        DefaultMQProducer producer = env.producer(topic);
        try (RustClient rust = new RustClient("reply", env.namesrv, "C-" + topic, topic)) {
            rust.await("joined", 1);
            Message reply = producer.request(Env.message(topic, "T", "java asks"), 15_000);
            Env.equal("the reply", "JAVA ASKS", new String(reply.getBody(), StandardCharsets.UTF_8));
        }
        DefaultMQPushConsumer consumer = env.pushConsumer("C-" + topic);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            try {
                for (MessageExt request : batch) {
                    Env.sent(producer.send(MessageUtil.createReplyMessage(request, Env.body(request).toUpperCase().getBytes(StandardCharsets.UTF_8))));
                }
            } catch (Exception e) {
                throw new IllegalStateException(e);
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        Env.equal("what Rust was told", List.of("reply RUST ASKS"), RustClient.run("ask", env.namesrv, topic, "rust asks"));
        consumer.shutdown();
        producer.shutdown();
    }

    /** What Rust sent and consumed is told as the Java client tells it. */
    private static void traced(Env env) throws Exception {
        String topic = env.topic("rust-traced", 1);
        String id;
        try (RustClient rust = new RustClient("consume", env.namesrv, "C-" + topic, topic, "--trace")) {
            id = RustClient.run("produce", env.namesrv, topic, "traced", "--trace").get(0).substring("sent ".length());
            rust.await("got", 1);
        }
        Env.await("three records of " + id, 25_000, () -> TraceScenarios.traces(env, id).size() == 3);
        Map<TraceType, TraceContext> traces = TraceScenarios.traces(env, id);
        TraceContext sent = traces.get(TraceType.Pub);
        Env.equal("producer, topic, tag and key", List.of("P-" + topic, topic, "Blue", "a-key"), List.of(sent.getGroupName(),
            sent.getTraceBeans().get(0).getTopic(), sent.getTraceBeans().get(0).getTags(), sent.getTraceBeans().get(0).getKeys()));
        Env.equal("where it was stored", env.broker, sent.getTraceBeans().get(0).getStoreHost());
        Env.check(sent.isSuccess(), "the trace does not say that it was sent");
        Env.equal("consumer", "C-" + topic, traces.get(TraceType.SubBefore).getGroupName());
        Env.check(traces.get(TraceType.SubAfter).isSuccess(), "the trace does not say that it was consumed");
        Env.contains("queryMsgTraceById", Admin.run(env, "queryMsgTraceById", "-i", id), "P-" + topic, "C-" + topic);
    }

    /** Each queue's messages come in order, whoever has it. */
    private static void orderly(Env env) throws Exception {
        String topic = env.topic("rust-orderly", 4);
        DefaultMQProducer producer = env.producer(topic);
        Map<String, List<String>> order = new HashMap<>();
        Queue<String> seen = new ConcurrentLinkedQueue<>();
        DefaultMQPushConsumer java = env.pushConsumer("C-" + topic);
        java.setAwaitTerminationMillisWhenShutdown(5_000);
        java.subscribe(topic, "*");
        java.registerMessageListener((MessageListenerOrderly) (batch, context) -> {
            batch.forEach(message -> seen.add(message.getQueueId() + " " + Env.body(message)));
            return ConsumeOrderlyStatus.SUCCESS;
        });
        java.start();
        try (RustClient rust = new RustClient("consume", env.namesrv, "C-" + topic, topic, "--orderly")) {
            rust.await("joined", 1);
            for (int i = 0; i < 200; i++) {
                Message message = Env.message(topic, "T", "o" + i);
                int queue = producer.send(message, new SelectMessageQueueByHash(), i).getMessageQueue().getQueueId();
                order.computeIfAbsent(Integer.toString(queue), any -> new ArrayList<>()).add("o" + i);
                // The queues are shared while this goes on.
                Thread.sleep(i < 50 ? 50 : 5);
            }
            Env.await("all messages", 30_000, () -> {
                List<String> all = new ArrayList<>(rust.bodies());
                seen.forEach(line -> all.add(line.split(" ")[1]));
                return new TreeSet<>(all).size() == 200;
            });
            Env.check(!rust.got().isEmpty() && !seen.isEmpty(), "one had nothing to do: " + rust.got().size() + " and " + seen.size());
            List<String> ofRust = rust.got().stream().map(words -> words[0] + " " + words[3]).toList();
            for (Map.Entry<String, List<String>> queue : order.entrySet()) {
                for (List<String> lines : List.of(List.copyOf(seen), ofRust)) {
                    List<Integer> places = lines.stream().filter(line -> line.startsWith(queue.getKey() + " "))
                        .map(line -> queue.getValue().indexOf(line.split(" ")[1])).toList();
                    Env.equal("the order in queue " + queue.getKey(), places.stream().sorted().toList(), places);
                }
            }
        }
        java.shutdown();
        producer.shutdown();
    }

    /** Members of both kinds come and go; whenever the queues are shared, each has one reader. */
    private static void oneGroup(Env env) throws Exception {
        String topic = env.topic("rust-one-group", 8);
        DefaultMQProducer producer = env.producer(topic);
        List<Received> java = new ArrayList<>();
        List<RustClient> rust = new ArrayList<>();
        for (String change : List.of("+java", "+rust", "+rust", "+java", "-rust", "-java", "+java", "-rust")) {
            switch (change) {
                case "+java" -> java.add(new Received(env.pushConsumer("C-" + topic), topic, "*"));
                case "+rust" -> {
                    RustClient member = new RustClient("consume", env.namesrv, "C-" + topic, topic);
                    member.await("joined", 1);
                    rust.add(member);
                }
                case "-java" -> java.remove(0).stop();
                default -> rust.remove(0).close();
            }
            awaitShared(env, topic, java, rust);
            // What was consumed just before may come again where a queue went to another; the new ones must not.
            String prefix = change + java.size() + rust.size() + "-";
            List<String> sent = Env.sendMany(producer, topic, "T", prefix, 80);
            Env.await("the messages after " + change, 15_000, () -> bodies(java, rust, prefix).size() >= sent.size());
            // Long enough for a second reader to be seen.
            Thread.sleep(500);
            Env.sameElements("bodies after " + change, sent, bodies(java, rust, prefix));
        }
        java.forEach(Received::stop);
        for (RustClient member : rust) {
            member.close();
        }
        producer.shutdown();
    }

    private static List<String> bodies(List<Received> java, List<RustClient> rust, String prefix) {
        List<String> bodies = new ArrayList<>();
        java.forEach(member -> bodies.addAll(member.bodies()));
        rust.forEach(member -> bodies.addAll(member.bodies()));
        bodies.removeIf(body -> !body.startsWith(prefix));
        return bodies;
    }

    /** Waits until the queues that the members say they have are all of the topic's, each once. */
    private static void awaitShared(Env env, String topic, List<Received> java, List<RustClient> rust) throws Exception {
        List<MessageQueue> all = env.queues(topic);
        Env.await("each queue to have one reader", SHARED_MS, () -> {
            List<MessageQueue> taken = new ArrayList<>();
            for (Received member : java) {
                taken.addAll(member.consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet());
            }
            for (RustClient member : rust) {
                String id = member.said("joined").get(0);
                taken.addAll(env.admin.getConsumerRunningInfo("C-" + topic, id, false).getMqTable().keySet());
            }
            taken.removeIf(queue -> !queue.getTopic().equals(topic));
            taken.sort(null);
            return taken.equals(all);
        });
    }
}
