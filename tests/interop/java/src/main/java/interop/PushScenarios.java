package interop;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.selector.SelectMessageQueueByHash;
import org.apache.rocketmq.common.UtilAll;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;

/** Push consumers: clustering, broadcasting, orderly, tags, where to start, and how soon a message comes. */
final class PushScenarios {
    static void add(Suite suite) {
        suite.add("push.clustering", PushScenarios::clustering);
        suite.add("push.broadcasting", PushScenarios::broadcasting);
        suite.add("push.orderly", PushScenarios::orderly);
        suite.add("push.orderly-two-consumers", PushScenarios::orderlyShared);
        suite.add("push.tags", PushScenarios::tags);
        suite.add("push.two-groups", PushScenarios::twoGroups);
        for (ConsumeFromWhere where : List.of(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET,
            ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET, ConsumeFromWhere.CONSUME_FROM_TIMESTAMP)) {
            suite.add("push." + where.name().toLowerCase().replace('_', '-'), env -> from(env, where));
        }
        suite.addAlone("push.latency", PushScenarios::latency);
    }

    private static void clustering(Env env) throws Exception {
        String topic = env.topic("push-clustering", 4);
        DefaultMQProducer producer = env.producer(topic);
        Received one = new Received(env, topic, "*");
        Received two = new Received(env, topic, "*");
        Env.await("two queues each", 5_000, () -> one.queueCount() == 2 && two.queueCount() == 2);
        List<String> bodies = Env.sendMany(producer, topic, "T", "c", 80);
        Env.await("all messages", 10_000, () -> one.messages.size() + two.messages.size() >= 80);
        one.stop();
        two.stop();
        List<String> got = new ArrayList<>(one.bodies());
        got.addAll(two.bodies());
        Env.sameElements("each message once", bodies, got);
        Env.check(one.messages.size() == 40 && two.messages.size() == 40, "shares: " + one.messages.size() + " and " + two.messages.size());
        producer.shutdown();
    }

    private static void broadcasting(Env env) throws Exception {
        String topic = env.topic("push-broadcasting", 4);
        DefaultMQProducer producer = env.producer(topic);
        List<Received> members = new ArrayList<>();
        for (String instance : List.of("b1", "b2")) {
            DefaultMQPushConsumer consumer = env.pushConsumer("C-" + topic);
            consumer.setMessageModel(MessageModel.BROADCASTING);
            consumer.setInstanceName(instance);
            members.add(new Received(consumer, topic, "*"));
        }
        List<String> bodies = Env.sendMany(producer, topic, "T", "b", 40);
        for (Received member : members) {
            member.expect(bodies);
        }
        producer.shutdown();
    }

    /** A message that fails holds up its queue, and nothing overtakes it; other queues go on. */
    private static void orderly(Env env) throws Exception {
        String topic = env.topic("push-orderly", 4);
        DefaultMQProducer producer = env.producer(topic);
        for (int i = 0; i < 100; i++) {
            Env.sent(producer.send(Env.message(topic, "T", String.valueOf(i)), new SelectMessageQueueByHash(), i % 4));
        }
        Map<Integer, Queue<Integer>> seen = new ConcurrentHashMap<>();
        AtomicInteger failures = new AtomicInteger();
        DefaultMQPushConsumer consumer = env.pushConsumer("C-" + topic);
        consumer.setSuspendCurrentQueueTimeMillis(200);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (batch, context) -> {
            for (MessageExt message : batch) {
                if (Env.body(message).equals("41") && failures.getAndIncrement() < 3) {
                    return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
                }
                seen.computeIfAbsent(message.getQueueId(), queue -> new ConcurrentLinkedQueue<>()).add(Integer.valueOf(Env.body(message)));
            }
            return ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
        Env.await("all messages", 20_000, () -> seen.values().stream().mapToInt(Queue::size).sum() >= 100);
        consumer.shutdown();
        Env.equal("tries of the failing message", 4, failures.get());
        for (Map.Entry<Integer, Queue<Integer>> queue : seen.entrySet()) {
            List<Integer> expected = new ArrayList<>();
            for (int i = queue.getValue().peek() % 4; i < 100; i += 4) {
                expected.add(i);
            }
            Env.equal("order in queue " + queue.getKey(), expected, List.copyOf(queue.getValue()));
        }
        producer.shutdown();
    }

    /** The queue locks: a second orderly consumer takes its share over, and no queue is consumed out of order. */
    private static void orderlyShared(Env env) throws Exception {
        String topic = env.topic("push-orderly-shared", 4);
        DefaultMQProducer producer = env.producer(topic);
        Queue<String> seen = new ConcurrentLinkedQueue<>();
        Map<String, Set<Integer>> queuesOf = new ConcurrentHashMap<>();
        List<DefaultMQPushConsumer> consumers = new ArrayList<>();
        for (String name : List.of("one", "two")) {
            DefaultMQPushConsumer consumer = env.pushConsumer("C-" + topic);
            consumer.subscribe(topic, "*");
            consumer.registerMessageListener((MessageListenerOrderly) (batch, context) -> {
                for (MessageExt message : batch) {
                    seen.add(message.getQueueId() + ":" + message.getQueueOffset() + ":" + name);
                    queuesOf.computeIfAbsent(name, n -> ConcurrentHashMap.newKeySet()).add(message.getQueueId());
                }
                return ConsumeOrderlyStatus.SUCCESS;
            });
            consumer.start();
            consumers.add(consumer);
            queuesOf.clear();
            Env.sendMany(producer, topic, "T", name, 40);
            int total = consumers.size() * 40;
            // An orderly consumer asks again for a lock that it did not get every 20 s.
            Env.awaitSize("messages with " + consumers.size() + " consumers", seen, total, 45_000);
        }
        Env.await("both to own queues", 45_000, () -> {
            producer.send(Env.message(topic, "T", "more"));
            Thread.sleep(50);
            return queuesOf.size() == 2;
        });
        consumers.forEach(DefaultMQPushConsumer::shutdown);
        // A client saves its offset before its listener is done with the last message: whoever takes a queue
        // over may get that one again, but skips none and sees none out of order.
        Map<String, Long> next = new HashMap<>();
        Map<String, String> owner = new HashMap<>();
        for (String place : seen) {
            String[] parts = place.split(":");
            long expected = next.getOrDefault(parts[0], 0L);
            long offset = Long.parseLong(parts[1]);
            boolean takenOver = !parts[2].equals(owner.getOrDefault(parts[0], parts[2]));
            Env.check(offset == expected || takenOver && offset < expected,
                "queue " + parts[0] + ": expected " + expected + " and got " + offset);
            next.put(parts[0], offset + 1);
            owner.put(parts[0], parts[2]);
        }
        producer.shutdown();
    }

    private static void tags(Env env) throws Exception {
        String topic = env.topic("push-tags", 2);
        DefaultMQProducer producer = env.producer(topic);
        // "Aa" and "BB" have the same hash code: the broker cannot tell them apart, the client can.
        Received received = new Received(env, topic, "A || Aa");
        List<String> expected = new ArrayList<>();
        for (String tag : List.of("A", "B", "Aa", "BB", "A ")) {
            List<String> bodies = Env.sendMany(producer, topic, tag, "tag-" + tag + "-", 5);
            if (tag.equals("A") || tag.equals("Aa")) {
                expected.addAll(bodies);
            }
        }
        Env.sent(producer.send(new org.apache.rocketmq.common.message.Message(topic, "no tag".getBytes())));
        expected.addAll(Env.sendMany(producer, topic, "A", "last-", 1));
        received.expect(expected);
        producer.shutdown();
    }

    private static void twoGroups(Env env) throws Exception {
        String topic = env.topic("push-two-groups", 2);
        DefaultMQProducer producer = env.producer(topic);
        Received all = new Received(env.pushConsumer("C-two-groups-all"), topic, "*");
        Received some = new Received(env.pushConsumer("C-two-groups-some"), topic, "X");
        List<String> x = Env.sendMany(producer, topic, "X", "x", 10);
        List<String> both = new ArrayList<>(Env.sendMany(producer, topic, "Y", "y", 10));
        both.addAll(x);
        all.expect(both);
        some.expect(x);
        producer.shutdown();
    }

    /**
     * A new group on a topic that still has its first message reads from there, whatever it asks for:
     * the broker answers offset 0 to a group without offset. Afterwards all three continue where they were.
     */
    private static void from(Env env, ConsumeFromWhere where) throws Exception {
        String topic = env.topic("push-from-" + where.name().toLowerCase(), 1);
        DefaultMQProducer producer = env.producer(topic);
        List<String> early = Env.sendMany(producer, topic, "T", "early", 5);
        for (List<String> expected : List.of(early, List.of("late0"))) {
            DefaultMQPushConsumer consumer = env.pushConsumer("C-" + topic);
            consumer.setConsumeFromWhere(where);
            consumer.setConsumeTimestamp(UtilAll.timeMillisToHumanString3(System.currentTimeMillis()));
            new Received(consumer, topic, "*").expect(expected);
            Env.sendMany(producer, topic, "T", "late", 1);
        }
        producer.shutdown();
    }

    /** A parked pull is answered when a message comes, with no timer in between. */
    private static void latency(Env env) throws Exception {
        String topic = env.topic("push-latency", 1);
        DefaultMQProducer producer = env.producer(topic);
        Received received = new Received(env, topic, "*");
        Env.sendMany(producer, topic, "T", "warm", 5);
        Env.awaitSize("first messages", received.messages, 5, 10_000);
        received.messages.clear();
        List<Long> took = new ArrayList<>();
        for (int i = 0; i < 40; i++) {
            Thread.sleep(40);
            long sent = System.nanoTime();
            producer.send(Env.message(topic, "T", "m" + i));
            int expected = i + 1;
            Env.await("message " + i, 5_000, () -> received.messages.size() >= expected);
            took.add((System.nanoTime() - sent) / 1_000_000);
        }
        received.stop();
        took.sort(null);
        Env.check(took.get(20) < 100, "median latency is 100 ms or more: " + took);
        Env.check(took.get(38) < 1_000, "95th percentile is 1 s or more: " + took);
        producer.shutdown();
    }
}
